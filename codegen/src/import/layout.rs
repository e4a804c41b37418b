//! The bytes of one version of a message, as far as a schema decides them, and comparing two of them.

use super::error::Problem;
use super::model::{Field, Message};

/// Deeper than any message; a struct that contains itself would go on for ever.
const DEPTH_MAX: usize = 16;

/// How one version of a message lies on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    flexible: bool,
    slots: Vec<Slot>,
}

/// One field in wire order: the untagged ones, then the tagged ones by tag.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    place: String,
    shape: Shape,
}

#[derive(Debug, PartialEq, Eq)]
struct Shape {
    is_array: bool,
    nullable: bool,
    /// Whether its length is compact, where that is its own decision.
    flexible: bool,
    tag: Option<u32>,
    /// Decides whether a tagged field is written at all.
    default: Option<String>,
    /// A primitive type.
    element: Option<String>,
    inner: Vec<Slot>,
}

/// The layout of a version.
pub(super) fn layout(message: &Message, version: i16) -> Result<Layout, (String, Problem)> {
    Ok(Layout {
        flexible: message.flexible.contains(version),
        slots: slots(message, &message.name, version, 0)?,
    })
}

fn slots(
    message: &Message,
    owner: &str,
    version: i16,
    depth: usize,
) -> Result<Vec<Slot>, (String, Problem)> {
    if depth > DEPTH_MAX {
        return Err((owner.to_owned(), Problem::Recursive));
    }
    let mut slots = Vec::new();
    for field in wire_order(message.fields_of(owner), version) {
        let tag = field.tag_in(version);
        let is_struct = message.structs.contains_key(&field.element);
        let inner = if is_struct {
            self::slots(message, &field.element, version, depth + 1)?
        } else {
            Vec::new()
        };
        let flexible = field.flexible.unwrap_or(message.flexible);
        slots.push(Slot {
            place: format!("{owner}.{}", field.name),
            shape: Shape {
                is_array: field.is_array,
                nullable: field.nullable.contains(version),
                flexible: flexible.contains(version) && message.flexible.contains(version),
                tag,
                default: tag.and_then(|_| default(field)),
                element: (!is_struct).then(|| field.element.clone()),
                inner,
            },
        });
    }
    Ok(slots)
}

/// The fields that a version has, as they are written.
pub(super) fn wire_order(fields: &[Field], version: i16) -> impl Iterator<Item = &Field> {
    let mut tagged: Vec<_> = fields
        .iter()
        .filter(|field| field.tag_in(version).is_some())
        .collect();
    tagged.sort_by_key(|field| field.tag);
    fields
        .iter()
        .filter(move |field| field.is_positional(version))
        .chain(tagged)
}

/// The default, in a form that does not depend on how it is written down.
fn default(field: &Field) -> Option<String> {
    let text = field.default.as_deref()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let is_zero = number == Some(0) || text.parse() == Ok(0.0);
    let is_implied = text.is_empty() || text == "false" || is_zero;
    match number {
        _ if is_implied && field.element != "string" => None,
        Some(number) if field.element != "string" => Some(number.to_string()),
        _ => Some(text.to_owned()).filter(|text| !text.is_empty()),
    }
}

/// The first difference: the place, if it is not the message as a whole, and what it is.
pub(super) fn difference(new: &Layout, old: &Layout) -> Option<(Option<String>, String)> {
    if new.flexible != old.flexible {
        let word = |is_flexible| {
            if is_flexible {
                "flexible"
            } else {
                "not flexible"
            }
        };
        let (new, old) = (word(new.flexible), word(old.flexible));
        return Some((None, format!("{new} against {old}")));
    }
    compare(&new.slots, &old.slots)
}

fn compare(one: &[Slot], other: &[Slot]) -> Option<(Option<String>, String)> {
    for (a, b) in one.iter().zip(other) {
        if a.shape.is_alike(&b.shape) {
            if let Some(found) = compare(&a.shape.inner, &b.shape.inner) {
                return Some(found);
            }
        } else {
            let what = format!("{} against {} `{}`", a.shape, b.shape, b.place);
            return Some((Some(a.place.clone()), what));
        }
    }
    match (one.get(other.len()), other.get(one.len())) {
        (Some(more), _) => Some((Some(more.place.clone()), "the field is new".to_owned())),
        (None, Some(more)) => Some((Some(more.place.clone()), "the field is missing".to_owned())),
        (None, None) => None,
    }
}

impl Shape {
    /// Whether all but what is inside is the same.
    fn is_alike(&self, other: &Self) -> bool {
        self.is_array == other.is_array
            && self.nullable == other.nullable
            && self.flexible == other.flexible
            && self.tag == other.tag
            && self.default == other.default
            && self.element == other.element
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(tag) = self.tag {
            write!(f, "tag {tag} ")?;
        }
        if self.nullable {
            f.write_str("nullable ")?;
        }
        if self.is_array {
            f.write_str("array of ")?;
        }
        f.write_str(self.element.as_deref().unwrap_or("struct"))?;
        if let Some(default) = &self.default {
            write!(f, " = {default}")?;
        }
        Ok(())
    }
}
