//! The same list of operations by the administrators' clients of all languages.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tests::clients::Language;
use tests::{Broker, fresh_topic, java, librdkafka};

const STEPS: &str = "created 2
again refused true
config 2000
altered 3000
grown 4
brokers 1
end 0
begin 0
listed false
";

fn administrator(language: Language) {
    let broker = Broker::shared();
    let topic = fresh_topic("administered");
    let done = language.administrator(&broker.bootstrap(), &topic);
    assert_eq!(done.ok().text(), STEPS);
}

#[test]
fn kafkajs() {
    administrator(Language::Node);
}

#[test]
fn kafka_python() {
    administrator(Language::Python);
}

#[test]
fn franz_go() {
    administrator(Language::Go);
}

#[test]
fn java_client() {
    let broker = Broker::shared();
    let topic = fresh_topic("administered");
    let done = java::client(&["administer", &broker.bootstrap(), &topic], b"");
    assert_eq!(done.ok().text(), STEPS);
}

/// How long librdkafka's own requests may take.
const LIMIT: Duration = Duration::from_secs(120);
const SETTING: &str = "max.message.bytes";

/// What administrators do, by librdkafka.
struct Administrator<'a> {
    client: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    topic: &'a str,
}

impl Administrator<'_> {
    async fn create(&self) -> Result<String, (String, RDKafkaErrorCode)> {
        let topic = NewTopic::new(self.topic, 2, TopicReplication::Fixed(1)).set(SETTING, "2000");
        let created = self.client.create_topics(&[topic], &self.options).await;
        created.unwrap().swap_remove(0)
    }

    /// Partitions of the topic; none if it is not listed.
    fn partitions(&self) -> usize {
        let metadata = self.client.inner().fetch_metadata(None, LIMIT).unwrap();
        let found = metadata.topics().iter().find(|t| t.name() == self.topic);
        found.map_or(0, |topic| topic.partitions().len())
    }

    async fn value(&self) -> String {
        let resources = [ResourceSpecifier::Topic(self.topic)];
        let described = self.client.describe_configs(&resources, &self.options);
        let described = described.await.unwrap().swap_remove(0).unwrap();
        described.get(SETTING).unwrap().value.clone().unwrap()
    }

    async fn steps(&self) -> String {
        assert_eq!(self.create().await, Ok(self.topic.to_owned()));
        let mut said = format!("created {}\n", self.partitions());
        let exists = (self.topic.to_owned(), RDKafkaErrorCode::TopicAlreadyExists);
        said += &format!("again refused {}\n", self.create().await == Err(exists));
        said += &format!("config {}\n", self.value().await);
        let resource = ResourceSpecifier::Topic(self.topic);
        let set = AlterConfig::new(resource).set(SETTING, "3000");
        let altered = self.client.alter_configs(&[set], &self.options).await;
        altered.unwrap().swap_remove(0).unwrap();
        said += &format!("altered {}\n", self.value().await);
        let more = NewPartitions::new(self.topic, 4);
        let grown = self.client.create_partitions(&[more], &self.options).await;
        grown.unwrap().swap_remove(0).unwrap();
        said += &format!("grown {}\n", self.partitions());
        let metadata = self.client.inner().fetch_metadata(None, LIMIT).unwrap();
        said += &format!("brokers {}\n", metadata.brokers().len());
        let watermarks = |partition| {
            let client = self.client.inner();
            client
                .fetch_watermarks(self.topic, partition, LIMIT)
                .unwrap()
        };
        said += &format!("end {}\n", watermarks(3).1);
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(self.topic, 0, Offset::End)
            .unwrap();
        let deleted = self.client.delete_records(&offsets, &self.options).await;
        deleted.unwrap();
        said += &format!("begin {}\n", watermarks(0).0);
        let deleted = self
            .client
            .delete_topics(&[self.topic], &self.options)
            .await;
        deleted.unwrap().swap_remove(0).unwrap();
        said += &format!("listed {}\n", self.partitions() > 0);
        said
    }
}

#[test]
fn librdkafka() {
    let broker = Broker::shared();
    let topic = fresh_topic("administered");
    let administrator = Administrator {
        client: librdkafka::client(&broker.bootstrap(), &[]),
        options: AdminOptions::new(),
        topic: &topic,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(administrator.steps()), STEPS);
}
