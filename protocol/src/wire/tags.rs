//! Tagged fields a schema does not know, kept so that they can be written back.

use std::borrow::Cow;
use std::fmt;

/// Unknown tagged fields of one struct, by ascending tag, each tag once.
///
/// Almost every struct has none, so the empty form is one null pointer, and dropping that is one comparison: a message has
/// hundreds of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags<'a>(Option<Box<List<'a>>>);

#[derive(Clone, Default, PartialEq, Eq)]
struct List<'a>(Vec<(u32, Cow<'a, [u8]>)>);

impl Drop for Tags<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(list) = self.0.take() {
            drop_list(list);
        }
    }
}

/// Out of line, so that the code that drops a struct stays small.
#[cold]
#[inline(never)]
fn drop_list(list: Box<List<'_>>) {
    drop(list);
}

impl<'a> Tags<'a> {
    /// No fields.
    pub const EMPTY: Self = Self(None);

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.0.len())
    }

    /// The payload of a tag.
    pub fn get(&self, tag: u32) -> Option<&[u8]> {
        self.iter()
            .find_map(|(known, payload)| (known == tag).then_some(payload))
    }

    /// Tags and payloads, by ascending tag.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.0
            .iter()
            .flat_map(|list| list.0.iter().map(|(tag, payload)| (*tag, payload.as_ref())))
    }

    /// Adds a field, in place of one with the same tag.
    pub fn insert(&mut self, tag: u32, payload: impl Into<Cow<'a, [u8]>>) {
        self.push(tag, payload.into());
        self.normalise();
    }

    /// Room for `count` fields, to be pushed.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Some(Box::new(List(Vec::with_capacity(count)))))
    }

    /// The memory that `count` fields may take: each once in the list and once more while it is sorted.
    pub(super) const fn memory_bytes(count: usize) -> usize {
        let field = 2 * size_of::<(u32, Cow<'static, [u8]>)>();
        count
            .saturating_mul(field)
            .saturating_add(size_of::<List<'_>>())
    }

    /// Adds a field as it comes from the wire; [`normalise`](Self::normalise) must follow.
    pub(super) fn push(&mut self, tag: u32, payload: Cow<'a, [u8]>) {
        self.0.get_or_insert_default().0.push((tag, payload));
    }

    /// Sorts by tag; of fields with the same tag the last one stays.
    pub(super) fn normalise(&mut self) {
        if let Some(list) = &mut self.0 {
            list.0.reverse();
            list.0.sort_by_key(|(tag, _)| *tag);
            list.0.dedup_by_key(|(tag, _)| *tag);
        }
    }
}

impl fmt::Debug for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_and_the_last_of_a_tag_stays() {
        let mut tags = Tags::EMPTY;
        assert!(tags.is_empty());
        for (tag, payload) in [(7, "a"), (3, "b"), (7, "c"), (0, "d")] {
            tags.insert(tag, payload.as_bytes());
        }
        let found: Vec<_> = tags.iter().collect();
        assert_eq!(found, [(0, b"d".as_slice()), (3, b"b"), (7, b"c")]);
        assert_eq!(tags.len(), 3);
        assert_eq!(tags.get(3), Some(b"b".as_slice()));
        assert_eq!(tags.get(4), None);
    }

    #[test]
    fn they_take_one_pointer() {
        assert_eq!(size_of::<Tags<'_>>(), size_of::<usize>());
    }
}
