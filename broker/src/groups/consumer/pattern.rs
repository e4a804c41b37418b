//! Subscriptions by regular expression, in the syntax of RE2J, Google's linear-time expressions that Kafka uses.

use regex::{Regex, RegexBuilder};

use super::re2j;

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
        let compiled = RegexBuilder::new(&format!("^(?:{})$", re2j::translate(text)?))
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

    /// Each line was judged by RE2J 1.8 itself.
    #[test]
    fn expressions_mean_what_they_mean_to_re2j() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("a{,2}", "a{,2}"),
            ("a{x}|{", "{"),
            ("a{01}", "a{01}"),
            ("[[]", "["),
            ("[a&&b]+", "a&&b"),
            ("[a-]", "-"),
            ("[]a]+", "]a"),
            (r"\x61\x{62}\143", "abc"),
            (r"\Qab\E*", "abbb"),
            (r"[\d\-_]+", "1-_"),
            (r"[[:alpha:]\d]+", "a1"),
            (r"[^[:^alpha:]]", "a"),
            ("(?P<n>a)(?<m>b)", "ab"),
            ("(?<0>a)", "a"),
            ("(?ii-ms:A)", "a"),
            ("(?)a", "a"),
            ("a(?)*", "aaa"),
            ("a(?i)*B", "aab"),
            ("a+(?i)?B", "b"),
            ("x(ab)+(?s){2}", "xabab"),
            ("a{2}(?i){3}", "aaaaaa"),
            ("(a*(?i)*)(?)b", "aab"),
            (r"a*\Q\E+b", "b"),
            ("(?U)a+", "aa"),
            ("a??", ""),
            ("(|a)*", "aa"),
            ("^*a$", "a"),
            (r"\pL\p{^L}\PL", "a11"),
            ("[^a]", "\u{e9}"),
            ("a{1000}|b", "b"),
            (r"\bab\b", "ab"),
            (r"a\_b\.c\-d", "a_b.c-d"),
            ("(?:a{10}){100}|c", "c"),
            ("(a{1000}){0}c", "c"),
            ("(a{100}){100}|c", "c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            (r"\<a\>", "a"),
            ("[a-c&&b]", "d"),
            (r"\w", "\u{e9}"),
            ("a#b c", "ab"),
            ("a.c", "a\nc"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_re2j_refuses_is_refused() {
        let wrong = r"
            [ ( * + a)(b ) a** a*+ a++ a*?? a{2}{3} a{1001} a{2,1} a{99999999999} a{1000}{1000} {* a{{2} (?i)* |* (*) ^** a*(?i)**
            (?x)a (?u)a (?i (?-)a (?i-)a (?i--m)a (?=a) (?<=a)b (?P=a) (?P>a) (?P<a>b)(?P<a>c) (?<>a) (?<a-b>c) (?<a
            [b-a] [[:nope:]] [[:a]b:] [a [] [^] [\b] [a-\d] \u0061 \e \8 \1 (a)\1 \C \Z \X \x6 \x{} \x{110000} \x{zz}
            \p \p{Nope} \p{greek} \p{L a\ ";
        for wrong in wrong.split_whitespace() {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
        // More than the memory for one.
        assert!(Pattern::new(r"(\pL{30}){30}").is_err());
    }
}
