"""What an administrator does, with kafka-python: admin.py BOOTSTRAP TOPIC

A line for each step on standard output, the same for all clients.
"""

import sys

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError

SETTING = "max.message.bytes"
bootstrap, topic = sys.argv[1:]
# The default, two seconds, is short for a machine that does much else.
patience = {"api_version_auto_timeout_ms": 60000}
admin = KafkaAdminClient(bootstrap_servers=bootstrap, **patience)


def partitions():
    return len(admin.describe_topics([topic])[0]["partitions"])


def value():
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={SETTING: None})
    (answer,) = admin.describe_configs([resource])
    entries = answer.resources[0][4]
    return next(entry[1] for entry in entries if entry[0] == SETTING)


admin.create_topics([NewTopic(topic, 2, 1, topic_configs={SETTING: "2000"})])
print("created", partitions())
try:
    admin.create_topics([NewTopic(topic, 2, 1)])
    print("again refused false")
except TopicAlreadyExistsError:
    print("again refused true")
print("config", value())
admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={SETTING: "3000"})])
print("altered", value())
admin.create_partitions({topic: NewPartitions(4)})
print("grown", partitions())
print("brokers", len(admin.describe_cluster()["brokers"]))
last, first = TopicPartition(topic, 3), TopicPartition(topic, 0)
consumer = KafkaConsumer(bootstrap_servers=bootstrap, **patience)
print("end", consumer.end_offsets([last])[last])
admin.delete_records({first: -1})
print("begin", consumer.beginning_offsets([first])[first])
admin.delete_topics([topic])
print("listed", str(topic in admin.list_topics()).lower())
consumer.close()
admin.close()
