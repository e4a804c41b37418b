//! Tests of [`Writer`]: values, patched lengths, spliced records and errors, in both of its files.

use std::borrow::Cow;

use super::*;
use crate::wire::limits::STRING_BYTES_MAX;
use crate::wire::{FieldReader, Ints, Reader, Records, Struct, Tags};

/// What `write` writes; checks that segments and sizes agree.
fn written(write: impl FnOnce(&mut Writer)) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    writer.fields("Test", 3, write)?;
    let flat: Vec<u8> = writer.segments().flatten().copied().collect();
    assert_eq!(flat.len(), writer.size());
    assert_eq!(writer.finish().concat(), flat);
    Ok(flat)
}

/// As [`written`], of a field that is called `field`.
fn one(write: impl FnOnce(&mut Writer)) -> Result<Vec<u8>, EncodeFault> {
    written(write).map_err(|error| {
        assert_eq!(error, error.fault.of("Test", "field", 3));
        error.fault
    })
}

#[test]
fn fixed_values_and_runs_write_the_same() {
    let bytes = one(|w| {
        w.bool(true);
        w.i8(-1);
        w.u16(0xffff);
        w.i64(7);
        w.f64(1.0);
        w.uuid(uuid::Uuid::from_u128(3));
    });
    let run = one(|w| {
        w.run((true, -1_i8, 0xffff_u16, 7_i64));
        w.run((1.0_f64, uuid::Uuid::from_u128(3)));
    });
    assert_eq!(bytes, run);
    assert_eq!(bytes.unwrap().len(), 36);
}

#[test]
fn strings_in_both_forms() {
    assert_eq!(
        one(|w| w.string("ab", false, "field")),
        Ok(b"\0\x02ab".to_vec())
    );
    assert_eq!(
        one(|w| w.string("ab", true, "field")),
        Ok(b"\x03ab".to_vec())
    );
    assert_eq!(
        one(|w| w.nullable_string(None, false, "field")),
        Ok(b"\xff\xff".to_vec())
    );
    assert_eq!(one(|w| w.nullable_string(None, true, "field")), Ok(vec![0]));
    let longest = "x".repeat(STRING_BYTES_MAX);
    let too_long = "x".repeat(STRING_BYTES_MAX + 1);
    for flexible in [false, true] {
        let bytes = one(|w| w.string(&longest, flexible, "field")).unwrap();
        assert_eq!(Reader::new(&bytes).string(flexible).unwrap(), longest);
        assert_eq!(
            one(|w| w.string(&too_long, flexible, "field")),
            Err(EncodeFault::StringTooLong)
        );
    }
}

#[test]
fn bytes_ints_and_lengths() {
    assert_eq!(
        one(|w| w.bytes(b"a", false, "field")),
        Ok(b"\0\0\0\x01a".to_vec())
    );
    assert_eq!(one(|w| w.bytes(b"a", true, "field")), Ok(b"\x02a".to_vec()));
    assert_eq!(
        one(|w| w.nullable_bytes(None, false, "field")),
        Ok(vec![0xff; 4])
    );
    let ints = Ints::from(vec![1_i16, -1]);
    assert_eq!(
        one(|w| w.ints(&ints, true, "field")),
        Ok(vec![3, 0, 1, 0xff, 0xff])
    );
    assert_eq!(
        one(|w| w.nullable_ints::<i16>(None, false, "field")),
        Ok(vec![0xff; 4])
    );
    let names = vec![Cow::Borrowed("a"); 127];
    let bytes = one(|w| w.array(&names, true, 0, "field")).unwrap();
    assert_eq!(bytes[..4], [0x80, 1, 2, b'a']);
    assert_eq!(bytes.len(), 2 + 127 * 2);
    assert_eq!(
        one(|w| w.nullable_array(Some(names.as_slice()), true, 0, "field")),
        Ok(bytes)
    );
    for (flexible, null) in [(true, vec![0]), (false, vec![0xff; 4])] {
        assert_eq!(
            one(|w| w.nullable_array::<Cow<'_, [u8]>>(None, flexible, 0, "field")),
            Ok(null)
        );
    }
}

#[test]
fn small_records_are_copied_and_large_ones_shared() {
    let large = Bytes::from(vec![1; SPLICE_BYTES_MIN]);
    let small = Bytes::from(vec![2; SPLICE_BYTES_MIN - 1]);
    let records = Records::from(vec![small.clone(), large.clone(), small.clone()]);
    let mut writer = Writer::new();
    writer.i8(9);
    writer.records(&records, false, "field");
    let segments = writer.finish();
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[1].as_ptr(), large.as_ptr());

    let bytes = one(|w| w.records(&records, true, "field")).unwrap();
    assert_eq!(Reader::new(&bytes).records(true).unwrap(), records);
    assert_eq!(
        one(|w| w.records(&Records::Null, true, "field")),
        Err(EncodeFault::UnexpectedNull)
    );
    assert_eq!(
        one(|w| w.nullable_records(&Records::Null, true, "field")),
        Ok(vec![0])
    );
}

#[test]
fn a_writer_is_used_again() {
    let mut writer = Writer::with_capacity(64);
    writer.splice(&Bytes::from(vec![1; SPLICE_BYTES_MIN]));
    writer.clear();
    writer.i8(5);
    assert_eq!(writer.size(), 1);
    assert_eq!(writer.finish_contiguous(), [5].as_slice());
}

#[test]
fn an_i32_length_counts_spliced_bytes() {
    let large = Bytes::from(vec![7; SPLICE_BYTES_MIN]);
    let bytes = one(|w| {
        let mark = w.begin_i32_length();
        w.i8(1);
        w.splice(&large);
        w.end_i32_length(mark).unwrap();
    })
    .unwrap();
    let length = i32::try_from(SPLICE_BYTES_MIN + 1).unwrap();
    assert_eq!(bytes[..4], length.to_be_bytes());
}

/// A known field with that much payload between two unknown ones.
fn tagged(payload: &[u8]) -> Vec<u8> {
    let mut unknown = Tags::EMPTY;
    unknown.insert(1, b"one".as_slice());
    unknown.insert(9, b"nine".as_slice());
    written(|w| {
        w.i8(-7);
        w.tags(&unknown, "unknown_tags", |tags| {
            tags.field(0, "absent", false, |_| unreachable!("it is absent"));
            tags.field(5, "known", true, |w| {
                w.splice(&Bytes::copy_from_slice(payload));
                w.i8(-8);
            });
        });
    })
    .unwrap()
}

#[test]
fn tag_sizes_are_patched_whatever_they_take() {
    for size in [0, 1, 126, 127, 128, 4095, 4096, 16_383, 16_384] {
        let payload = vec![0xab; size];
        let bytes = tagged(&payload);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.i8().unwrap(), -7);
        let mut seen = Vec::new();
        let unknown = reader
            .tags(|tag, reader| {
                if tag != 5 {
                    return Ok(false);
                }
                seen = reader.remaining().to_vec();
                reader.fixed::<1>()?;
                while !reader.remaining().is_empty() {
                    reader.i8()?;
                }
                Ok(true)
            })
            .unwrap();
        reader.finish().unwrap();
        assert_eq!(seen.len(), size + 1);
        assert_eq!(seen[..size], payload);
        assert_eq!(unknown.get(1), Some(b"one".as_slice()));
        assert_eq!(unknown.get(9), Some(b"nine".as_slice()));
    }
}

#[test]
fn tags_are_written_by_ascending_tag() {
    let bytes = tagged(&[]);
    assert_eq!(
        bytes,
        b"\xf9\x03\x01\x03one\x05\x01\xf8\x09\x04nine".to_vec()
    );
}

#[test]
fn more_than_127_tags_patch_their_count() {
    let mut unknown = Tags::EMPTY;
    for tag in 0..200 {
        unknown.insert(tag, b"".as_slice());
    }
    let bytes = written(|w| w.unknown_tags(&unknown, true, "field")).unwrap();
    assert_eq!(bytes[..2], [0xc8, 1]);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.unknown_tags().unwrap(), unknown);
    reader.finish().unwrap();
    let none = written(|w| w.unknown_tags(&Tags::EMPTY, true, "field")).unwrap();
    assert_eq!(none, [0]);
}

#[test]
fn nested_tags_keep_their_sizes() {
    let big = vec![3; 300];
    let bytes = written(|w| {
        w.tags(&Tags::EMPTY, "unknown_tags", |tags| {
            tags.field(0, "outer", true, |w| {
                w.tags(&Tags::EMPTY, "unknown_tags", |tags| {
                    tags.field(2, "inner", true, |w| w.bytes(&big, true, "inner"));
                });
            });
        });
    })
    .unwrap();
    let mut inner = Tags::EMPTY;
    let mut reader = Reader::new(&bytes);
    reader
        .tags(|_, reader| {
            inner = reader.unknown_tags()?;
            Ok(true)
        })
        .unwrap();
    reader.finish().unwrap();
    let payload = inner.get(2).unwrap();
    assert_eq!(Reader::new(payload).bytes(true).unwrap().as_ref(), big);
}

#[test]
fn an_unknown_tag_that_is_known_is_refused() {
    let mut unknown = Tags::EMPTY;
    unknown.insert(5, b"".as_slice());
    for present in [false, true] {
        let error = written(|w| {
            w.tags(&unknown, "unknown_tags", |tags| {
                tags.field(5, "known", present, |_| {});
            });
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Test version 3: known: an unknown tagged field has the tag of this field"
        );
    }
}

#[test]
fn versions_without_tags_refuse_them() {
    let mut unknown = Tags::EMPTY;
    assert_eq!(
        one(|w| w.unknown_tags(&unknown, false, "field")),
        Ok(vec![])
    );
    unknown.insert(0, b"".as_slice());
    assert_eq!(
        one(|w| w.unknown_tags(&unknown, false, "field")),
        Err(EncodeFault::TagsNotInVersion)
    );
}

#[test]
fn the_first_error_is_said_once() {
    let mut writer = Writer::new();
    let error = writer
        .fields("Test", 3, |w| {
            w.absent(false, "a");
            w.not_null(true, "b");
            w.absent(true, "c");
            w.not_null(false, "d");
        })
        .unwrap_err();
    assert_eq!(error, EncodeFault::NotInVersion.of("Test", "c", 3));
    assert_eq!(writer.fields("Test", 3, |w| w.i8(1)), Ok(()));
    let error = writer.fields("Test", 3, |w| w.not_null(false, "d"));
    assert_eq!(error, Err(EncodeFault::UnexpectedNull.of("Test", "d", 3)));
    writer.not_null(false, "d");
    writer.clear();
    assert_eq!(writer.fields("Test", 3, |_| {}), Ok(()));
}

/// A struct of one byte.
#[derive(Debug, Default, PartialEq)]
struct Single(i8);

impl<'a> Struct<'a> for Single {
    const BYTES_MIN: usize = 1;

    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        self.0 = r.i8();
    }

    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.i8(self.0);
    }
}

#[test]
fn structs_that_may_be_null() {
    let (some, none) = (Some(Single(7)), None::<Single>);
    let marked = |value: &Option<Single>| one(|w| w.nullable_structure(value.as_ref(), 0));
    let tagged = |value: &Option<Single>| one(|w| w.tagged_structure(value.as_ref(), 0));
    assert_eq!(marked(&some), Ok(vec![1, 7]));
    assert_eq!(marked(&none), Ok(vec![0xff]));
    assert_eq!(tagged(&some), Ok(vec![1, 7]));
    assert_eq!(tagged(&none), Ok(vec![0]));
    assert_eq!(one(|w| w.structure(some.as_ref(), 0, "field")), Ok(vec![7]));
    assert_eq!(
        one(|w| w.structure(none.as_ref(), 0, "field")),
        Err(EncodeFault::UnexpectedNull)
    );
    let mut reader = Reader::new(&[1, 7, 0xff, 1, 7, 0]);
    let read = reader.fields(|r| {
        assert_eq!(r.nullable_structure(0), some);
        assert_eq!(r.nullable_structure(0), none);
        assert_eq!(r.tagged_structure(0), some);
        assert_eq!(r.tagged_structure(0), none);
    });
    assert_eq!(read, Ok(()));
    reader.finish().unwrap();
}
