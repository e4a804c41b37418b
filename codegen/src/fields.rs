//! From the fields of a schema to those of the model: types, ranges, tags and defaults of one struct.

use std::collections::HashMap;

use serde_json::Value;

use crate::check::{At, Declared, element_name};
use crate::error::{Error, Problem};
use crate::model::{DefaultValue, Field, Fixed, Shape, Struct, Type};
use crate::names;
use crate::schema::Field as SchemaField;
use crate::versions::Versions;

/// What is known of the struct that holds the fields.
#[derive(Debug)]
pub(crate) struct Known<'d, 's> {
    pub(crate) declared: &'d Declared<'s>,
    /// Versions in which the struct is used.
    pub(crate) versions: Versions,
    /// Versions in which the message is flexible.
    pub(crate) flexible: Versions,
}

/// The struct `name` with those of its fields that some version has.
pub(crate) fn check(
    at: &At<'_>,
    name: &str,
    schema_fields: &[SchemaField],
    known: &Known<'_, '_>,
) -> Result<Struct, Error> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema_fields.len());
    for schema_field in schema_fields {
        let at = at.field(name, &schema_field.name);
        let field = check_field(&at, schema_field, known)?;
        if field.rust_name == "unknown_tags" {
            return Err(at.error(Problem::ReservedName));
        }
        if fields
            .iter()
            .any(|other| other.rust_name == field.rust_name)
        {
            return Err(at.error(Problem::DuplicateName));
        }
        if let Some((tag, tagged)) = field.tagged {
            let taken = fields.iter().find(|other| {
                other
                    .tagged
                    .is_some_and(|(it, there)| it == tag && !there.intersect(tagged).is_empty())
            });
            if let Some(other) = taken {
                return Err(at.error(Problem::DuplicateTag(tag, other.name.clone())));
            }
        }
        if !field.versions.is_empty() {
            fields.push(field);
        }
    }
    Ok(Struct {
        name: names::type_name(name),
        versions: known.versions,
        fields,
        min_wire: 0,
    })
}

/// The versions a field names, not yet clipped.
pub(crate) fn versions(at: &At<'_>, field: &SchemaField) -> Result<Versions, Error> {
    match (&field.versions, &field.tagged_versions) {
        (Some(text), _) => at.versions("versions", text),
        (None, Some(text)) => at.versions("taggedVersions", text),
        (None, None) => Err(at.error(Problem::NoVersions)),
    }
}

fn check_field(at: &At<'_>, field: &SchemaField, known: &Known<'_, '_>) -> Result<Field, Error> {
    if !names::is_plain(&field.name) {
        return Err(at.error(Problem::BadName));
    }
    let shape = shape(at, field, known.declared)?;
    let versions = versions(at, field)?.intersect(known.versions);
    let flexible = match &field.flexible_versions {
        Some(text) => at
            .versions("flexibleVersions", text)?
            .intersect(known.flexible),
        None => known.flexible,
    };
    let nullable = match &field.nullable_versions {
        Some(text) => at.versions("nullableVersions", text)?.intersect(versions),
        None => Versions::NONE,
    };
    if matches!(shape, Shape::One(Type::Fixed(_))) && field.nullable_versions.is_some() {
        return Err(at.error(Problem::NeverNull(field.type_name.clone())));
    }
    let default = default(at, field, &shape)?;
    if default == DefaultValue::Null && !nullable.covers(versions) {
        return Err(at.error(Problem::NullDefault(
            nullable.to_string(),
            versions.to_string(),
        )));
    }
    Ok(Field {
        name: field.name.clone(),
        rust_name: names::snake_case(&field.name),
        shape,
        versions,
        nullable,
        flexible,
        tagged: tagged(at, field, versions, known.flexible)?,
        default,
        ignorable: field.ignorable,
    })
}

fn shape(at: &At<'_>, field: &SchemaField, declared: &Declared<'_>) -> Result<Shape, Error> {
    let name = element_name(&field.type_name);
    let is_array = name.len() < field.type_name.len();
    let element = match name {
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        _ => match Fixed::named(name) {
            Some(fixed) => Type::Fixed(fixed),
            None if declared.has(name) => Type::Struct(names::type_name(name)),
            None => return Err(at.error(Problem::UnknownType(name.to_owned()))),
        },
    };
    match element {
        Type::Records | Type::Fixed(Fixed::Bool) if is_array => {
            Err(at.error(Problem::BadElement(field.type_name.clone())))
        }
        element if is_array => Ok(Shape::Many(element)),
        element => Ok(Shape::One(element)),
    }
}

fn tagged(
    at: &At<'_>,
    field: &SchemaField,
    versions: Versions,
    flexible: Versions,
) -> Result<Option<(u32, Versions)>, Error> {
    let (tag, text) = match (field.tag, &field.tagged_versions) {
        (None, None) => return Ok(None),
        (Some(tag), Some(text)) => (tag, text),
        _ => return Err(at.error(Problem::HalfTagged)),
    };
    let tagged = at.versions("taggedVersions", text)?.intersect(versions);
    if tagged.is_empty() {
        return Ok(None);
    }
    if tagged.highest != versions.highest {
        return Err(at.error(Problem::TaggedThenNot(
            tagged.to_string(),
            versions.to_string(),
        )));
    }
    if !flexible.covers(tagged) {
        let both = flexible.intersect(tagged);
        return Err(at.error(Problem::TaggedNotFlexible(
            tagged.to_string(),
            both.to_string(),
        )));
    }
    Ok(Some((tag, tagged)))
}

fn default(at: &At<'_>, field: &SchemaField, shape: &Shape) -> Result<DefaultValue, Error> {
    let text = match &field.default {
        None | Some(Value::Null) => return Ok(DefaultValue::Implicit),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let bad = || at.error(Problem::BadDefault(text.clone(), field.type_name.clone()));
    if text == "null" && !matches!(shape, Shape::One(Type::Fixed(_))) {
        return Ok(DefaultValue::Null);
    }
    match shape {
        Shape::One(Type::String) if text.is_empty() => Ok(DefaultValue::Implicit),
        Shape::One(Type::String) => Ok(DefaultValue::Text(text)),
        Shape::One(Type::Fixed(Fixed::Bool)) => match text.as_str() {
            "true" => Ok(DefaultValue::True),
            "false" => Ok(DefaultValue::Implicit),
            _ => Err(bad()),
        },
        Shape::One(Type::Fixed(Fixed::Float64)) => match text.parse::<f64>() {
            Ok(0.0) => Ok(DefaultValue::Implicit),
            Ok(number) if number.is_finite() => Ok(DefaultValue::Float(number)),
            _ => Err(bad()),
        },
        Shape::One(Type::Fixed(fixed)) => {
            let (least, greatest) = fixed.limits().ok_or_else(bad)?;
            match whole_number(&text).filter(|number| (least..=greatest).contains(number)) {
                Some(0) => Ok(DefaultValue::Implicit),
                Some(number) => Ok(DefaultValue::Int(number)),
                None => Err(bad()),
            }
        }
        _ if text.is_empty() => Ok(DefaultValue::Implicit),
        _ => Err(bad()),
    }
}

/// Decimal, or hexadecimal after `0x`.
fn whole_number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Fills in the least size of every struct; `structs` has users before the used.
pub(crate) fn measure(
    at: &At<'_>,
    structs: &mut [Struct],
    flexible: Versions,
) -> Result<(), Error> {
    let mut sizes: HashMap<(String, i16), usize> = HashMap::new();
    for index in (0..structs.len()).rev() {
        let it = &structs[index];
        for version in it.versions.iter() {
            let tag_count = usize::from(flexible.contains(version));
            let fields = it
                .fields
                .iter()
                .filter(|field| field.positional().contains(version));
            let mut size = tag_count;
            for field in fields {
                size += min_wire(field, version, &sizes);
                if let Shape::Many(Type::Struct(element)) = &field.shape
                    && sizes
                        .get(&(element.clone(), version))
                        .is_none_or(|&size| size == 0)
                {
                    return Err(at
                        .field(&it.name, &field.name)
                        .error(Problem::EmptyElement(version)));
                }
            }
            sizes.insert((it.name.clone(), version), size);
        }
        let least = it
            .versions
            .iter()
            .filter_map(|version| sizes.get(&(it.name.clone(), version)))
            .min();
        structs[index].min_wire = least.copied().unwrap_or(0);
    }
    Ok(())
}

/// The least number of bytes the field takes in a version in which it is positional.
fn min_wire(field: &Field, version: i16, sizes: &HashMap<(String, i16), usize>) -> usize {
    let compact = field.flexible.contains(version);
    match &field.shape {
        Shape::One(Type::Fixed(fixed)) => fixed.size(),
        Shape::One(Type::Struct(_)) if field.nullable.contains(version) => 1,
        Shape::One(Type::Struct(inner)) => {
            sizes.get(&(inner.clone(), version)).copied().unwrap_or(0)
        }
        Shape::One(Type::String) if !compact => 2,
        _ if compact => 1,
        _ => 4,
    }
}
