//! What values a setting takes, and Kafka's words for why a value will not do.

use crate::config::ValueKind;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Both included.
    Int {
        least: i32,
        most: i32,
    },
    /// From the first to the second, both included, or the third.
    Level(i32, i32, i32),
    Short {
        least: i16,
    },
    Long {
        least: i64,
    },
    /// Between 0 and 1.
    Ratio,
    /// Any number.
    Double,
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any of these words, separated by commas.
    Words(&'static [&'static str]),
    /// Any texts, separated by commas.
    List,
    /// `*`, or pairs of a partition and a broker, separated by commas.
    Replicas,
    /// Any text.
    Text,
    /// `earliest`, `latest` or `by_duration:` with an ISO 8601 duration of time.
    OffsetReset,
}

impl Kind {
    /// An `int` without an upper limit.
    pub(crate) const fn int(least: i32) -> Self {
        Self::Int {
            least,
            most: i32::MAX,
        }
    }

    /// For clients that show it.
    pub(crate) fn value_kind(self) -> ValueKind {
        match self {
            Self::Int { .. } | Self::Level(..) => ValueKind::Int,
            Self::Short { .. } => ValueKind::Short,
            Self::Long { .. } => ValueKind::Long,
            Self::Ratio | Self::Double => ValueKind::Double,
            Self::Boolean => ValueKind::Boolean,
            Self::Word(_) | Self::Text | Self::OffsetReset => ValueKind::String,
            Self::Words(_) | Self::List | Self::Replicas => ValueKind::List,
        }
    }

    /// Whether values can be added and taken away.
    pub(crate) fn is_list(self) -> bool {
        self.value_kind() == ValueKind::List
    }

    /// The words it takes; `None` for any.
    pub(crate) fn words(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Word(words) | Self::Words(words) => Some(words.to_vec()),
            _ => None,
        }
    }

    /// Least and largest number and one besides them, where the kind has limits of its own.
    pub(crate) fn bounds(self) -> (Option<f64>, Option<f64>, Option<f64>) {
        match self {
            Self::Int { least, most } => (
                (least != i32::MIN).then(|| least.into()),
                (most != i32::MAX).then(|| most.into()),
                None,
            ),
            Self::Level(least, most, other) => {
                (Some(least.into()), Some(most.into()), Some(other.into()))
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "the limits are small, or the least of all"
            )]
            Self::Long { least } => ((least != i64::MIN).then_some(least as f64), None, None),
            Self::Short { least } => (Some(least.into()), Some(i16::MAX.into()), None),
            Self::Ratio => (Some(0.0), Some(1.0), None),
            _ => (None, None, None),
        }
    }

    /// The value as it is stored: without space around it or its parts, and without a part of a list twice.
    pub(crate) fn normal(self, text: &str) -> String {
        if !self.is_list() {
            return text.trim().to_owned();
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in parts_of(text) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.join(",")
    }

    /// Whether `value` will do for the setting `name`; the error is Kafka's text.
    pub(crate) fn check(self, name: &str, value: &str) -> Result<(), String> {
        self.judge(name, value.trim())
            .map_err(|reason| format!("Invalid value {value} for configuration {name}: {reason}"))
    }

    fn judge(self, name: &str, text: &str) -> Result<(), String> {
        match self {
            Self::Int { least, most } => in_range(text.parse::<i32>().ok(), least, most, "INT"),
            Self::Short { least } => in_range(text.parse::<i16>().ok(), least, i16::MAX, "SHORT"),
            Self::Long { least } => in_range(text.parse::<i64>().ok(), least, i64::MAX, "LONG"),
            Self::Level(first, last, other) => match text.parse::<i32>() {
                Ok(level) if level == other || (first..=last).contains(&level) => Ok(()),
                Ok(_) => Err(format!(
                    "Value must be between {first} and {last} or equal to {other}"
                )),
                Err(_) => Err("Not a number of type INT".to_owned()),
            },
            Self::Ratio => in_range(text.parse::<f64>().ok(), 0.0, 1.0, "DOUBLE"),
            Self::Double => in_range(text.parse::<f64>().ok(), f64::MIN, f64::MAX, "DOUBLE"),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Self::Word(words) => one_of(text, words),
            Self::Words(words) => parts_of(text).try_for_each(|word| one_of(word, words)),
            Self::Replicas => replicas(name, text),
            Self::List | Self::Text => Ok(()),
            Self::OffsetReset if is_offset_reset(text) => Ok(()),
            Self::OffsetReset => Err(format!(
                "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' or of the \
                 format 'by_duration:<PnDTnHnMn.nS>'."
            )),
        }
    }
}

/// The parts of a list.
pub(crate) fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn one_of(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    Err(format!("String must be one of: {}", words.join(", ")))
}

fn in_range<N>(number: Option<N>, least: N, most: N, kind: &str) -> Result<(), String>
where
    N: PartialOrd + std::fmt::Display,
{
    match number {
        None => Err(format!("Not a number of type {kind}")),
        Some(number) if number > most => Err(format!("Value must be no more than {most}")),
        Some(number) if number >= least => Ok(()),
        // Smaller, or no number at all.
        Some(_) => Err(format!("Value must be at least {least}")),
    }
}

fn replicas(name: &str, text: &str) -> Result<(), String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_pair = |part: &str| {
        let pair = part.split_once(':');
        pair.is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
    };
    if text == "*" || parts_of(text).all(is_pair) {
        return Ok(());
    }
    Err(format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    ))
}

fn is_offset_reset(text: &str) -> bool {
    match text.strip_prefix("by_duration:") {
        Some(duration) => is_duration(duration),
        None => matches!(text, "earliest" | "latest"),
    }
}

/// `PnDTnHnMn.nS` with at least one part, in this order; not negative.
fn is_duration(text: &str) -> bool {
    let Some(mut rest) = text
        .strip_prefix(['P', 'p'])
        .map(|rest| rest.to_ascii_uppercase())
    else {
        return false;
    };
    let mut parts = 0;
    let mut is_time = false;
    let mut units = "DHMS";
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T')
            && !is_time
            && !after.is_empty()
        {
            is_time = true;
            rest = after.to_owned();
            continue;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let Some((number, unit)) = digits.map(|at| rest.split_at(at)) else {
            return false;
        };
        let unit_at = unit.chars().next().and_then(|unit| units.find(unit));
        let (Some(unit_at), Some(after)) = (unit_at, unit.get(1..)) else {
            return false;
        };
        let is_seconds = unit.starts_with('S');
        let is_number = match number.split_once('.') {
            Some((whole, part)) => is_seconds && !whole.is_empty() && !part.contains('.'),
            None => !number.is_empty(),
        };
        if !is_number || unit.starts_with('D') == is_time {
            return false;
        }
        units = units.get(unit_at + 1..).unwrap_or_default();
        rest = after.to_owned();
        parts += 1;
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_iso_8601_without_months() {
        for good in ["PT1H", "P1D", "P1DT2H3M4.5S", "PT0S", "pt5m"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in [
            "", "P", "PT", "1H", "P1H", "PT1D", "PT1H1H", "PT1M1H", "PT.5S", "PT1.5M", "P-1D",
            "P1DT", "PT1",
        ] {
            assert!(!is_duration(bad), "{bad}");
        }
    }

    #[test]
    fn lists_are_stored_without_repetitions_and_space() {
        let kind = Kind::Words(&["compact", "delete"]);
        assert_eq!(kind.normal(" compact , delete,,compact"), "compact,delete");
        assert_eq!(kind.normal(""), "");
        assert_eq!(Kind::Text.normal(" a,a "), "a,a");
    }

    #[test]
    fn replicas_are_pairs_or_all() {
        let check = |text| Kind::Replicas.check("x", text);
        for good in ["*", "", "0:1", "0:1, 12:3"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["foo", "0", "0:", ":1", "0:1:2", "*,0:1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        assert!(Kind::Ratio.check("x", "NaN").is_err());
        assert!(Kind::Double.check("x", "inf").is_err());
        assert_eq!(Kind::Ratio.check("x", "1"), Ok(()));
    }
}
