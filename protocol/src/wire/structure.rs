//! What generated code implements and the reader and the writer call: the structs of a schema, and what arrays hold.

use std::borrow::Cow;

use super::field_reader::FieldReader;
use super::writer::Writer;

/// A struct of a schema, for all versions: a message or a part of one.
pub trait Struct<'a>: Default {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize;

    /// Reads the fields of `version` into a value that holds the defaults.
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16);

    /// Writes the fields of `version`. Errors stay with the writer.
    fn write_fields(&self, w: &mut Writer, version: i16);
}

/// What stands in arrays whose elements are not all of one size.
pub trait Element<'a>: Default {
    /// The fewest bytes it takes on the wire.
    fn bytes_min(flexible: bool) -> usize;

    /// Reads into a value that holds the default.
    fn read_element(&mut self, r: &mut FieldReader<'a>, flexible: bool, version: i16);

    /// Writes the element of the array `field`.
    fn write_element(&self, w: &mut Writer, flexible: bool, version: i16, field: &'static str);
}

impl<'a, T: Struct<'a>> Element<'a> for T {
    #[inline]
    fn bytes_min(_flexible: bool) -> usize {
        Self::BYTES_MIN
    }

    #[inline]
    fn read_element(&mut self, r: &mut FieldReader<'a>, _flexible: bool, version: i16) {
        self.read_fields(r, version);
    }

    #[inline]
    fn write_element(&self, w: &mut Writer, _flexible: bool, version: i16, _field: &'static str) {
        self.write_fields(w, version);
    }
}

impl<'a> Element<'a> for Cow<'a, str> {
    #[inline]
    fn bytes_min(flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }

    #[inline]
    fn read_element(&mut self, r: &mut FieldReader<'a>, flexible: bool, _version: i16) {
        *self = r.string(flexible);
    }

    #[inline]
    fn write_element(&self, w: &mut Writer, flexible: bool, _version: i16, field: &'static str) {
        w.string(self, flexible, field);
    }
}

impl<'a> Element<'a> for Cow<'a, [u8]> {
    #[inline]
    fn bytes_min(_flexible: bool) -> usize {
        1
    }

    #[inline]
    fn read_element(&mut self, r: &mut FieldReader<'a>, flexible: bool, _version: i16) {
        *self = r.bytes(flexible);
    }

    #[inline]
    fn write_element(&self, w: &mut Writer, flexible: bool, _version: i16, field: &'static str) {
        w.bytes(self, flexible, field);
    }
}
