package pgkafka;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;

/** What an administrator does; a line for each step, the same for all clients. */
final class Administrator {
    private static final String SETTING = "max.message.bytes";

    private final Admin admin;
    private final String topic;

    private Administrator(Admin admin, String topic) {
        this.admin = admin;
        this.topic = topic;
    }

    static void run(String bootstrap, String topic) throws Exception {
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap))) {
            new Administrator(admin, topic).run();
        }
    }

    private void run() throws Exception {
        NewTopic wanted = new NewTopic(topic, Optional.of(2), Optional.of((short) 1));
        admin.createTopics(List.of(wanted.configs(Map.of(SETTING, "2000")))).all().get();
        System.out.println("created " + partitions());
        try {
            admin.createTopics(List.of(wanted)).all().get();
            System.out.println("again refused false");
        } catch (ExecutionException e) {
            System.out.println("again refused " + (e.getCause() instanceof TopicExistsException));
        }
        System.out.println("config " + value());
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(SETTING, "3000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource(), List.of(set))).all().get();
        System.out.println("altered " + value());
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
        System.out.println("grown " + partitions());
        System.out.println("brokers " + admin.describeCluster().nodes().get().size());
        TopicPartition last = new TopicPartition(topic, 3);
        System.out.println("end " + admin.listOffsets(Map.of(last, OffsetSpec.latest())).all().get().get(last).offset());
        TopicPartition first = new TopicPartition(topic, 0);
        long begin = admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(-1)))
                .lowWatermarks().get(first).get().lowWatermark();
        System.out.println("begin " + begin);
        admin.deleteTopics(Set.of(topic)).all().get();
        System.out.println("listed " + admin.listTopics().names().get().contains(topic));
    }

    private ConfigResource resource() {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private int partitions() throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
    }

    private String value() throws Exception {
        return admin.describeConfigs(List.of(resource())).all().get().get(resource()).get(SETTING).value();
    }
}
