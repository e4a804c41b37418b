//! Every version of every API that the broker advertises, sent as samples made from the schemas: each is answered with a response
//! of that version, whole and with nothing left over.

use protocol::ApiKey;
use protocol::view::{self, Kind, Sample};
use tests::Broker;
use tests::wire::{Connection, frame, header_bytes};

use crate::versions::advertised;

/// No answer is due to a Produce with acks=0, the default of the schema, and versions below 3 are advertised but not served.
fn has_an_answer(key: ApiKey, version: i16, sample: Sample) -> bool {
    key != ApiKey::Produce || (version >= 3 && sample != Sample::Defaults)
}

#[test]
fn every_advertised_version_answers_samples_of_all_kinds() {
    // Of its own: filled samples make topics, change settings and delete what they name.
    let broker = Broker::start();
    let mut connection = Connection::open(&broker);
    let mut answered = 0;
    for (key, versions) in advertised(&mut connection) {
        let request = view::of_api(key, Kind::Request).unwrap();
        let response = view::of_api(key, Kind::Response).unwrap();
        for version in versions {
            for kind in Sample::SHORT {
                if !has_an_answer(key, version, kind) {
                    continue;
                }
                let (body, _) = view::sample(request, version, kind);
                let bytes = [header_bytes(key, version, answered), body].concat();
                connection.send_bytes(&frame(&bytes));
                let answer = connection.receive(key, version);
                assert_eq!(
                    answer.correlation_id, answered,
                    "{key:?} v{version} {kind:?}"
                );
                let read = view::to_json(response, version, answer.body());
                assert!(read.is_ok(), "{key:?} v{version} {kind:?}: {read:?}");
                answered += 1;
            }
        }
    }
    assert!(answered > 300, "{answered}");
}
