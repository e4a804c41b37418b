//! The JSON that members and groups are stored as, besides the columns of their rows.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes as a text of hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Hex(pub(super) Bytes);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: [char; 16] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
        ];
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
        let pairs = self
            .0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        serializer.serialize_str(&pairs.collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes = bytes.collect::<Option<Vec<u8>>>();
        let wrong = || serde::de::Error::custom("pairs of hexadecimal digits are needed");
        bytes.map(|bytes| Self(bytes.into())).ok_or_else(wrong)
    }
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a group's state could not be written");
        Vec::new()
    })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        let hex = Hex(all.into());
        assert_eq!(decode::<Hex>(&encode(&hex)), Ok(hex));
        assert!(decode::<Hex>(b"\"0\"").is_err());
        assert!(decode::<Hex>(b"\"zz\"").is_err());
    }
}
