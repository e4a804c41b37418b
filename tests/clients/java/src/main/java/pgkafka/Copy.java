package pgkafka;

import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Copies records from one topic to another exactly once: what is read, what is written and how far it was read are one transaction.
 * Every fourth transaction is aborted and done again; every tenth is left open, consumer and producer are thrown away, and new ones go on.
 * With a count it ends when that many records were copied, prints "copied COUNT", and any error ends it. Without one it
 * goes on until its standard input ends, and after an error it does what applications are told to do: abort, or take a new producer.
 */
final class Copy {
    private final String bootstrap;
    private final String from;
    private final String to;
    private final String group;
    private KafkaConsumer<byte[], byte[]> consumer;
    private KafkaProducer<byte[], byte[]> producer;
    private boolean isPatient;
    private int copied;
    private int transactions;

    Copy(String bootstrap, String from, String to, String group) {
        this.bootstrap = bootstrap;
        this.from = from;
        this.to = to;
        this.group = group;
    }

    void run(int count) {
        openProducer();
        openConsumer();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(200);
        while (copied < count) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("only " + copied + " records copied in time");
            }
            transaction();
        }
        System.out.println("copied " + copied);
        close();
    }

    /** Until the standard input ends. */
    void runOn() {
        isPatient = true;
        Thread input = new Thread(Copy::readInput);
        input.setDaemon(true);
        input.start();
        insist(this::openProducer);
        openConsumer();
        while (input.isAlive()) {
            try {
                transaction();
            } catch (KafkaException | IllegalStateException e) {
                System.err.println("again after " + e);
                recover();
            }
        }
        close();
    }

    private static void readInput() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is said.
            }
        } catch (IOException e) {
            System.err.println(e);
        }
    }

    private void transaction() {
        ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
        if (records.isEmpty()) {
            return;
        }
        transactions++;
        producer.beginTransaction();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> r : records) {
            producer.send(new ProducerRecord<>(to, r.partition(), r.key(), r.value()));
            offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
        }
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        if (transactions % 10 == 3) {
            producer.flush();
            close();
            insist(this::openProducer);
            openConsumer();
        } else if (transactions % 4 == 0) {
            producer.flush();
            producer.abortTransaction();
            rewind();
        } else {
            producer.commitTransaction();
            copied += records.count();
        }
    }

    /** After an error: nobody knows what became of the transaction but the broker. */
    private void recover() {
        try {
            producer.abortTransaction();
        } catch (KafkaException | IllegalStateException e) {
            // Its successor ends what it has begun.
            producer.close(Duration.ZERO);
            insist(this::openProducer);
        }
        insist(this::rewind);
    }

    /** Repeats what fails while brokers are away, if it is to be patient. */
    private void insist(Runnable step) {
        for (int attempt = 0; ; attempt++) {
            try {
                step.run();
                return;
            } catch (KafkaException e) {
                if (!isPatient || attempt == 100) {
                    throw e;
                }
                System.err.println("again after " + e);
            }
        }
    }

    /** To where the last commit was. */
    private void rewind() {
        consumer.committed(consumer.assignment()).forEach((partition, offset) -> {
            if (offset == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, offset.offset());
            }
        });
    }

    private void openProducer() {
        Properties p = new Properties();
        p.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        p.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, group + "-copy");
        p.put(ProducerConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 500);
        producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
        try {
            producer.initTransactions();
        } catch (KafkaException e) {
            producer.close(Duration.ZERO);
            throw e;
        }
    }

    private void openConsumer() {
        Properties c = new Properties();
        c.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        c.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        if (isPatient) {
            // A member that could not say goodbye is to be gone soon.
            c.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, "6000");
            c.put(ConsumerConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 500);
        } else {
            c.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, "consumer");
        }
        c.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        c.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        c.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        c.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "100");
        consumer = new KafkaConsumer<>(c, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(from));
    }

    private void close() {
        producer.close(Duration.ZERO);
        try {
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)));
        } catch (KafkaException e) {
            if (!isPatient) {
                throw e;
            }
        }
    }
}
