//! Tests of [`Writer`]: values, patched lengths, spliced records and errors.

use super::*;
use crate::wire::Reader;

/// Runs `write` for real and counting; checks that the sizes agree, and returns the bytes.
fn written(write: impl Fn(&mut Writer) -> Result<(), EncodeError>) -> Result<Vec<u8>, EncodeError> {
    let mut counted = Writer::counting();
    let mut real = Writer::new();
    let result = write(&mut real);
    assert_eq!(write(&mut counted), result);
    result?;
    assert_eq!(counted.size(), real.size());
    let flat: Vec<u8> = real.segments().flatten().copied().collect();
    assert_eq!(flat.len(), real.size());
    assert_eq!(real.finish().concat(), flat);
    Ok(flat)
}

fn one(write: impl Fn(&mut Writer) -> Result<(), EncodeFault>) -> Result<Vec<u8>, EncodeFault> {
    written(|w| write(w).of("Test", "field", 0)).map_err(|error| error.fault)
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
        Ok(())
    });
    let run = one(|w| {
        w.run((true, -1_i8, 0xffff_u16, 7_i64));
        w.run((1.0_f64, uuid::Uuid::from_u128(3)));
        Ok(())
    });
    assert_eq!(bytes, run);
    assert_eq!(bytes.unwrap().len(), 36);
}

#[test]
fn strings_in_both_forms() {
    assert_eq!(one(|w| w.string("ab", false)), Ok(b"\0\x02ab".to_vec()));
    assert_eq!(one(|w| w.string("ab", true)), Ok(b"\x03ab".to_vec()));
    assert_eq!(
        one(|w| w.nullable_string(None, false)),
        Ok(b"\xff\xff".to_vec())
    );
    assert_eq!(one(|w| w.nullable_string(None, true)), Ok(vec![0]));
    let longest = "x".repeat(STRING_BYTES_MAX);
    let too_long = "x".repeat(STRING_BYTES_MAX + 1);
    for flexible in [false, true] {
        let bytes = one(|w| w.string(&longest, flexible)).unwrap();
        assert_eq!(Reader::new(&bytes).string(flexible).unwrap(), longest);
        assert_eq!(
            one(|w| w.string(&too_long, flexible)),
            Err(EncodeFault::StringTooLong)
        );
    }
}

#[test]
fn bytes_ints_and_lengths() {
    assert_eq!(one(|w| w.bytes(b"a", false)), Ok(b"\0\0\0\x01a".to_vec()));
    assert_eq!(one(|w| w.bytes(b"a", true)), Ok(b"\x02a".to_vec()));
    assert_eq!(one(|w| w.nullable_bytes(None, false)), Ok(vec![0xff; 4]));
    let ints = Ints::from(vec![1_i16, -1]);
    assert_eq!(one(|w| w.ints(&ints, true)), Ok(vec![3, 0, 1, 0xff, 0xff]));
    assert_eq!(
        one(|w| w.nullable_ints::<i16>(None, false)),
        Ok(vec![0xff; 4])
    );
    assert_eq!(one(|w| w.array_length(Some(127), true)), Ok(vec![0x80, 1]));
    assert_eq!(one(|w| w.array_length(None, true)), Ok(vec![0]));
    assert_eq!(
        one(|w| w.array_length(Some(usize::MAX), true)),
        Err(EncodeFault::TooLong)
    );
}

#[test]
fn small_records_are_copied_and_large_ones_shared() {
    let large = Bytes::from(vec![1; SPLICE_BYTES_MIN]);
    let small = Bytes::from(vec![2; SPLICE_BYTES_MIN - 1]);
    let records = Records::from(vec![small.clone(), large.clone(), small.clone()]);
    let mut writer = Writer::new();
    writer.i8(9);
    writer.records(&records, false).unwrap();
    let segments = writer.finish();
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[1].as_ptr(), large.as_ptr());

    let bytes = one(|w| w.records(&records, true)).unwrap();
    assert_eq!(Reader::new(&bytes).records(true).unwrap(), records);
    assert_eq!(
        one(|w| w.records(&Records::Null, true)),
        Err(EncodeFault::UnexpectedNull)
    );
    assert_eq!(
        one(|w| w.nullable_records(&Records::Null, true)),
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
        w.end_i32_length(mark)
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
        w.tags(&unknown, "Test", 3, |tags| {
            tags.field(0, "absent", false, |_| Ok(()))?;
            tags.field(5, "known", true, |w| {
                w.splice(&Bytes::copy_from_slice(payload));
                w.i8(-8);
                Ok(())
            })
        })
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
    let bytes = written(|w| w.unknown_tags(&unknown, "Test", 1)).unwrap();
    assert_eq!(bytes[..2], [0xc8, 1]);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.unknown_tags().unwrap(), unknown);
    reader.finish().unwrap();
    let none = written(|w| w.unknown_tags(&Tags::EMPTY, "Test", 1)).unwrap();
    assert_eq!(none, [0]);
}

#[test]
fn nested_tags_keep_their_sizes() {
    let big = vec![3; 300];
    let bytes = written(|w| {
        w.tags(&Tags::EMPTY, "Outer", 0, |tags| {
            tags.field(0, "outer", true, |w| {
                w.tags(&Tags::EMPTY, "Inner", 0, |tags| {
                    tags.field(2, "inner", true, |w| {
                        w.bytes(&big, true).of("Inner", "inner", 0)
                    })
                })
            })
        })
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
            w.tags(&unknown, "Test", 3, |tags| {
                tags.field(5, "known", present, |_| Ok(()))
            })
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
    let writer = Writer::new();
    assert_eq!(writer.no_tags(&unknown), Ok(()));
    unknown.insert(0, b"".as_slice());
    assert_eq!(writer.no_tags(&unknown), Err(EncodeFault::TagsNotInVersion));
    assert_eq!(required(None::<u8>), Err(EncodeFault::UnexpectedNull));
    assert_eq!(required(Some(1)), Ok(1));
}

#[test]
fn presence_markers() {
    let bytes = one(|w| {
        w.presence(true);
        w.presence(false);
        w.tagged_presence(true);
        w.tagged_presence(false);
        Ok(())
    });
    assert_eq!(bytes, Ok(vec![1, 0xff, 1, 0]));
}
