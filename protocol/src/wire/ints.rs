//! Arrays of fixed-size elements, left in their wire form until they are looked at.

use std::borrow::Cow;
use std::fmt;

use super::fixed::{Fixed, FixedRun as _};

/// An array of fixed-size elements: a view on the bytes it was read from, or native values to be written.
///
/// Reading one allocates nothing; an element is converted when the iterator reaches it.
#[derive(Clone)]
pub struct Ints<'a, T: Fixed>(Form<'a, T>);

#[derive(Clone)]
enum Form<'a, T: Fixed> {
    /// Whole elements, big-endian.
    Wire(&'a [u8]),
    Native(Cow<'a, [T]>),
}

impl<'a, T: Fixed> Ints<'a, T> {
    /// The empty array.
    pub const EMPTY: Self = Self(Form::Wire(&[]));

    /// A view on wire bytes, which must be whole elements: a rest at the end is not looked at.
    pub(super) const fn wire(bytes: &'a [u8]) -> Self {
        Self(Form::Wire(bytes))
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Wire(bytes) => bytes.len() / T::BYTES,
            Form::Native(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in order.
    pub fn iter(&self) -> IntsIter<'_, T> {
        IntsIter(match &self.0 {
            Form::Wire(bytes) => IterForm::Wire(bytes),
            Form::Native(values) => IterForm::Native(values.iter()),
        })
    }

    /// Appends the elements in their wire form, without a length.
    pub(super) fn append(&self, to: &mut Vec<u8>) {
        match &self.0 {
            Form::Wire(bytes) => to.extend_from_slice(bytes),
            Form::Native(values) => {
                to.reserve(values.len().saturating_mul(T::BYTES));
                let mut rest = values.as_ref();
                while let [a, b, c, d, after @ ..] = rest {
                    (*a, *b, *c, *d).append(to);
                    rest = after;
                }
                match rest {
                    [a, b, c, ..] => (*a, *b, *c).append(to),
                    [a, b] => (*a, *b).append(to),
                    [a] => a.append(to),
                    [] => {}
                }
            }
        }
    }
}

/// The elements of an [`Ints`], in order.
#[derive(Debug, Clone)]
pub struct IntsIter<'i, T>(IterForm<'i, T>);

#[derive(Debug, Clone)]
enum IterForm<'i, T> {
    Wire(&'i [u8]),
    Native(std::slice::Iter<'i, T>),
}

impl<T: Fixed> Iterator for IntsIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            IterForm::Wire(bytes) => {
                let (value, rest) = T::split(bytes)?;
                *bytes = rest;
                Some(value)
            }
            IterForm::Native(values) => values.next().copied(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            IterForm::Wire(bytes) => bytes.len() / T::BYTES,
            IterForm::Native(values) => values.len(),
        };
        (left, Some(left))
    }
}

impl<T: Fixed> ExactSizeIterator for IntsIter<'_, T> {}

impl<'i, T: Fixed> IntoIterator for &'i Ints<'_, T> {
    type Item = T;
    type IntoIter = IntsIter<'i, T>;

    fn into_iter(self) -> IntsIter<'i, T> {
        self.iter()
    }
}

impl<T: Fixed> Default for Ints<'_, T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T: Fixed> From<Vec<T>> for Ints<'_, T> {
    fn from(values: Vec<T>) -> Self {
        Self(Form::Native(Cow::Owned(values)))
    }
}

impl<'a, T: Fixed> From<&'a [T]> for Ints<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self(Form::Native(Cow::Borrowed(values)))
    }
}

impl<'a, T: Fixed, const N: usize> From<&'a [T; N]> for Ints<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Self::from(values.as_slice())
    }
}

impl<T: Fixed> FromIterator<T> for Ints<'_, T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::from(values.into_iter().collect::<Vec<T>>())
    }
}

impl<T: Fixed> PartialEq for Ints<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Fixed + fmt::Debug> fmt::Debug for Ints<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_and_native_forms_are_equal() {
        let wire = Ints::<i16>::wire(&[0, 1, 0xff, 0xfe]);
        assert_eq!(wire, Ints::from(vec![1, -2]));
        assert_eq!(wire, Ints::from(&[1, -2]));
        assert_ne!(wire, Ints::from(vec![1]));
        assert_eq!(wire.len(), 2);
        assert_eq!(wire.iter().len(), 2);
        assert_eq!(format!("{wire:?}"), "[1, -2]");
        assert!(Ints::<i64>::default().is_empty());
    }

    #[test]
    fn both_forms_append_the_same_bytes() {
        let mut wire = Vec::new();
        Ints::<i32>::from(vec![i32::MIN, 7]).append(&mut wire);
        assert_eq!(wire, [0x80, 0, 0, 0, 0, 0, 0, 7]);
        let mut again = Vec::new();
        Ints::<i32>::wire(&wire).append(&mut again);
        assert_eq!(again, wire);
    }
}
