//! A member of a consumer group with librdkafka: member BOOTSTRAP TOPIC GROUP [setting=value …]
//!
//! Consumes until its standard input ends, then leaves; "partition offset" of every record on standard output, before it is committed.

use std::io::{Read, Write, stdin, stdout};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use tests::librdkafka::client;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, settings @ ..] = args.as_slice() else {
        panic!("member BOOTSTRAP TOPIC GROUP [setting=value …]");
    };
    let own = [
        ("group.id", group.as_str()),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    let given = settings
        .iter()
        .filter_map(|setting| setting.split_once('='));
    let settings: Vec<(&str, &str)> = own.into_iter().chain(given).collect();
    let consumer: BaseConsumer = client(bootstrap, &settings);
    consumer.subscribe(&[topic]).expect("a topic");
    let ended = std::thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
    });
    while !ended.is_finished() {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            writeln!(stdout(), "{} {}", message.partition(), message.offset()).expect("a reader");
            // Refused while the group rebalances; the records come again then.
            let _ = consumer.commit_message(&message, CommitMode::Async);
        }
    }
    let _ = consumer.commit_consumer_state(CommitMode::Sync);
}
