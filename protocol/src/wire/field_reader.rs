//! Reading the fields of a message one after the other without looking at each for an error: the first error is kept, and all
//! reads after it give defaults without reading. Generated code reads with this; it is shorter and faster so.

use std::borrow::Cow;

use super::fixed::{Fixed, FixedRun};
use super::ints::Ints;
use super::reader::Reader;
use super::records::Records;
use super::structure::{Element, Struct};
use super::tags::Tags;
use crate::error::DecodeError;

/// A [`Reader`] that keeps its first error to itself until the end.
#[derive(Debug)]
pub struct FieldReader<'a> {
    reader: Reader<'a>,
    failure: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    /// Reads fields with `read`, and fails with the first error of any of them.
    #[inline]
    pub fn fields<T>(
        &mut self,
        read: impl FnOnce(&mut FieldReader<'a>) -> T,
    ) -> Result<T, DecodeError> {
        let mut fields = FieldReader {
            reader: self.take_over(),
            failure: None,
        };
        let value = read(&mut fields);
        *self = fields.reader;
        match fields.failure {
            None => Ok(value),
            Some(error) => Err(error),
        }
    }
}

/// The methods of [`Reader`] with these names, which give a default after an error.
macro_rules! as_reader {
    ($($name:ident($($argument:ident: $type:ty),*) -> $value:ty;)*) => {$(
        #[doc = concat!("As [`Reader::", stringify!($name), "`].")]
        #[inline]
        pub fn $name(&mut self $(, $argument: $type)*) -> $value {
            match self.reader.$name($($argument),*) {
                Ok(value) => value,
                Err(error) => self.fail(error),
            }
        }
    )*};
}

impl<'a> FieldReader<'a> {
    as_reader! {
        bool() -> bool;
        i8() -> i8;
        i16() -> i16;
        u16() -> u16;
        i32() -> i32;
        u32() -> u32;
        i64() -> i64;
        f64() -> f64;
        uuid() -> uuid::Uuid;
        string(flexible: bool) -> Cow<'a, str>;
        nullable_string(flexible: bool) -> Option<Cow<'a, str>>;
        bytes(flexible: bool) -> Cow<'a, [u8]>;
        nullable_bytes(flexible: bool) -> Option<Cow<'a, [u8]>>;
        records(flexible: bool) -> Records<'a>;
        nullable_records(flexible: bool) -> Records<'a>;
        presence() -> bool;
        tagged_presence() -> bool;
    }

    /// Keeps the first error; what follows finds no bytes.
    #[cold]
    fn fail<T: Default>(&mut self, error: DecodeError) -> T {
        self.failure.get_or_insert(error);
        self.reader.exhaust();
        T::default()
    }

    /// As [`Reader::run`].
    #[inline]
    pub fn run<T: FixedRun + Default>(&mut self) -> T {
        match self.reader.run() {
            Ok(values) => values,
            Err(error) => self.fail(error),
        }
    }

    /// As [`Reader::ints`].
    #[inline]
    pub fn ints<T: Fixed>(&mut self, flexible: bool) -> Ints<'a, T> {
        match self.reader.ints(flexible) {
            Ok(ints) => ints,
            Err(error) => self.fail(error),
        }
    }

    /// As [`Reader::nullable_ints`].
    #[inline]
    pub fn nullable_ints<T: Fixed>(&mut self, flexible: bool) -> Option<Ints<'a, T>> {
        match self.reader.nullable_ints(flexible) {
            Ok(ints) => ints,
            Err(error) => self.fail(error),
        }
    }

    /// An array of strings, bytes or structs that may be null.
    #[inline]
    pub fn nullable_array<T: Element<'a>>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Option<Vec<T>> {
        match self
            .reader
            .element_count(flexible, T::bytes_min(flexible), size_of::<T>())
        {
            Ok(Some(count)) => Some(self.elements(count, flexible, version)),
            Ok(None) => None,
            Err(error) => self.fail(error),
        }
    }

    /// An array of strings, bytes or structs.
    #[inline]
    pub fn array<T: Element<'a>>(&mut self, flexible: bool, version: i16) -> Vec<T> {
        match self
            .reader
            .required_count(flexible, T::bytes_min(flexible), size_of::<T>())
        {
            Ok(count) => self.elements(count, flexible, version),
            Err(error) => self.fail(error),
        }
    }

    #[inline]
    fn elements<T: Element<'a>>(&mut self, count: usize, flexible: bool, version: i16) -> Vec<T> {
        if count == 0 {
            return Vec::new();
        }
        let mut elements = Vec::with_capacity(count);
        elements.resize_with(count, T::default);
        for element in &mut elements {
            element.read_element(self, flexible, version);
            if self.failure.is_some() {
                break;
            }
        }
        elements
    }

    /// A struct.
    #[inline]
    pub fn structure<T: Struct<'a>>(&mut self, version: i16) -> T {
        let mut value = T::default();
        value.read_fields(self, version);
        value
    }

    /// A struct that may be null, behind a marker.
    #[inline]
    pub fn nullable_structure<T: Struct<'a>>(&mut self, version: i16) -> Option<T> {
        self.presence().then(|| self.structure(version))
    }

    /// As [`nullable_structure`](Self::nullable_structure), inside a tagged field.
    #[inline]
    pub fn tagged_structure<T: Struct<'a>>(&mut self, version: i16) -> Option<T> {
        self.tagged_presence().then(|| self.structure(version))
    }

    /// The tagged fields at the end of a struct. `known` reads the payload of a tag it knows in this version and says
    /// `true`, with a reader that ends where the field ends; all others are kept.
    #[inline]
    pub fn tags(&mut self, mut known: impl FnMut(u32, &mut Self) -> bool) -> Tags<'a> {
        let tags = self
            .reader
            .tags(|tag, reader| reader.fields(|fields| known(tag, fields)));
        match tags {
            Ok(tags) => tags,
            Err(error) => self.fail(error),
        }
    }

    /// The tagged fields at the end of a struct that knows none; none if the version carries none.
    #[inline]
    pub fn unknown_tags(&mut self, flexible: bool) -> Tags<'a> {
        if !flexible {
            return Tags::EMPTY;
        }
        match self.reader.unknown_tags() {
            Ok(tags) => tags,
            Err(error) => self.fail(error),
        }
    }
}
