//! Messages as JSON for a log: without secrets, without the records of others, and not longer than wanted.

use std::io;

use super::descriptor::{FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type};
use super::explain::{Explained, explained};
use super::read::Walk;
use super::value::{Fields, Value};
use crate::wire::Reader;

/// What stands in place of a secret.
const MASK: &str = "***";

/// What stands where a text was cut off.
const CUT: &str = "…";

/// A field that no log shows.
#[derive(Debug, Clone, Copy)]
struct Secret {
    message: &'static str,
    /// The struct in which [`when`](Self::when) is asked; the field is in it, or in a struct that it holds.
    within: &'static str,
    field: &'static str,
    when: When,
}

/// When a field is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Where the struct says so in `IsSensitive`.
    Sensitive,
    /// In the settings of anything but a topic, which has no secret ones.
    NotOfTopic,
}

const fn secret(message: &'static str, within: &'static str, field: &'static str) -> Secret {
    Secret {
        message,
        within,
        field,
        when: When::Always,
    }
}

const fn setting(message: &'static str, within: &'static str, when: When) -> Secret {
    Secret {
        message,
        within,
        field: "Value",
        when,
    }
}

/// THE table: every secret of Kafka's protocol.
#[rustfmt::skip] // a table: one row a secret
const SECRETS: &[Secret] = &[
    secret("SaslAuthenticateRequest",          "SaslAuthenticateRequest",       "AuthBytes"),
    secret("SaslAuthenticateResponse",         "SaslAuthenticateResponse",      "AuthBytes"),
    secret("AlterUserScramCredentialsRequest", "ScramCredentialUpsertion",      "Salt"),
    secret("AlterUserScramCredentialsRequest", "ScramCredentialUpsertion",      "SaltedPassword"),
    secret("CreateDelegationTokenResponse",    "CreateDelegationTokenResponse", "Hmac"),
    secret("RenewDelegationTokenRequest",      "RenewDelegationTokenRequest",   "Hmac"),
    secret("ExpireDelegationTokenRequest",     "ExpireDelegationTokenRequest",  "Hmac"),
    secret("DescribeDelegationTokenResponse",  "DescribedDelegationToken",      "Hmac"),
    // Whole requests and responses of any kind.
    secret("EnvelopeRequest",                  "EnvelopeRequest",               "RequestData"),
    secret("EnvelopeRequest",                  "EnvelopeRequest",               "RequestPrincipal"),
    secret("EnvelopeResponse",                 "EnvelopeResponse",              "ResponseData"),
    setting("AlterConfigsRequest",             "AlterConfigsResource",          When::NotOfTopic),
    setting("IncrementalAlterConfigsRequest",  "AlterConfigsResource",          When::NotOfTopic),
    setting("DescribeConfigsResponse",         "DescribeConfigsResourceResult", When::Sensitive),
    setting("CreateTopicsResponse",            "CreatableTopicConfigs",         When::Sensitive),
];

/// Kafka's number of topics among the resources that have settings.
const RESOURCE_TYPE_TOPIC: i64 = 2;

/// The message as [`to_json`](super::to_json) has it, for a log: secrets are `***`, records are their size, and a text of
/// more than `bytes_max` bytes is cut off and ends in `…`.
///
/// # Errors
/// When the bytes do not begin with such a message.
pub fn to_log(
    message: &MessageDescriptor,
    version: i16,
    bytes: &[u8],
    bytes_max: usize,
) -> Result<String, Explained> {
    let mut walk = Walk::new(message, version);
    let mut fields = walk
        .read(&mut Reader::new(bytes))
        .map_err(|error| explained(&walk, error))?;
    let hide = Hide { message };
    hide.fields(message.structure(0), &mut fields, Vec::new());
    let mut text = Bounded {
        bytes: Vec::new(),
        left: bytes_max,
    };
    let is_whole = serde_json::to_writer(&mut text, &fields).is_ok();
    // The cut may go through a letter.
    let letters = text.bytes.utf8_chunks().next();
    let mut text = letters.map_or("", |letters| letters.valid()).to_owned();
    if !is_whole {
        text.push_str(CUT);
    }
    Ok(text)
}

struct Hide<'m> {
    message: &'m MessageDescriptor,
}

impl Hide<'_> {
    /// Hides what must be hidden in a struct; `hidden` are the fields that what holds it says are secret.
    fn fields(
        &self,
        of: &StructDescriptor,
        fields: &mut Fields<'_>,
        mut hidden: Vec<&'static str>,
    ) {
        for secret in SECRETS {
            let is_here = secret.message == self.message.name && secret.within == of.name;
            if is_here && secret.when.holds(fields) {
                hidden.push(secret.field);
            }
        }
        for (field, value) in &mut fields.values {
            self.value(field, value, &hidden);
        }
    }

    fn value(&self, field: &FieldDescriptor, value: &mut Value<'_>, hidden: &[&'static str]) {
        match (value, field.shape) {
            (Value::Null, _) => {}
            (value, _) if hidden.contains(&field.name) => *value = Value::Text(MASK.into()),
            (value, Shape::One(Type::Records)) => {
                if let Value::Bytes(bytes) = value {
                    *value = Value::Text(format!("{} bytes", bytes.len()).into());
                }
            }
            (Value::Struct(fields), Shape::One(Type::Struct(index))) => {
                self.fields(self.message.structure(index), fields, hidden.to_vec());
            }
            (Value::List(elements), Shape::Many(Type::Struct(index))) => {
                for element in elements {
                    if let Value::Struct(fields) = element {
                        self.fields(self.message.structure(index), fields, hidden.to_vec());
                    }
                }
            }
            _ => {}
        }
    }
}

impl When {
    /// Whether fields in a struct with these values are secret; they are if the values do not tell.
    fn holds(self, fields: &Fields<'_>) -> bool {
        let value = |name: &str| {
            let mut values = fields.values.iter();
            values.find_map(|(field, value)| (field.name == name).then_some(value))
        };
        match self {
            Self::Always => true,
            Self::Sensitive => !matches!(value("IsSensitive"), Some(Value::Bool(false))),
            Self::NotOfTopic => {
                !matches!(value("ResourceType"), Some(Value::Int(RESOURCE_TYPE_TOPIC)))
            }
        }
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.get(..self.left).unwrap_or(bytes);
        self.bytes.extend_from_slice(taken);
        self.left -= taken.len();
        match taken.len() {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{MESSAGES, Sample, find, from_json, sample};
    use serde_json::json;

    /// Fields of type bytes that hold no secret.
    const HARMLESS: &[&str] = &[
        "Assignment", // of a group member
        "ClientHostAddress",
        "MemberAssignment",
        "MemberMetadata",
        "Metadata", // of a group member
        "Metrics",
        "UserData", // of a group member
    ];

    /// Words that the names of secrets contain, and names with such a word that are none.
    const SECRET_WORDS: &[&str] = &[
        "password",
        "secret",
        "hmac",
        "salt",
        "authbytes",
        "credential",
    ];
    const NAMES_WITH_WORDS: &[&str] = &["CredentialInfos"];

    #[test]
    fn every_row_is_a_field_and_every_field_that_may_be_secret_is_a_row_or_known_to_be_harmless() {
        for secret in SECRETS {
            let message = find(secret.message).unwrap();
            let of = message
                .structs
                .iter()
                .position(|it| it.name == secret.within);
            let of = &message.structs[of.unwrap()..];
            let mut fields = of.iter().flat_map(|it| it.fields);
            assert!(fields.any(|field| field.name == secret.field), "{secret:?}");
        }
        for message in MESSAGES {
            for field in message.structs.iter().flat_map(|it| it.fields) {
                let (Shape::One(of) | Shape::Many(of)) = field.shape;
                let small = field.name.to_lowercase();
                let suspect =
                    of == Type::Bytes || SECRET_WORDS.iter().any(|word| small.contains(word));
                let is_row = SECRETS
                    .iter()
                    .any(|secret| secret.message == message.name && secret.field == field.name);
                let harmless =
                    HARMLESS.contains(&field.name) || NAMES_WITH_WORDS.contains(&field.name);
                assert!(
                    !suspect || is_row != harmless,
                    "{}.{}",
                    message.name,
                    field.name
                );
            }
        }
    }

    #[track_caller]
    fn check(name: &str, version: i16, json: serde_json::Value, expected: &str) {
        let message = find(name).unwrap();
        let bytes = from_json(message, version, &json).unwrap();
        assert_eq!(to_log(message, version, &bytes, 1000).unwrap(), expected);
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        check(
            "SaslAuthenticateRequest",
            2,
            json!({"authBytes": "AHVzZXIAcGFzcw=="}),
            r#"{"authBytes":"***"}"#,
        );
        check(
            "AlterUserScramCredentialsRequest",
            0,
            json!({"deletions": [], "upsertions": [
                {"name": "u", "mechanism": 1, "iterations": 4096, "salt": "c2FsdA==", "saltedPassword": "cHc="}
            ]}),
            r#"{"deletions":[],"upsertions":[{"name":"u","mechanism":1,"iterations":4096,"salt":"***","saltedPassword":"***"}]}"#,
        );
        check(
            "RenewDelegationTokenRequest",
            2,
            json!({"hmac": "aG1hYw==", "renewPeriodMs": 5}),
            r#"{"hmac":"***","renewPeriodMs":5}"#,
        );
    }

    #[test]
    fn settings_are_masked_unless_they_are_of_a_topic() {
        let request = |kind| {
            json!({"resources": [{"resourceType": kind, "resourceName": "1", "configs": [
                {"name": "ssl.key.password", "configOperation": 0, "value": "hunter2"}
            ]}], "validateOnly": false})
        };
        let logged = |kind, value| {
            format!(
                r#"{{"resources":[{{"resourceType":{kind},"resourceName":"1","configs":[{{"name":"ssl.key.password","configOperation":0,"value":"{value}"}}]}}],"validateOnly":false}}"#
            )
        };
        check(
            "IncrementalAlterConfigsRequest",
            1,
            request(4),
            &logged(4, "***"),
        );
        check(
            "IncrementalAlterConfigsRequest",
            1,
            request(2),
            &logged(2, "hunter2"),
        );
    }

    #[test]
    fn what_is_sensitive_is_masked_with_its_synonyms() {
        let result = |sensitive| {
            json!({"throttleTimeMs": 0, "results": [{
                "errorCode": 0, "errorMessage": null, "resourceType": 4, "resourceName": "1", "configs": [{
                    "name": "n", "value": "v", "readOnly": false, "configSource": 1, "isSensitive": sensitive,
                    "synonyms": [{"name": "n", "value": "v", "source": 1}], "configType": 1, "documentation": null
                }]
            }]})
        };
        let message = find("DescribeConfigsResponse").unwrap();
        let log = |sensitive| {
            let bytes = from_json(message, 4, &result(sensitive)).unwrap();
            to_log(message, 4, &bytes, 1000).unwrap()
        };
        assert_eq!(log(true).matches(r#""value":"***""#).count(), 2);
        assert_eq!(log(false).matches(r#""value":"v""#).count(), 2);
    }

    #[test]
    fn records_are_their_size_and_long_texts_are_cut_between_letters() {
        let message = find("ProduceRequest").unwrap();
        let (bytes, _) = sample(message, 9, Sample::Filled);
        let whole = to_log(message, 9, &bytes, 100_000).unwrap();
        assert!(whole.contains(r#""records":"3 bytes""#), "{whole}");
        for bytes_max in 0..whole.len() {
            let text = to_log(message, 9, &bytes, bytes_max).unwrap();
            let start = text.strip_suffix(CUT).unwrap();
            assert!(
                whole.starts_with(start) && start.len() + 1 >= bytes_max,
                "{text}"
            );
        }
        assert_eq!(to_log(message, 9, &bytes, whole.len()).unwrap(), whole);
    }
}
