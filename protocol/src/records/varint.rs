//! A bounded cursor over the bytes of records: zigzag variable-length integers and slices; and the integers' writer.
//!
//! Not here: the unsigned integers and compact lengths of messages, which are `wire`'s.

use super::error::{RecordError, RecordErrorKind};

/// Reads forward over borrowed bytes; errors carry the position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Position of `rest` in what errors count from.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) const fn error(&self, kind: RecordErrorKind) -> RecordError {
        RecordError::new(kind, self.at)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(self.error(RecordErrorKind::RecordCutOff));
        };
        self.rest = rest;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error(RecordErrorKind::RecordCutOff));
        };
        self.rest = rest;
        self.at += count;
        Ok(head)
    }

    /// Zigzag integer of at most 32 bits.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, RecordError> {
        let start = *self;
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(unzigzag32(u32::from(first)));
        }
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag32(value));
            }
        }
        let last = self.u8()?;
        if last > 0x0f {
            return Err(start.error(RecordErrorKind::Varint));
        }
        Ok(unzigzag32(value | u32::from(last) << 28))
    }

    /// Zigzag integer of at most 64 bits.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordError> {
        let start = *self;
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag64(value));
            }
        }
        let last = self.u8()?;
        if last > 1 {
            return Err(start.error(RecordErrorKind::Varint));
        }
        Ok(unzigzag64(value | u64::from(last) << 63))
    }

    /// A length where -1 means null.
    #[inline]
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        let start = *self;
        match self.varint()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(self.bytes(length)?)),
                Err(_) => Err(start.error(RecordErrorKind::NegativeLength(length))),
            },
        }
    }
}

#[inline]
const fn unzigzag32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[inline]
const fn unzigzag64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Appends a zigzag integer of at most 32 bits.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a zigzag integer of at most 64 bits.
#[inline]
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag64(value);
    while rest >= 0x80 {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

/// Bytes that [`put_varlong`] and [`put_varint`] write for this value.
#[inline]
pub(super) const fn varlong_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[inline]
const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip() {
        let edges = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::from(i32::MAX)];
        let far = [
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            1 << 40,
        ];
        for value in edges.into_iter().chain(far) {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), varlong_bytes(value), "{value}");
            assert_eq!(Cursor::new(&out, 0).varlong(), Ok(value));
            let as_32 = Cursor::new(&out, 0).varint();
            match i32::try_from(value) {
                Ok(value) => assert_eq!(as_32, Ok(value)),
                Err(_) => assert!(as_32.is_err(), "{value}"),
            }
        }
    }

    #[test]
    fn integers_that_are_too_long_are_refused() {
        let kind = |bytes: &[u8]| Cursor::new(bytes, 7).varint().unwrap_err();
        let too_long = RecordError::new(RecordErrorKind::Varint, 7);
        assert_eq!(kind(&[0x80, 0x80, 0x80, 0x80, 0x10]), too_long);
        assert_eq!(kind(&[0xff; 5]), too_long);
        let cut_off = RecordError::new(RecordErrorKind::RecordCutOff, 8);
        assert_eq!(kind(&[0x80]), cut_off);
        let mut long = [0xff; 10];
        assert_eq!(Cursor::new(&long, 0).varlong().unwrap_err().at, 0);
        long[9] = 1;
        assert_eq!(Cursor::new(&long, 0).varlong(), Ok(i64::MIN));
    }
}
