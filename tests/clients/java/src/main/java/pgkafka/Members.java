package pgkafka;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RetriableCommitFailedException;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Members of a consumer group, each in a thread of its own, driven by lines on standard input:
 *
 * <pre>
 * start NAME [setting=value …]   a member joins
 * leave NAME                     closes the member
 * crash NAME                     the member ends without a word to the group
 * pause NAME MILLIS              the member does not poll for that long
 * wait MILLIS                    nothing for a while
 * settle COUNT                   until that many partitions are owned and nothing changed for a second, at most 120 s
 * seen COUNT                     until that many different records were consumed, at most 120 s
 * </pre>
 *
 * Standard output has a line for every event: "MILLIS NAME assigned|revoked|lost PARTITIONS", "MILLIS settled", and in the end
 * "record PARTITION OFFSET TIMES" for every record that was consumed.
 */
final class Members {
    private final String bootstrap;
    private final String subscription;
    private final String group;
    private final List<String> settings;
    private final Map<String, Member> members = new HashMap<>();
    private final Map<String, Integer> records = new HashMap<>();
    private final long started = System.nanoTime();
    private volatile long changed = System.nanoTime();

    Members(String bootstrap, String subscription, String group, List<String> settings) {
        this.bootstrap = bootstrap;
        this.subscription = subscription;
        this.group = group;
        this.settings = settings;
    }

    void run() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "start" -> {
                    Member member = new Member(words[1], List.of(words).subList(2, words.length));
                    members.put(words[1], member);
                    member.start();
                }
                case "leave" -> members.remove(words[1]).end(CloseOptions.timeout(Duration.ofSeconds(10)));
                case "crash" -> members.remove(words[1]).end(CloseOptions
                        .groupMembershipOperation(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP)
                        .withTimeout(Duration.ofMillis(0)));
                case "pause" -> members.get(words[1]).pausedUntil = System.nanoTime() + Long.parseLong(words[2]) * 1_000_000;
                case "wait" -> Thread.sleep(Long.parseLong(words[1]));
                case "settle" -> settle(Integer.parseInt(words[1]));
                case "seen" -> seen(Integer.parseInt(words[1]));
                default -> throw new IllegalArgumentException("unknown command " + line);
            }
        }
        for (Member member : new ArrayList<>(members.values())) {
            member.end(CloseOptions.timeout(Duration.ofSeconds(10)));
        }
        synchronized (records) {
            records.forEach((record, times) -> System.out.println("record " + record + " " + times));
        }
    }

    private void settle(int partitions) throws InterruptedException {
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (System.nanoTime() < deadline) {
            int owned = members.values().stream().mapToInt(m -> m.owned.size()).sum();
            boolean even = members.values().stream().noneMatch(m -> m.owned.isEmpty() && partitions >= members.size());
            if (owned == partitions && even && System.nanoTime() - changed > 1_000_000_000L) {
                say("settled", "");
                return;
            }
            Thread.sleep(20);
        }
        say("never settled", "");
    }

    private void seen(int count) throws InterruptedException {
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (System.nanoTime() < deadline) {
            synchronized (records) {
                if (records.size() >= count) {
                    return;
                }
            }
            Thread.sleep(20);
        }
    }

    private void say(String what, String rest) {
        synchronized (System.out) {
            System.out.println((System.nanoTime() - started) / 1_000_000 + " " + what + rest);
        }
    }

    private final class Member extends Thread implements ConsumerRebalanceListener {
        private final String name;
        private final KafkaConsumer<byte[], byte[]> consumer;
        private volatile Collection<TopicPartition> owned = List.of();
        private volatile CloseOptions end;
        private volatile long pausedUntil = System.nanoTime();

        Member(String name, List<String> own) {
            super(name);
            this.name = name;
            Properties p = new Properties();
            p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
            p.put(ConsumerConfig.GROUP_ID_CONFIG, group);
            p.put(ConsumerConfig.CLIENT_ID_CONFIG, name);
            p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            p.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
            for (List<String> all : List.of(settings, own)) {
                for (String setting : all) {
                    int equals = setting.indexOf('=');
                    p.put(setting.substring(0, equals), setting.substring(equals + 1));
                }
            }
            consumer = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
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
                while (end == null) {
                    if (System.nanoTime() < pausedUntil) {
                        Thread.sleep(20);
                        continue;
                    }
                    boolean any = false;
                    for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(50))) {
                        any = true;
                        synchronized (records) {
                            records.merge(r.topic() + " " + r.partition() + " " + r.offset(), 1, Integer::sum);
                        }
                    }
                    if (any) {
                        commit();
                    }
                }
                consumer.close(end);
            } catch (Exception e) {
                say(name, " failed " + e);
                consumer.close(CloseOptions.timeout(Duration.ZERO));
            }
            owned = List.of();
        }

        private void commit() {
            try {
                consumer.commitSync(Duration.ofSeconds(20));
            } catch (RebalanceInProgressException | CommitFailedException | RetriableCommitFailedException e) {
                say(name, " uncommitted " + e.getClass().getSimpleName());
            }
        }

        void end(CloseOptions options) throws InterruptedException {
            end = options;
            join();
        }

        private void changed(String what, Collection<TopicPartition> partitions) {
            owned = List.copyOf(consumer.assignment());
            changed = System.nanoTime();
            String list = partitions.stream().map(TopicPartition::partition).sorted().map(String::valueOf).collect(Collectors.joining(","));
            say(name, " " + what + " " + list);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            changed("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            changed("revoked", partitions);
            owned = owned.stream().filter(tp -> !partitions.contains(tp)).toList();
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            changed("lost", partitions);
            owned = owned.stream().filter(tp -> !partitions.contains(tp)).toList();
        }
    }
}
