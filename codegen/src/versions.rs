//! Ranges of versions: parsed, intersected, and turned into the shortest condition that tells them apart.

use std::fmt;

/// A range of versions, both ends inclusive; open upwards when it ends at `i16::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The first version.
    pub lowest: i16,
    /// The last version; below [`lowest`](Self::lowest) when the range is empty.
    pub highest: i16,
}

/// What has to be asked of a version, that is already known to lie in one range, to know that it lies in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: it always does.
    Always,
    /// Nothing: it never does.
    Never,
    /// Whether it is this version.
    Exactly(i16),
    /// Whether it is this version or a later one.
    AtLeast(i16),
    /// Whether it is this version or an earlier one.
    AtMost(i16),
    /// Whether it lies between the two, inclusive.
    Between(i16, i16),
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self {
        lowest: 0,
        highest: -1,
    };
    /// Every version.
    pub const ALL: Self = Self {
        lowest: 0,
        highest: i16::MAX,
    };

    /// Parses `none`, `3`, `3+` or `3-7`; nothing else is a range.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        let (lowest, highest) = if let Some(lowest) = text.strip_suffix('+') {
            (number(lowest)?, i16::MAX)
        } else if let Some((lowest, highest)) = text.split_once('-') {
            (number(lowest)?, number(highest)?)
        } else {
            (number(text)?, number(text)?)
        };
        (lowest <= highest).then_some(Self { lowest, highest })
    }

    /// Whether no version lies in the range.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.lowest > self.highest
    }

    /// Whether the range has no last version.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.highest == i16::MAX
    }

    /// Whether `version` lies in the range.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.lowest <= version && version <= self.highest
    }

    /// Whether all of `other` lies in the range.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.is_empty() || (self.contains(other.lowest) && self.contains(other.highest))
    }

    /// The versions in both ranges.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let both = Self {
            lowest: self.lowest.max(other.lowest),
            highest: self.highest.min(other.highest),
        };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// The smallest range that covers both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self {
                lowest: self.lowest.min(other.lowest),
                highest: self.highest.max(other.highest),
            },
        }
    }

    /// The versions of this range that come before all of `other`.
    #[must_use]
    pub fn before(self, other: Self) -> Self {
        if other.is_empty() {
            return self;
        }
        self.intersect(Self {
            lowest: i16::MIN,
            highest: other.lowest.saturating_sub(1),
        })
    }

    /// Each version in turn.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.lowest..=self.highest
    }

    /// What is left to ask of a version of `known` to know that it lies in this range.
    #[must_use]
    pub fn condition(self, known: Self) -> Condition {
        let here = self.intersect(known);
        if here.is_empty() {
            return Condition::Never;
        }
        match (here.lowest == known.lowest, here.highest == known.highest) {
            (true, true) => Condition::Always,
            (false, true) => Condition::AtLeast(here.lowest),
            (true, false) => Condition::AtMost(here.highest),
            (false, false) if here.lowest == here.highest => Condition::Exactly(here.lowest),
            (false, false) => Condition::Between(here.lowest, here.highest),
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("none")
        } else if self.is_open() {
            write!(f, "{}+", self.lowest)
        } else if self.lowest == self.highest {
            write!(f, "{}", self.lowest)
        } else {
            write!(f, "{}-{}", self.lowest, self.highest)
        }
    }
}

/// A version number in plain digits.
fn number(text: &str) -> Option<i16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain {
        text.parse().ok().filter(|&version| version < i16::MAX)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Versions};

    fn range(text: &str) -> Versions {
        Versions::parse(text).unwrap()
    }

    #[test]
    fn parses_what_it_prints_and_nothing_else() {
        for text in ["none", "0", "3", "3+", "0-11"] {
            assert_eq!(range(text).to_string(), text);
        }
        for text in [
            "", "+", "-1", "3-", "-3", "4-3", "+3", "1-2-3", "3 +", "32767", "x",
        ] {
            assert_eq!(Versions::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn asks_only_what_is_not_known() {
        let check = |versions: &str, known: &str, expect| {
            assert_eq!(
                range(versions).condition(range(known)),
                expect,
                "{versions} in {known}"
            );
        };
        check("0+", "2-9", Condition::Always);
        check("3+", "2-9", Condition::AtLeast(3));
        check("0-4", "2-9", Condition::AtMost(4));
        check("3-4", "2-9", Condition::Between(3, 4));
        check("4", "2-9", Condition::Exactly(4));
        check("9+", "2-9", Condition::AtLeast(9));
        check("0-1", "2-9", Condition::Never);
        check("none", "2-9", Condition::Never);
    }

    #[test]
    fn hull_before_and_covers() {
        assert_eq!(range("0-1").hull(range("4-5")), range("0-5"));
        assert_eq!(range("none").hull(range("4-5")), range("4-5"));
        assert_eq!(range("0-9").before(range("4+")), range("0-3"));
        assert_eq!(range("0-9").before(range("none")), range("0-9"));
        assert!(range("4-9").before(range("0+")).is_empty());
        assert!(range("0+").covers(range("4-5")) && !range("4-5").covers(range("5-6")));
        assert!(range("none").covers(range("none")) && !range("none").covers(range("1")));
    }
}
