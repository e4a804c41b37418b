package pgkafka;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A small program around the Java client, driven by the end-to-end tests: one subcommand for each job, plain lines as
 * output, exit code 1 and the exception's class name on failure.
 *
 * <pre>
 * produce BOOTSTRAP TOPIC CODEC        stdin: "key TAB value" lines; stdout: "partition offset" of every record, in order
 * headers BOOTSTRAP TOPIC              one record with duplicate, empty and null header values, null key, empty value
 * consume BOOTSTRAP TOPIC COUNT        assigned to all partitions: "partition offset key value [header=value …]" lines
 * times   BOOTSTRAP TOPIC TIMESTAMP    offsetsForTimes of every partition: "partition offset timestamp" or "partition none"
 * members BOOTSTRAP TOPICS GROUP [setting=value …]   members of a group, as Members says; TOPICS may be re2:PATTERN or java:PATTERN
 * member  BOOTSTRAP TOPICS GROUP NAME [setting=value …]   one of them, in this process
 * copy    BOOTSTRAP FROM TO GROUP COUNT   copies COUNT records in transactions with their offsets, as Copy says
 * copy-on BOOTSTRAP FROM TO GROUP      the same until the standard input ends, through failures of brokers
 * committed BOOTSTRAP TOPIC COUNT      as consume, of committed records
 * admin   BOOTSTRAP TOPIC              creates, describes, grows, lists offsets, deletes; a line for each step
 * administer BOOTSTRAP TOPIC           what the administrators of all languages do, in Administrator
 * </pre>
 */
public final class Client {
    private Client() {}

    public static void main(String[] args) throws Exception {
        try {
            switch (args[0]) {
                case "produce" -> produce(args[1], args[2], args[3]);
                case "headers" -> headers(args[1], args[2]);
                case "consume" -> consume(consumer(args[1], "read_uncommitted"), args[2], Integer.parseInt(args[3]));
                case "committed" -> consume(consumer(args[1], "read_committed"), args[2], Integer.parseInt(args[3]));
                case "copy" -> new Copy(args[1], args[2], args[3], args[4]).run(Integer.parseInt(args[5]));
                case "copy-on" -> new Copy(args[1], args[2], args[3], args[4]).runOn();
                case "times" -> times(args[1], args[2], Long.parseLong(args[3]));
                case "admin" -> admin(args[1], args[2]);
                case "administer" -> Administrator.run(args[1], args[2]);
                case "members" -> new Members(args[1], args[2], args[3], List.of(args).subList(4, args.length)).run();
                case "member" -> Member.alone(args[1], args[2], args[3], args[4], List.of(args).subList(5, args.length));
                default -> throw new IllegalArgumentException("unknown subcommand " + args[0]);
            }
        } catch (ExecutionException e) {
            System.err.println(e.getCause().getClass().getSimpleName() + ": " + e.getCause().getMessage());
            System.exit(1);
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec) {
        Properties p = new Properties();
        p.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, codec);
        // everything else at its default: idempotent, acks=all, five requests in flight
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String isolation) {
        Properties p = new Properties();
        p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, isolation);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void produce(String bootstrap, String topic, String codec) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(bootstrap, codec)) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                int tab = line.indexOf('\t');
                sent.add(producer.send(new ProducerRecord<>(topic, utf8(line.substring(0, tab)), utf8(line.substring(tab + 1)))));
            }
            producer.flush();
        }
        StringBuilder out = new StringBuilder();
        for (Future<RecordMetadata> f : sent) {
            RecordMetadata m = f.get(30, TimeUnit.SECONDS);
            out.append(m.partition()).append(' ').append(m.offset()).append('\n');
        }
        System.out.print(out);
    }

    private static void headers(String bootstrap, String topic) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(bootstrap, "none")) {
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, null, utf8(""));
            record.headers().add("a", utf8("1")).add("b", utf8("")).add("a", utf8("2")).add("c", null);
            RecordMetadata m = producer.send(record).get(30, TimeUnit.SECONDS);
            System.out.println(m.partition() + " " + m.offset());
        }
    }

    private static List<TopicPartition> partitions(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        return consumer.partitionsFor(topic).stream().map(i -> new TopicPartition(topic, i.partition())).toList();
    }

    private static void consume(KafkaConsumer<byte[], byte[]> from, String topic, int count) {
        StringBuilder out = new StringBuilder();
        try (KafkaConsumer<byte[], byte[]> consumer = from) {
            List<TopicPartition> partitions = partitions(consumer, topic);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            int seen = 0;
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
            while (seen < count && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    seen++;
                    out.append(r.partition()).append(' ').append(r.offset()).append(' ').append(text(r.key())).append(' ').append(text(r.value()));
                    for (Header h : r.headers()) {
                        out.append(' ').append(h.key()).append('=').append(text(h.value()));
                    }
                    out.append('\n');
                }
            }
        }
        System.out.print(out);
    }

    private static void times(String bootstrap, String topic, long timestamp) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap, "read_uncommitted")) {
            Map<TopicPartition, Long> asked = new TreeMap<>((a, b) -> a.partition() - b.partition());
            partitions(consumer, topic).forEach(tp -> asked.put(tp, timestamp));
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(asked);
            for (TopicPartition tp : asked.keySet()) {
                OffsetAndTimestamp o = found.get(tp);
                System.out.println(tp.partition() + " " + (o == null ? "none" : o.offset() + " " + o.timestamp()));
            }
        }
    }

    private static void admin(String bootstrap, String topic) throws Exception {
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
            System.out.println("created " + describe(admin, topic));
            try {
                admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
                System.out.println("created twice");
            } catch (ExecutionException e) {
                System.out.println("again " + e.getCause().getClass().getSimpleName());
            }
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            System.out.println("grown " + describe(admin, topic));
            Map<TopicPartition, ListOffsetsResultInfo> ends =
                    admin.listOffsets(Map.of(new TopicPartition(topic, 4), OffsetSpec.latest())).all().get();
            System.out.println("end " + ends.get(new TopicPartition(topic, 4)).offset());
            System.out.println("nodes " + admin.describeCluster().nodes().get().size());
            admin.deleteTopics(Set.of(topic)).all().get();
            System.out.println("listed " + admin.listTopics().names().get().contains(topic));
        }
    }

    private static String describe(Admin admin, String topic) throws Exception {
        // a broker may take a moment to show a topic everywhere
        for (int attempt = 0; ; attempt++) {
            try {
                TopicDescription d = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                return d.partitions().stream()
                        .map(p -> p.partition() + (p.leader() == null ? "-" : "+"))
                        .collect(Collectors.joining(","));
            } catch (ExecutionException e) {
                if (attempt == 20) {
                    throw e;
                }
                Thread.sleep(100);
            }
        }
    }

    private static byte[] utf8(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return Optional.ofNullable(bytes).map(b -> b.length == 0 ? "empty" : new String(b, StandardCharsets.UTF_8)).orElse("null");
    }
}
