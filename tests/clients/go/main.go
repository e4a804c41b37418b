// A member of a consumer group with franz-go: members BOOTSTRAP TOPIC GROUP
//
// Consumes until nothing has come for five seconds, then leaves; "partition offset" of every record on standard output.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Args[1]),
		kgo.ConsumeTopics(os.Args[2]),
		kgo.ConsumerGroup(os.Args[3]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.AutoCommitInterval(200*time.Millisecond),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer client.Close()
	limit := 30 * time.Second
	for {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.Empty() {
			return
		}
		limit = 5 * time.Second
		fetches.EachRecord(func(r *kgo.Record) { fmt.Println(r.Partition, r.Offset) })
	}
}
