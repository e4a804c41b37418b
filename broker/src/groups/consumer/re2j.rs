//! The syntax of RE2J, the regular expressions of Kafka, in that of the crate `regex`. The two are near to each other, and each
//! takes what the other refuses or understands in another way: operations on classes, octal numbers, repeated repetitions.
//!
//! Reads the expression as RE2J's parser does and writes each piece so that nothing in it can mean something else. What
//! matching means is the crate's business, what a subscription is that of `pattern`.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The largest number of times that something may be repeated.
const REPEAT_MAX: u32 = 1_000;

/// What may stand between `[:` and `:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// The expression for the crate. The error is RE2J's word for what is wrong.
pub(super) fn translate(text: &str) -> Result<String, String> {
    let mut translation = Translation {
        rest: text,
        out: String::with_capacity(text.len()),
        start: 0,
        end: 0,
        groups: vec![Group::default()],
        names: BTreeSet::new(),
    };
    while !translation.rest.is_empty() {
        translation.piece()?;
    }
    match translation.groups.len() {
        1 => Ok(translation.out),
        _ => Err("missing closing )".to_owned()),
    }
}

/// What a repetition that comes next would be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Nothing,
    Something,
    Repetition,
    /// There were flags after a repetition, or an empty quotation: it may be repeated once more.
    Interrupted,
}

#[derive(Debug, Default)]
struct Group {
    /// Where in `out` it begins.
    start: usize,
    last: Last,
}

#[derive(Debug)]
struct Translation<'a> {
    rest: &'a str,
    out: String,
    /// Where in `out` that begins and ends which a repetition would be of. Flags may come between the two.
    start: usize,
    end: usize,
    /// The open parentheses; the outermost one is the whole expression.
    groups: Vec<Group>,
    names: BTreeSet<&'a str>,
}

impl<'a> Translation<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take(&mut self, prefix: &str) -> bool {
        let after = self.rest.strip_prefix(prefix);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn last(&mut self, last: Last) {
        self.end = self.out.len();
        if let Some(group) = self.groups.last_mut() {
            group.last = last;
        }
    }

    /// Was read, which stands between a repetition and the next one.
    fn nothing(&mut self) {
        if let Some(group) = self.groups.last_mut()
            && group.last == Last::Repetition
        {
            group.last = Last::Interrupted;
        }
    }

    fn literal(&mut self, c: char) {
        self.start = self.out.len();
        // Writing to a string does not fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
        self.last(Last::Something);
    }

    fn something(&mut self, written: &str) {
        self.start = self.out.len();
        self.out.push_str(written);
        self.last(Last::Something);
    }

    fn piece(&mut self) -> Result<(), String> {
        let before = self.rest;
        match self.next().unwrap_or_default() {
            '(' if self.take("?") => self.special_group(before)?,
            '(' => self.open("("),
            ')' => self.close()?,
            '|' => {
                self.out.push('|');
                self.last(Last::Nothing);
            }
            c @ ('^' | '$' | '.') => self.something(c.encode_utf8(&mut [0; 4])),
            '[' => self.class()?,
            c @ ('*' | '+' | '?') => self.repeat(c.encode_utf8(&mut [0; 4]))?,
            '{' => match self.times() {
                None => {
                    self.literal('{');
                    // As RE2J has it.
                    self.last(Last::Repetition);
                }
                Some(times) => self.repeat_times(times)?,
            },
            '\\' => self.escaped()?,
            c => self.literal(c),
        }
        Ok(())
    }

    fn open(&mut self, written: &str) {
        self.groups.push(Group {
            start: self.out.len(),
            last: Last::Nothing,
        });
        self.out.push_str(written);
    }

    fn close(&mut self) -> Result<(), String> {
        let group = self.groups.pop().unwrap_or_default();
        if self.groups.is_empty() {
            return Err("unexpected )".to_owned());
        }
        self.something(")");
        self.start = group.start;
        Ok(())
    }

    /// After `(?`: a name or flags. What a group is called does not matter.
    fn special_group(&mut self, before: &'a str) -> Result<(), String> {
        if self.take("P<") || self.take("<") {
            let Some((name, after)) = self.rest.split_once('>') else {
                return Err("invalid named capture".to_owned());
            };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err("invalid named capture".to_owned());
            }
            if !self.names.insert(name) {
                return Err("duplicate capture group name".to_owned());
            }
            self.rest = after;
            self.open("(");
            return Ok(());
        }
        let mut flags: [(char, Option<bool>); 4] =
            [('i', None), ('m', None), ('s', None), ('U', None)];
        let (mut is_on, mut is_missing) = (true, false);
        loop {
            match self.next() {
                Some('-') if is_on => (is_on, is_missing) = (false, true),
                Some(end @ (':' | ')')) if !is_missing => {
                    self.write_flags(&flags, end);
                    if end == ')' {
                        self.nothing();
                    }
                    return Ok(());
                }
                Some(c) => {
                    let known = flags.iter_mut().find(|(flag, _)| *flag == c);
                    let Some((_, value)) = known else {
                        return Err(invalid_group(before));
                    };
                    *value = Some(is_on);
                    is_missing = false;
                }
                None => return Err("missing closing )".to_owned()),
            }
        }
    }

    fn write_flags(&mut self, flags: &[(char, Option<bool>)], end: char) {
        let of = |wanted: bool| {
            let set = flags
                .iter()
                .filter(move |(_, value)| *value == Some(wanted));
            set.map(|(flag, _)| *flag).collect::<String>()
        };
        let (on, off) = (of(true), of(false));
        if end == ')' && on.is_empty() && off.is_empty() {
            return;
        }
        let minus = if off.is_empty() { "" } else { "-" };
        let written = format!("(?{on}{minus}{off}{end}");
        if end == ':' {
            self.open(&written);
        } else {
            self.out.push_str(&written);
        }
    }

    fn repeat(&mut self, operator: &str) -> Result<(), String> {
        match self.groups.last().map(|group| group.last) {
            None | Some(Last::Nothing) => {
                return Err("missing argument to repetition operator".to_owned());
            }
            Some(Last::Repetition) => {
                return Err("invalid nested repetition operator".to_owned());
            }
            Some(Last::Interrupted) => {
                self.out.insert(self.end, ')');
                self.out.insert_str(self.start, "(?:");
                self.end += "(?:)".len();
            }
            Some(Last::Something) => {}
        }
        let lazy = if self.take("?") { "?" } else { "" };
        let operator = format!("{operator}{lazy}");
        self.out.insert_str(self.end, &operator);
        self.last(Last::Repetition);
        Ok(())
    }

    /// After `{`: least and most, none for no limit. `None` where it is just a brace.
    fn times(&mut self) -> Option<(u32, Option<u32>)> {
        let (inside, after) = self.rest.split_once('}')?;
        let (least, most) = match inside.split_once(',') {
            None => (inside, Some(inside)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        let least = number(least)?;
        let most = match most {
            None => None,
            Some(most) => Some(number(most)?),
        };
        self.rest = after;
        Some((least, most))
    }

    fn repeat_times(&mut self, (least, most): (u32, Option<u32>)) -> Result<(), String> {
        if least.max(most.unwrap_or(0)) > REPEAT_MAX || most.is_some_and(|most| most < least) {
            return Err("invalid repeat count".to_owned());
        }
        let operator = match most {
            None => format!("{{{least},}}"),
            Some(most) => format!("{{{least},{most}}}"),
        };
        self.repeat(&operator)
    }

    /// After a backslash outside of classes.
    fn escaped(&mut self) -> Result<(), String> {
        if self.take("Q") {
            let (quoted, after) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = after;
            self.nothing();
            quoted.chars().for_each(|c| self.literal(c));
            return Ok(());
        }
        for (letter, written) in [("A", r"\A"), ("b", r"\b"), ("B", r"\B"), ("z", r"\z")] {
            if self.take(letter) {
                self.something(written);
                return Ok(());
            }
        }
        if let Some(class) = self.named_class()? {
            self.something(&class);
            return Ok(());
        }
        let c = self.escape()?;
        self.literal(c);
        Ok(())
    }

    /// `\d` and the like, `\pN`, `\p{Greek}`, as a class.
    fn named_class(&mut self) -> Result<Option<String>, String> {
        for (letter, written) in [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", r"[\t\n\f\r ]"),
            ("S", r"[^\t\n\f\r ]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ] {
            if self.take(letter) {
                return Ok(Some(written.to_owned()));
            }
        }
        let mut is_negated = self.take("P");
        if !is_negated && !self.take("p") {
            return Ok(None);
        }
        let invalid = || "invalid character class range".to_owned();
        let name = if self.take("{") {
            let (name, after) = self.rest.split_once('}').ok_or_else(invalid)?;
            self.rest = after;
            name
        } else {
            let rest = self.rest;
            let end = self.next().map_or(0, char::len_utf8);
            rest.get(..end).unwrap_or_default()
        };
        let bare = name.strip_prefix('^');
        is_negated ^= bare.is_some();
        let name = bare.unwrap_or(name);
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        if !is_name {
            return Err(invalid());
        }
        let letter = if is_negated { 'P' } else { 'p' };
        Ok(Some(format!("\\{letter}{{{name}}}")))
    }

    /// After a backslash: one character.
    fn escape(&mut self) -> Result<char, String> {
        let Some(c) = self.next() else {
            return Err("trailing backslash at end of expression".to_owned());
        };
        let invalid = || "invalid escape sequence".to_owned();
        Ok(match c {
            // One digit would be a reference to what was found before.
            '1'..='7' if !self.rest.starts_with(|c| ('0'..='7').contains(&c)) => {
                return Err(invalid());
            }
            '0'..='7' => {
                let more = self.rest.bytes().take(2);
                let digits = more.take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let (digits, after) = self.rest.split_at(digits);
                self.rest = after;
                let code = u32::from_str_radix(&format!("{c}{digits}"), 8);
                code.ok().and_then(char::from_u32).ok_or_else(invalid)?
            }
            'x' => {
                let digits = match self.take("{") {
                    true => self.rest.split_once('}'),
                    false => self.rest.split_at_checked(2),
                };
                let (digits, after) = digits.ok_or_else(invalid)?;
                if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                self.rest = after;
                let code = u32::from_str_radix(digits, 16);
                code.ok().and_then(char::from_u32).ok_or_else(invalid)?
            }
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(invalid()),
        })
    }

    /// After `[`.
    fn class(&mut self) -> Result<(), String> {
        let mut class = String::from(if self.take("^") { "[^" } else { "[" });
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.find(":]")
            {
                let (name, after) = self.rest.split_at(end + 2);
                let bare = name.trim_start_matches("[:").trim_end_matches(":]");
                if !POSIX_CLASSES.contains(&bare.strip_prefix('^').unwrap_or(bare)) {
                    return Err("invalid character class range".to_owned());
                }
                class.push_str(name);
                self.rest = after;
                continue;
            }
            if let Some(escaped) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, escaped);
                if let Some(named) = self.named_class()? {
                    class.push_str(&named);
                    continue;
                }
                self.rest = before;
            }
            let first = self.class_char()?;
            let mut last = first;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take("-");
                last = self.class_char()?;
            }
            if last < first {
                return Err("invalid character class range".to_owned());
            }
            let _ = write!(
                class,
                "\\x{{{:x}}}-\\x{{{:x}}}",
                u32::from(first),
                u32::from(last)
            );
        }
        self.take("]");
        class.push(']');
        self.something(&class);
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, String> {
        match self.next() {
            None => Err("missing closing ]".to_owned()),
            Some('\\') => self.escape(),
            Some(c) => Ok(c),
        }
    }
}

fn invalid_group(before: &str) -> String {
    format!("invalid or unsupported Perl syntax: `{before}`")
}

/// Digits, without a zero in front. A number that is too large is the largest.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}
