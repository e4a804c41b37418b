package pgkafka;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RetriableCommitFailedException;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A member of a group in a thread of its own, which consumes and commits until it is told to end. */
final class Member extends Thread implements ConsumerRebalanceListener {
    /** Who is told of what happens to a member. */
    interface Events {
        /** Partitions were assigned, revoked or lost; so many it has now. */
        void changed(String what, Collection<Integer> partitions, int owned);

        /** A record that is not committed yet. */
        void consumed(String topic, int partition, long offset);

        void uncommitted(String why);

        /** It came to an end by this failure. */
        void failed(String why);
    }

    private final String subscription;
    private final Events events;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private volatile boolean ends;
    private volatile long pausedUntil = System.nanoTime();

    Member(String bootstrap, String subscription, String group, String name, List<String> settings, Events events) {
        super(name);
        this.subscription = subscription;
        this.events = events;
        Properties p = new Properties();
        p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        p.put(ConsumerConfig.CLIENT_ID_CONFIG, name);
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        p.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        for (String setting : settings) {
            int equals = setting.indexOf('=');
            p.put(setting.substring(0, equals), setting.substring(equals + 1));
        }
        consumer = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /**
     * A member that is all of this process, driven by lines: "pause MILLIS", "leave". What happens is written at once, so what is
     * committed was told before.
     */
    static void alone(String bootstrap, String subscription, String group, String name, List<String> settings) throws Exception {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true);
        Events events = new Events() {
            @Override
            public void changed(String what, Collection<Integer> partitions, int owned) {
                String list = partitions.stream().map(String::valueOf).collect(Collectors.joining(","));
                out.println("changed " + what + " " + owned + " " + list);
            }

            @Override
            public void consumed(String topic, int partition, long offset) {
                out.println("record " + topic + " " + partition + " " + offset);
            }

            @Override
            public void uncommitted(String why) {
                out.println("uncommitted " + why);
            }

            @Override
            public void failed(String why) {
                out.println("failed " + why);
            }
        };
        Member member = new Member(bootstrap, subscription, group, name, settings, events);
        member.start();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null && !line.equals("leave"); line = in.readLine()) {
            member.pause(Long.parseLong(line.substring("pause ".length())));
        }
        member.end();
    }

    @Override
    public void run() {
        if (subscription.startsWith("re2:")) {
            consumer.subscribe(new SubscriptionPattern(subscription.substring(4)), this);
        } else if (subscription.startsWith("java:")) {
            consumer.subscribe(Pattern.compile(subscription.substring(5)), this);
        } else {
            consumer.subscribe(List.of(subscription.split(",")), this);
        }
        try {
            while (!ends) {
                if (System.nanoTime() < pausedUntil) {
                    Thread.sleep(20);
                    continue;
                }
                boolean any = false;
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(50))) {
                    any = true;
                    events.consumed(r.topic(), r.partition(), r.offset());
                }
                if (any) {
                    commit();
                }
            }
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(10)));
        } catch (Exception e) {
            events.failed(e.getClass().getSimpleName());
            consumer.close(CloseOptions.timeout(Duration.ZERO));
        }
    }

    private void commit() {
        try {
            consumer.commitSync(Duration.ofSeconds(20));
        } catch (RebalanceInProgressException | CommitFailedException | RetriableCommitFailedException e) {
            events.uncommitted(e.getClass().getSimpleName());
        }
    }

    /** It does not poll for that long. */
    void pause(long millis) {
        pausedUntil = System.nanoTime() + millis * 1_000_000;
    }

    /** Closes it, and waits for that. */
    void end() throws InterruptedException {
        ends = true;
        join();
    }

    private void changed(String what, Collection<TopicPartition> partitions, int owned) {
        events.changed(what, partitions.stream().map(TopicPartition::partition).sorted().toList(), owned);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        changed("assigned", partitions, consumer.assignment().size());
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        gone("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        gone("lost", partitions);
    }

    private void gone(String what, Collection<TopicPartition> partitions) {
        long kept = consumer.assignment().stream().filter(tp -> !partitions.contains(tp)).count();
        changed(what, partitions, (int) kept);
    }
}
