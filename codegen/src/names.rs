//! Kafka's names as Rust names.

use proc_macro2::{Ident, Span};

use crate::model::Fixed;

/// Names the generated modules import, so that no struct of a schema may bear them.
pub(crate) const RESERVED_TYPES: &[&str] = &[
    "ApiKey",
    "Cow",
    "Default",
    "DefaultValue",
    "Err",
    "FieldReader",
    "Ints",
    "Kind",
    "Many",
    "Message",
    "MessageDescriptor",
    "None",
    "Ok",
    "One",
    "Option",
    "RangeInclusive",
    "Records",
    "Request",
    "Response",
    "Result",
    "Self",
    "Some",
    "Struct",
    "StructDescriptor",
    "Tags",
    "Type",
    "Uuid",
    "Vec",
    "Versions",
    "Writer",
];

/// `TopicID2Name` as `topic_id2_name`: a word begins at a capital after a small letter or digit, and at the last
/// capital of several.
#[must_use]
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after = letters.get(index + 1);
        let word_begins = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if word_begins {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The name with a capital in front, as Rust wants its types.
#[must_use]
pub fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// An identifier; raw when it is a keyword.
#[must_use]
pub(crate) fn ident(name: &str) -> Ident {
    syn::parse_str::<Ident>(name).unwrap_or_else(|_| Ident::new_raw(name, Span::call_site()))
}

/// Whether a schema means a type of its own by the name, and no struct.
#[must_use]
pub(crate) fn is_primitive(name: &str) -> bool {
    matches!(name, "string" | "bytes" | "records") || Fixed::named(name).is_some()
}

/// Whether the name consists of ASCII letters and digits and begins with a letter.
#[must_use]
pub(crate) fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::{ident, snake_case, type_name};

    #[test]
    fn words_are_told_apart() {
        for (kafka, rust) in [
            ("TopicId", "topic_id"),
            ("topics", "topics"),
            ("ISRNodes", "isr_nodes"),
            ("NodeISR", "node_isr"),
            ("Match", "match"),
            ("V2Only", "v2_only"),
        ] {
            assert_eq!(snake_case(kafka), rust);
        }
    }

    #[test]
    fn keywords_become_raw_and_types_get_a_capital() {
        assert_eq!(ident("type").to_string(), "r#type");
        assert_eq!(ident("name").to_string(), "name");
        assert_eq!(type_name("cursor"), "Cursor");
    }
}
