// What an administrator does, with kadm of franz-go: admin BOOTSTRAP TOPIC
//
// A line for each step on standard output, the same for all clients.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const setting = "max.message.bytes"

func value(ctx context.Context, admin *kadm.Client, topic string) string {
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	check(err)
	config, err := configs.On(topic, nil)
	check(err)
	for _, c := range config.Configs {
		if c.Key == setting {
			return c.MaybeValue()
		}
	}
	return "none"
}

func partitions(ctx context.Context, admin *kadm.Client, topic string) int {
	topics, err := admin.ListTopics(ctx, topic)
	check(err)
	return len(topics[topic].Partitions)
}

func main() {
	topic := os.Args[2]
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.MetadataMinAge(10*time.Millisecond))
	check(err)
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()

	small, large := "2000", "3000"
	_, err = admin.CreateTopic(ctx, 2, 1, map[string]*string{setting: &small}, topic)
	check(err)
	fmt.Println("created", partitions(ctx, admin, topic))
	_, err = admin.CreateTopic(ctx, 2, 1, nil, topic)
	fmt.Println("again refused", errors.Is(err, kerr.TopicAlreadyExists))
	fmt.Println("config", value(ctx, admin, topic))
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: setting, Value: &large}}, topic)
	check(err)
	check(altered[0].Err)
	fmt.Println("altered", value(ctx, admin, topic))
	grown, err := admin.UpdatePartitions(ctx, 4, topic)
	check(err)
	check(grown[topic].Err)
	fmt.Println("grown", partitions(ctx, admin, topic))
	brokers, err := admin.ListBrokers(ctx)
	check(err)
	fmt.Println("brokers", len(brokers))
	ends, err := admin.ListEndOffsets(ctx, topic)
	check(err)
	end, _ := ends.Lookup(topic, 3)
	fmt.Println("end", end.Offset)
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, -1, -1)
	records, err := admin.DeleteRecords(ctx, offsets)
	check(err)
	record, _ := records.Lookup(topic, 0)
	check(record.Err)
	fmt.Println("begin", record.LowWatermark)
	_, err = admin.DeleteTopics(ctx, topic)
	check(err)
	topics, err := admin.ListTopics(ctx)
	check(err)
	fmt.Println("listed", topics.Has(topic))
}
