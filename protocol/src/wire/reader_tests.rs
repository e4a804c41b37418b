//! Tests of [`Reader`]: values, limits, budgets and errors.

use std::borrow::Cow;

use super::*;
use crate::wire::{FieldReader, Struct, Writer};

fn kind<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> DecodeErrorKind {
    result.unwrap_err().kind
}

#[test]
fn fixed_values_and_runs_read_the_same() {
    let bytes = [1, 0xff, 0xfe, 0, 0, 0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let mut one_by_one = Reader::new(&bytes);
    let values = (
        one_by_one.i8().unwrap(),
        one_by_one.i16().unwrap(),
        one_by_one.i32().unwrap(),
        one_by_one.i64().unwrap(),
    );
    assert_eq!(values, (1, -2, 7, i64::MIN));
    one_by_one.finish().unwrap();
    let mut at_once = Reader::new(&bytes);
    assert_eq!(at_once.run::<(i8, i16, i32, i64)>().unwrap(), values);
    at_once.finish().unwrap();
    for cut in 0..bytes.len() {
        let mut cut = Reader::new(&bytes[..cut]);
        assert_eq!(
            cut.run::<(i8, i16, i32, i64)>().unwrap_err(),
            DecodeError {
                kind: DecodeErrorKind::Truncated,
                at: 0
            }
        );
        assert_eq!(cut.offset(), 0);
    }
}

#[test]
fn any_byte_but_zero_is_true() {
    let mut reader = Reader::new(&[0, 1, 2, 0xff]);
    let read: Vec<_> = (0..4).map(|_| reader.bool().unwrap()).collect();
    assert_eq!(read, [false, true, true, true]);
}

#[test]
fn strings_in_both_forms() {
    assert_eq!(Reader::new(b"\0\x02ab").string(false).unwrap(), "ab");
    assert_eq!(Reader::new(b"\x03ab").string(true).unwrap(), "ab");
    assert_eq!(
        Reader::new(b"\xff\xff").nullable_string(false).unwrap(),
        None
    );
    assert_eq!(Reader::new(b"\0").nullable_string(true).unwrap(), None);
    assert_eq!(
        kind(Reader::new(b"\xff\xff").string(false)),
        DecodeErrorKind::UnexpectedNull
    );
    assert_eq!(
        kind(Reader::new(b"\0").string(true)),
        DecodeErrorKind::UnexpectedNull
    );
    assert_eq!(
        kind(Reader::new(b"\xff\xfe").string(false)),
        DecodeErrorKind::NegativeLength
    );
    assert_eq!(
        kind(Reader::new(b"\0\x02a").string(false)),
        DecodeErrorKind::Truncated
    );
    assert_eq!(
        kind(Reader::new(b"\x02\xff").string(true)),
        DecodeErrorKind::InvalidUtf8
    );
}

#[test]
fn the_longest_string_is_32767_bytes_in_both_forms() {
    let mut compact = vec![0x80, 0x80, 0x02];
    compact.resize(3 + 32_767, b'x');
    assert_eq!(
        Reader::new(&compact).string(true).unwrap().len(),
        STRING_BYTES_MAX
    );
    let mut compact = vec![0x81, 0x80, 0x02];
    compact.resize(3 + 32_768, b'x');
    assert_eq!(
        kind(Reader::new(&compact).string(true)),
        DecodeErrorKind::StringTooLong
    );
    let mut plain = vec![0x7f, 0xff];
    plain.resize(2 + 32_767, b'x');
    assert_eq!(
        Reader::new(&plain).string(false).unwrap().len(),
        STRING_BYTES_MAX
    );
}

#[test]
fn errors_say_where_the_field_begins() {
    let mut reader = Reader::new(b"\x02a\x02\xff");
    reader.string(true).unwrap();
    let error = reader.string(true).unwrap_err();
    assert_eq!(error.at, 2);
    assert_eq!(error.to_string(), "a string is not valid UTF-8 at byte 2");
}

#[test]
fn bytes_and_records() {
    assert_eq!(
        Reader::new(&[0, 0, 0, 1, 9]).bytes(false).unwrap(),
        Cow::Borrowed(&[9])
    );
    assert_eq!(Reader::new(&[2, 9]).bytes(true).unwrap().as_ref(), [9]);
    assert_eq!(Reader::new(&[0]).nullable_bytes(true).unwrap(), None);
    assert_eq!(
        Reader::new(&[2, 9]).records(true).unwrap(),
        Records::Wire(&[9])
    );
    assert_eq!(
        Reader::new(&[0xff; 4]).nullable_records(false).unwrap(),
        Records::Null
    );
    assert_eq!(
        kind(Reader::new(&[0xff; 4]).records(false)),
        DecodeErrorKind::UnexpectedNull
    );
    assert_eq!(
        kind(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).bytes(false)),
        DecodeErrorKind::NegativeLength
    );
    assert_eq!(
        kind(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).bytes(false)),
        DecodeErrorKind::Truncated
    );
    assert_eq!(
        kind(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).records(true)),
        DecodeErrorKind::Truncated
    );
}

#[test]
fn ints_are_views_and_check_their_count() {
    let bytes = [0, 0, 0, 2, 0, 1, 0xff, 0xff];
    let mut reader = Reader::with_budget(&bytes, 0);
    let ints: Ints<'_, i16> = reader.ints(false).unwrap();
    assert_eq!(ints, Ints::from(vec![1, -1]));
    assert_eq!(
        kind(Reader::new(&bytes[..7]).ints::<i16>(false)),
        DecodeErrorKind::CountTooLarge
    );
    assert_eq!(
        kind(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).ints::<uuid::Uuid>(true)),
        DecodeErrorKind::CountTooLarge
    );
    assert_eq!(Reader::new(&[0]).nullable_ints::<i32>(true).unwrap(), None);
    assert_eq!(
        kind(Reader::new(&[0]).ints::<i32>(true)),
        DecodeErrorKind::UnexpectedNull
    );
}

fn strings<'a>(reader: &mut Reader<'a>) -> Result<Vec<Cow<'a, str>>, DecodeError> {
    reader.fields(|fields| fields.array(false, 0))
}

#[test]
fn arrays_check_their_count_before_they_allocate() {
    let bytes = [0, 0, 0, 2, 0, 1, b'a', 0, 0];
    assert_eq!(strings(&mut Reader::new(&bytes)).unwrap(), ["a", ""]);
    let lying = [0x7f, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(
        kind(strings(&mut Reader::new(&lying))),
        DecodeErrorKind::CountTooLarge
    );
    let three = [0, 0, 0, 3, 0, 0, 0, 0, 0];
    assert_eq!(
        kind(strings(&mut Reader::new(&three))),
        DecodeErrorKind::CountTooLarge
    );
    assert_eq!(
        kind(strings(&mut Reader::new(&[0xff; 4]))),
        DecodeErrorKind::UnexpectedNull
    );
}

#[test]
fn arrays_stay_within_the_budget() {
    let bytes = [0, 0, 0, 2, 0, 0, 0, 0];
    let enough = 2 * size_of::<Cow<'_, str>>();
    strings(&mut Reader::with_budget(&bytes, enough)).unwrap();
    assert_eq!(
        kind(strings(&mut Reader::with_budget(&bytes, enough - 1))),
        DecodeErrorKind::OverBudget
    );
}

/// A struct of one byte on the wire and many in memory.
#[derive(Debug, Default)]
struct Large([u64; 16]);

impl<'a> Struct<'a> for Large {
    const BYTES_MIN: usize = 1;

    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        self.0[0] = r.i8().unsigned_abs().into();
    }

    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.i64(self.0[0].cast_signed());
    }
}

#[test]
fn the_budget_grows_with_the_input_up_to_its_limit() {
    use super::super::limits::{MEMORY_BASE_BYTES, MEMORY_BYTES_MAX};
    assert_eq!(memory_budget(0), MEMORY_BASE_BYTES);
    assert_eq!(memory_budget(usize::MAX), MEMORY_BYTES_MAX);
    // The worst ratio on the wire: one byte for an element of many.
    let mut bytes = 300_000_u32.to_be_bytes().to_vec();
    bytes.resize(4 + 300_000, 0);
    let result = Reader::new(&bytes).fields(|fields| fields.array::<Large>(false, 0));
    assert_eq!(kind(result), DecodeErrorKind::OverBudget);
}

#[test]
fn presence_markers_are_strict() {
    assert!(Reader::new(&[1]).presence().unwrap());
    assert!(!Reader::new(&[0xff]).presence().unwrap());
    for other in [0, 2, 0xfe] {
        assert_eq!(
            kind(Reader::new(&[other]).presence()),
            DecodeErrorKind::InvalidPresence
        );
    }
    assert!(Reader::new(&[1]).tagged_presence().unwrap());
    assert!(!Reader::new(&[0]).tagged_presence().unwrap());
    assert_eq!(
        kind(Reader::new(&[2]).tagged_presence()),
        DecodeErrorKind::InvalidPresence
    );
}

#[test]
fn unknown_tags_are_kept_in_any_order() {
    let bytes = [3, 9, 1, b'x', 2, 0, 9, 2, b'y', b'z', 0xee];
    let mut reader = Reader::new(&bytes);
    let tags = reader.unknown_tags().unwrap();
    let found: Vec<_> = tags.iter().collect();
    assert_eq!(found, [(2, b"".as_slice()), (9, b"yz")]);
    assert_eq!(reader.remaining(), [0xee]);
}

#[test]
fn known_tags_fill_their_size_exactly() {
    let read = |bytes: &'static [u8]| {
        let mut value = 0;
        let mut reader = Reader::new(bytes);
        let tags = reader.tags(|tag, reader| {
            match tag {
                4 => value = reader.i16()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok((value, tags.len(), reader.remaining().len(), reader.offset()))
    };
    assert_eq!(read(&[2, 4, 2, 1, 0, 5, 1, 7, 8, 8]), Ok((256, 1, 2, 8)));
    let at = |kind, at| Err(DecodeError { kind, at });
    assert_eq!(
        read(&[1, 4, 1, 1, 0, 0, 0]),
        at(DecodeErrorKind::Truncated, 3)
    );
    assert_eq!(
        read(&[1, 4, 3, 1, 0, 0, 0]),
        at(DecodeErrorKind::TagSize, 5)
    );
    assert_eq!(read(&[1, 4, 3, 1, 0]), at(DecodeErrorKind::Truncated, 3));
    assert_eq!(
        read(&[3, 4, 0, 5, 0]),
        at(DecodeErrorKind::CountTooLarge, 0)
    );
}

#[test]
fn unknown_tags_are_charged_to_the_budget() {
    let bytes = [2, 5, 0, 6, 0];
    let cost = Tags::memory_bytes(2);
    Reader::with_budget(&bytes, cost).unknown_tags().unwrap();
    assert_eq!(
        kind(Reader::with_budget(&bytes, cost - 1).unknown_tags()),
        DecodeErrorKind::OverBudget
    );
}

#[test]
fn uvarint_forms() {
    assert_eq!(Reader::new(&[0x7f]).uvarint(), Ok(127));
    assert_eq!(Reader::new(&[0x80, 1]).uvarint(), Ok(128));
    assert_eq!(
        kind(Reader::new(&[0x80]).uvarint()),
        DecodeErrorKind::Truncated
    );
    assert_eq!(
        kind(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).uvarint()),
        DecodeErrorKind::VarintTooLong
    );
    assert_eq!(kind(Reader::new(&[]).uvarint()), DecodeErrorKind::Truncated);
}

#[test]
fn bytes_left_over_are_an_error_when_asked() {
    let mut reader = Reader::new(&[1, 2]);
    reader.i8().unwrap();
    assert_eq!(
        reader.finish(),
        Err(DecodeError {
            kind: DecodeErrorKind::TrailingBytes,
            at: 1
        })
    );
}
