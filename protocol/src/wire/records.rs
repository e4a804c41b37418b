//! The `records` type: opaque bytes at this level, handed on without a copy.

use std::ops::Deref;
use std::{fmt, mem};

use bytes::Bytes;

/// The value of a `records` field.
///
/// Null is a state of its own and the default, as in Kafka; what the bytes mean is not known here.
#[derive(Clone, Default)]
pub enum Records<'a> {
    /// No value.
    #[default]
    Null,
    /// A view on the message it was read from. Written by copying.
    Wire(&'a [u8]),
    /// Pieces that together are the value. Large ones are written without being copied.
    Shared(Pieces),
}

/// The pieces of records, in order.
#[derive(Clone)]
pub struct Pieces(Vec<Bytes>);

impl Deref for Pieces {
    type Target = [Bytes];

    #[inline]
    fn deref(&self) -> &[Bytes] {
        &self.0
    }
}

impl Drop for Pieces {
    #[inline]
    fn drop(&mut self) {
        drop_pieces(mem::take(&mut self.0));
    }
}

/// Out of line, so that the code that drops a struct stays small: records that were read have no pieces.
#[inline(never)]
fn drop_pieces(pieces: Vec<Bytes>) {
    drop(pieces);
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pieces", self.0.len())
    }
}

impl<'a> Records<'a> {
    /// The empty value, which is not null.
    pub const EMPTY: Self = Self::Wire(&[]);

    /// Whether there is no value.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether there are no bytes: null or empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in all; 0 for null.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Wire(bytes) => bytes.len(),
            Self::Shared(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    /// The bytes as they were read; `None` for null and for shared pieces.
    pub const fn as_wire(&self) -> Option<&'a [u8]> {
        match self {
            Self::Wire(bytes) => Some(bytes),
            Self::Null | Self::Shared(_) => None,
        }
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (wire, shared) = match self {
            Self::Null => (None, [].as_slice()),
            Self::Wire(bytes) => (Some(*bytes), [].as_slice()),
            Self::Shared(pieces) => (None, &**pieces),
        };
        wire.into_iter().chain(shared.iter().map(Bytes::as_ref))
    }
}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Wire(bytes)
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(Pieces(vec![bytes]))
    }
}

impl From<Vec<Bytes>> for Records<'_> {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self::Shared(Pieces(pieces))
    }
}

/// Equal if both are null, or neither is and the bytes are the same, however they are cut.
impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_null() == other.is_null()
            && self.len() == other.len()
            && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Records<'_> {}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            other => write!(f, "{} bytes", other.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_empty_and_cuts_do_not_matter() {
        assert_eq!(Records::default(), Records::Null);
        assert_ne!(Records::EMPTY, Records::Null);
        assert!(Records::Null.is_empty() && Records::Null.is_null());
        let shared = Records::from(vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")]);
        assert_eq!(shared, Records::from(b"abc".as_slice()));
        assert_ne!(shared, Records::from(b"abd".as_slice()));
        assert_eq!(shared.len(), 3);
        assert_eq!(format!("{shared:?}"), "3 bytes");
        assert_eq!(shared.as_wire(), None);
    }
}
