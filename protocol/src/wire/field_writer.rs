//! Writing the fields of a message one after the other without looking at each for an error: the writer keeps the first
//! error with the name of its field, and [`Writer::fields`] says it at the end. Generated code writes with this; it is shorter
//! and faster so. `field` is always that name, as in Kafka's schema.

use super::fixed::{Fixed, FixedRun};
use super::ints::Ints;
use super::records::Records;
use super::structure::{Element, Struct};
use super::tags::Tags;
use super::writer::Writer;
use crate::error::EncodeFault;

/// Methods for values of one fixed size.
macro_rules! fixed_values {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self, value: $type) {
            value.append(&mut self.buffer);
        }
    )*};
}

impl Writer {
    fixed_values! {
        /// A boolean.
        bool: bool;
        /// An `int8`.
        i8: i8;
        /// An `int16`.
        i16: i16;
        /// A `uint16`.
        u16: u16;
        /// An `int32`.
        i32: i32;
        /// A `uint32`.
        u32: u32;
        /// An `int64`.
        i64: i64;
        /// A `float64`.
        f64: f64;
        /// A `uuid`.
        uuid: uuid::Uuid;
    }

    /// Neighbouring values of fixed size: `w.run((self.port, self.epoch))`.
    #[inline]
    pub fn run<T: FixedRun>(&mut self, values: T) {
        values.append(&mut self.buffer);
    }

    /// The length of bytes or of an array.
    #[inline]
    fn length(&mut self, length: usize, flexible: bool, field: &'static str) {
        match i32::try_from(length) {
            // i32::MAX plus one is an u32.
            Ok(length) if flexible => self.uvarint(length.cast_unsigned() + 1),
            Ok(length) => self.i32(length),
            Err(_) => self.fail(EncodeFault::TooLong, field),
        }
    }

    /// The length of null bytes or of a null array.
    #[inline]
    fn null_length(&mut self, flexible: bool) {
        if flexible {
            self.append(&[0]);
        } else {
            self.i32(-1);
        }
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, text: &str, flexible: bool, field: &'static str) {
        match i16::try_from(text.len()) {
            Ok(length) if flexible => self.uvarint(u32::from(length.cast_unsigned()) + 1),
            Ok(length) => self.i16(length),
            Err(_) => return self.fail(EncodeFault::StringTooLong, field),
        }
        self.append(text.as_bytes());
    }

    /// A string that may be null.
    #[inline]
    pub fn nullable_string(&mut self, text: Option<&str>, flexible: bool, field: &'static str) {
        match text {
            Some(text) => self.string(text, flexible, field),
            None if flexible => self.append(&[0]),
            None => self.i16(-1),
        }
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8], flexible: bool, field: &'static str) {
        self.length(bytes.len(), flexible, field);
        self.append(bytes);
    }

    /// Bytes that may be null.
    #[inline]
    pub fn nullable_bytes(&mut self, bytes: Option<&[u8]>, flexible: bool, field: &'static str) {
        match bytes {
            Some(bytes) => self.bytes(bytes, flexible, field),
            None => self.null_length(flexible),
        }
    }

    /// Records.
    #[inline]
    pub fn records(&mut self, records: &Records<'_>, flexible: bool, field: &'static str) {
        self.not_null(!records.is_null(), field);
        self.nullable_records(records, flexible, field);
    }

    /// Records that may be null.
    #[inline]
    pub fn nullable_records(&mut self, records: &Records<'_>, flexible: bool, field: &'static str) {
        match records {
            Records::Null => self.null_length(flexible),
            Records::Wire(bytes) => self.bytes(bytes, flexible, field),
            Records::Shared(pieces) => {
                self.length(records.len(), flexible, field);
                pieces.iter().for_each(|piece| self.splice(piece));
            }
        }
    }

    /// An array of fixed-size elements.
    #[inline]
    pub fn ints<T: Fixed>(&mut self, ints: &Ints<'_, T>, flexible: bool, field: &'static str) {
        self.length(ints.len(), flexible, field);
        ints.append(&mut self.buffer);
    }

    /// An array of fixed-size elements that may be null.
    #[inline]
    pub fn nullable_ints<T: Fixed>(
        &mut self,
        ints: Option<&Ints<'_, T>>,
        flexible: bool,
        field: &'static str,
    ) {
        match ints {
            Some(ints) => self.ints(ints, flexible, field),
            None => self.null_length(flexible),
        }
    }

    /// An array of all else.
    #[inline]
    pub fn array<'a, T: Element<'a>>(
        &mut self,
        elements: &[T],
        flexible: bool,
        version: i16,
        field: &'static str,
    ) {
        self.length(elements.len(), flexible, field);
        for element in elements {
            element.write_element(self, flexible, version, field);
        }
    }

    /// An array of all else that may be null.
    #[inline]
    pub fn nullable_array<'a, T: Element<'a>>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        version: i16,
        field: &'static str,
    ) {
        match elements {
            Some(elements) => self.array(elements, flexible, version, field),
            None => self.null_length(flexible),
        }
    }

    /// A struct that other versions allow to be null.
    #[inline]
    pub fn structure<'a, T: Struct<'a>>(
        &mut self,
        value: Option<&T>,
        version: i16,
        field: &'static str,
    ) {
        match value {
            Some(value) => value.write_fields(self, version),
            None => self.fail(EncodeFault::UnexpectedNull, field),
        }
    }

    /// A struct that may be null, behind a marker.
    #[inline]
    pub fn nullable_structure<'a, T: Struct<'a>>(&mut self, value: Option<&T>, version: i16) {
        self.i8(if value.is_some() { 1 } else { -1 });
        if let Some(value) = value {
            value.write_fields(self, version);
        }
    }

    /// As [`nullable_structure`](Self::nullable_structure), inside a tagged field.
    #[inline]
    pub fn tagged_structure<'a, T: Struct<'a>>(&mut self, value: Option<&T>, version: i16) {
        self.bool(value.is_some());
        if let Some(value) = value {
            value.write_fields(self, version);
        }
    }

    /// Fails if a field is null that this version does not allow to be.
    #[inline]
    pub fn not_null(&mut self, has_value: bool, field: &'static str) {
        if !has_value {
            self.fail(EncodeFault::UnexpectedNull, field);
        }
    }

    /// Fails if a field is set that this version does not have.
    #[inline]
    pub fn absent(&mut self, is_set: bool, field: &'static str) {
        if is_set {
            self.fail(EncodeFault::NotInVersion, field);
        }
    }

    /// The tagged fields at the end of a struct: `fields` writes the known ones by ascending tag, the unknown ones go
    /// between them.
    #[inline]
    pub fn tags(
        &mut self,
        unknown: &Tags<'_>,
        field: &'static str,
        fields: impl FnOnce(&mut TagWriter<'_, '_>),
    ) {
        let mark = self.begin_uvarint();
        let mut tags = TagWriter {
            writer: self,
            unknown,
            unknown_field: field,
            count: 0,
            next: 0,
        };
        fields(&mut tags);
        if !unknown.is_empty() {
            tags.unknown_below(None);
        }
        match tags.count {
            0 => {}
            count => self.end_uvarint(&mark, count),
        }
    }

    /// The tagged fields at the end of a struct that knows none. Fails if there are some and the version cannot carry any.
    #[inline]
    pub fn unknown_tags(&mut self, unknown: &Tags<'_>, flexible: bool, field: &'static str) {
        if unknown.is_empty() {
            if flexible {
                self.append(&[0]);
            }
        } else if flexible {
            self.some_unknown_tags(unknown, field);
        } else {
            self.fail(EncodeFault::TagsNotInVersion, field);
        }
    }

    #[inline(never)]
    fn some_unknown_tags(&mut self, unknown: &Tags<'_>, field: &'static str) {
        self.tags(unknown, field, |_| {});
    }
}

/// Writes the tagged fields of one struct.
#[derive(Debug)]
pub struct TagWriter<'w, 't> {
    writer: &'w mut Writer,
    unknown: &'t Tags<'t>,
    /// The name of the unknown fields.
    unknown_field: &'static str,
    /// Fields written.
    count: u32,
    /// The lowest unknown tag that is not written yet.
    next: u64,
}

impl TagWriter<'_, '_> {
    /// A known field, if `present`: not equal to its default. Call by ascending tag.
    #[inline]
    pub fn field(
        &mut self,
        tag: u32,
        field: &'static str,
        present: bool,
        write: impl FnOnce(&mut Writer),
    ) {
        if !self.unknown.is_empty() {
            self.unknown_below(Some((tag, field)));
        }
        if !present {
            return;
        }
        self.count += 1;
        self.writer.uvarint(tag);
        let mark = self.writer.begin_uvarint();
        write(self.writer);
        match self.writer.size_since(&mark) {
            Ok(size) => self.writer.end_uvarint(&mark, size.cast_unsigned()),
            Err(fault) => self.writer.fail(fault, field),
        }
    }

    /// Writes the unknown fields that are due before a known one, or all that are left.
    fn unknown_below(&mut self, known: Option<(u32, &'static str)>) {
        for (tag, payload) in self.unknown.iter() {
            if u64::from(tag) < self.next {
                continue;
            }
            match known {
                Some((known, field)) if tag == known => {
                    return self.writer.fail(EncodeFault::TagTaken, field);
                }
                Some((known, _)) if tag > known => break,
                Some(_) | None => {}
            }
            let Ok(size) = i32::try_from(payload.len()) else {
                return self.writer.fail(EncodeFault::TooLong, self.unknown_field);
            };
            self.count += 1;
            self.writer.uvarint(tag);
            self.writer.uvarint(size.cast_unsigned());
            self.writer.append(payload);
            self.next = u64::from(tag) + 1;
        }
    }
}
