//! What the broker writes into its log.

use std::time::Duration;

use protocol::messages::MetadataRequest;
use protocol::messages::metadata_request::MetadataRequestTopic;
use tests::batch::NewBatch;
use tests::broker::read_until_closed;
use tests::wire::{Connection, frame};
use tests::{Broker, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn wait_for_line(broker: &Broker, parts: &[&str]) {
    let what = format!("a line with {parts:?}");
    wait_for(&what, LIMIT, || {
        let log = broker.log();
        log.lines()
            .any(|line| parts.iter().all(|part| line.contains(part)))
            .then_some(())
    });
}

#[test]
fn requests_and_responses_are_shown_as_json() {
    let broker = Broker::start_with(&["--log-level", "info,wire=debug"]);
    let mut connection = Connection::open(&broker);
    let topic = MetadataRequestTopic {
        name: Some("nowhere".into()),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    connection.call(&request, 9);
    let asked = r#"{"topics":[{"name":"nowhere"}],"allowAutoTopicCreation":false,"#;
    wait_for_line(&broker, &["Metadata v9 request", asked]);
    wait_for_line(
        &broker,
        &["Metadata v9 response", r#""errorCode":3,"name":"nowhere""#],
    );
    connection.create_topic("shown", 1);
    let batch = NewBatch::of(&["not for the log"]).bytes();
    connection.produce("shown", 0, &batch);
    let size = format!(r#""records":"{} bytes""#, batch.len());
    wait_for_line(&broker, &["Produce v12 request", &size]);
}

#[test]
fn a_request_that_cannot_be_read_is_explained() {
    let broker = Broker::start();
    let mut connection = Connection::open(&broker);
    // Metadata 12 without a client id: two topics are announced, and the second one's name is cut off.
    let mut request = vec![0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0, 3];
    request.extend([0; 16]);
    request.extend([2, b'a', 0]);
    request.extend([0; 16]);
    request.extend([9, b'b', 0, 1]);
    connection.send_bytes(&frame(&request));
    read_until_closed(connection.stream(), LIMIT);
    let reason =
        "Metadata v12: topics[1].name at byte 37: the message ends inside a field (string)";
    wait_for_line(&broker, &["WARN", reason]);
    // The header announces a tagged field that is not there.
    let mut connection = Connection::open(&broker);
    connection.send_bytes(&frame(&[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 1]));
    read_until_closed(connection.stream(), LIMIT);
    let reason = "its header: tagged fields at byte 10: more elements are announced";
    wait_for_line(&broker, &["WARN", reason]);
}
