//! Subscriptions by regular expression, in the syntax of RE2J, Google's linear-time expressions that Kafka uses.

use std::fmt::Write;

use regex::{Regex, RegexBuilder};

/// Memory that one compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// An expression that whole names of topics match.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    compiled: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// The error says what is wrong with the expression.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let compiled = RegexBuilder::new(&format!("^(?:{})$", unquoted(text)))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.compiled.is_match(name)
    }
}

/// Writes literals between `\Q` and `\E`, which the compiler here does not know, with escapes.
fn unquoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = next_quote(rest) {
        let (before, quoted) = rest.split_at(at);
        let quoted = quoted.get(2..).unwrap_or_default();
        let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        // Writing to a string does not fail.
        let _ = write!(plain, "{before}{}", regex::escape(literal));
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// Where the next `\Q` begins that is not itself escaped.
fn next_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' && bytes.next().is_some_and(|(_, escaped)| escaped == b'Q') {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        assert!(matches("a.*", "abc"));
        assert!(!matches("a", "ab"));
        assert!(matches("a|bc", "bc"));
        assert!(!matches("a|bc", "abc"));
        assert!(matches(r"\Qa.b\E.", "a.bc"));
        assert!(!matches(r"\Qa.b\E.", "axbc"));
        assert!(matches(r"x\Q.", "x."));
        assert!(matches(r"\\Q", r"\Q"));
        assert!(matches("(?i)ORDERS-[[:digit:]]+", "orders-12"));
    }

    #[test]
    fn wrong_and_huge_expressions_are_refused() {
        for wrong in ["[", "(", "*", "a{1000}{1000}", "(?<=a)b", r"(a)\1"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
