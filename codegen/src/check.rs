//! From schemas to the model: names resolved, ranges clipped, contradictions refused.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Problem};
use crate::fields;
use crate::model::{Api, Message, Model};
use crate::names;
use crate::schema::{Field as SchemaField, Kind, Schema};
use crate::versions::Versions;

/// Checks schemas, each with the name of its file, and gives what they mean.
///
/// # Errors
/// The first contradiction, with file, struct and field.
pub fn check(schemas: &[(String, Schema)]) -> Result<Model, Error> {
    let mut messages = Vec::with_capacity(schemas.len());
    let mut names = HashSet::new();
    for (file, schema) in schemas {
        let at = At {
            file,
            place: schema.name.clone(),
        };
        if !names.insert(&schema.name) {
            return Err(at.error(Problem::DuplicateName));
        }
        messages.push(message(&at, schema)?);
    }
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Model {
        messages,
        apis: apis(schemas)?,
    })
}

/// Checks one schema alone.
///
/// # Errors
/// The first contradiction, with file, struct and field.
pub fn check_one(file: &str, schema: &Schema) -> Result<Message, Error> {
    message(
        &At {
            file,
            place: schema.name.clone(),
        },
        schema,
    )
}

/// A place in a schema file, for errors.
#[derive(Debug, Clone)]
pub(crate) struct At<'s> {
    file: &'s str,
    place: String,
}

impl At<'_> {
    pub(crate) fn field(&self, struct_name: &str, field: &str) -> Self {
        Self {
            file: self.file,
            place: format!("{struct_name}.{field}"),
        }
    }

    fn of_struct(&self, struct_name: &str) -> Self {
        Self {
            file: self.file,
            place: struct_name.to_owned(),
        }
    }

    pub(crate) fn error(&self, problem: Problem) -> Error {
        Error::Schema {
            file: self.file.to_owned(),
            place: self.place.clone(),
            problem,
        }
    }

    /// Parses a range that stands under `key`.
    pub(crate) fn versions(&self, key: &'static str, text: &str) -> Result<Versions, Error> {
        Versions::parse(text).ok_or_else(|| {
            self.error(Problem::BadRange {
                key,
                text: text.to_owned(),
            })
        })
    }
}

/// The structs of one schema before their fields are looked at, by Kafka's name.
#[derive(Debug)]
pub(crate) struct Declared<'s>(BTreeMap<&'s str, Declaration<'s>>);

#[derive(Debug)]
struct Declaration<'s> {
    versions: Versions,
    fields: &'s [SchemaField],
}

impl Declared<'_> {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

fn message(at: &At<'_>, schema: &Schema) -> Result<Message, Error> {
    let versions = at.versions("validVersions", &schema.valid_versions)?;
    if versions.is_empty() || versions.is_open() {
        return Err(at.error(Problem::OpenMessage(schema.valid_versions.clone())));
    }
    let flexible = at
        .versions("flexibleVersions", &schema.flexible_versions)?
        .intersect(versions);
    let declared = declare(at, schema, versions)?;
    let mut uses = Uses {
        declared: &declared,
        at,
        order: Vec::new(),
        path: Vec::new(),
    };
    uses.visit(&schema.name, versions)?;
    let order = uses.order;
    let mut structs = Vec::with_capacity(order.len());
    for (name, used) in order {
        let declaration = &declared.0[name.as_str()];
        let known = fields::Known {
            declared: &declared,
            versions: used,
            flexible,
        };
        structs.push(fields::check(at, &name, declaration.fields, &known)?);
    }
    fields::measure(at, &mut structs, flexible)?;
    Ok(Message {
        name: schema.name.clone(),
        module: names::snake_case(&schema.name),
        kind: schema.kind,
        api: schema.api_key.map(|key| (key, api_name(schema).to_owned())),
        versions,
        flexible,
        structs,
    })
}

/// Collects the common structs and those declared in place.
fn declare<'s>(at: &At<'_>, schema: &'s Schema, versions: Versions) -> Result<Declared<'s>, Error> {
    let mut declared = Declared(BTreeMap::new());
    declare_struct(at, &mut declared, &schema.name, versions, &schema.fields)?;
    for common in &schema.common_structs {
        let at = at.of_struct(&common.name);
        let versions = at.versions("versions", &common.versions)?;
        declare_struct(&at, &mut declared, &common.name, versions, &common.fields)?;
    }
    Ok(declared)
}

fn declare_struct<'s>(
    at: &At<'_>,
    declared: &mut Declared<'s>,
    name: &'s str,
    versions: Versions,
    fields: &'s [SchemaField],
) -> Result<(), Error> {
    let at = at.of_struct(name);
    if !names::is_plain(name) {
        return Err(at.error(Problem::BadName));
    }
    if names::is_primitive(name) || names::RESERVED_TYPES.contains(&names::type_name(name).as_str())
    {
        return Err(at.error(Problem::ReservedName));
    }
    if declared
        .0
        .insert(name, Declaration { versions, fields })
        .is_some()
    {
        return Err(at.error(Problem::DuplicateName));
    }
    for field in fields.iter().filter(|field| !field.fields.is_empty()) {
        let inner = element_name(&field.type_name);
        if names::is_primitive(inner) {
            let at = at.field(name, &field.name);
            return Err(at.error(Problem::StrayFields(field.type_name.clone())));
        }
        declare_struct(&at, declared, inner, Versions::ALL, &field.fields)?;
    }
    Ok(())
}

/// The type without `[]` in front.
pub(crate) fn element_name(type_name: &str) -> &str {
    type_name.strip_prefix("[]").unwrap_or(type_name)
}

/// Finds which structs are used in which versions.
struct Uses<'d, 's> {
    declared: &'d Declared<'s>,
    at: &'d At<'d>,
    /// Structs and the versions they are used in, users first.
    order: Vec<(String, Versions)>,
    /// The structs being visited, outermost first.
    path: Vec<String>,
}

impl Uses<'_, '_> {
    fn visit(&mut self, name: &str, versions: Versions) -> Result<(), Error> {
        let declaration = &self.declared.0[name];
        if self.path.iter().any(|outer| outer == name) {
            return Err(self.at.of_struct(name).error(Problem::Recursive));
        }
        let here = declaration.versions.intersect(versions);
        if here.is_empty() {
            return Ok(());
        }
        let used = match self.order.iter().position(|(seen, _)| seen == name) {
            // Moved to the end, so that every user stays in front.
            Some(index) => self.order.remove(index).1.hull(here),
            None => here,
        };
        self.order.push((name.to_owned(), used));
        self.path.push(name.to_owned());
        for field in declaration.fields {
            let inner = element_name(&field.type_name);
            if self.declared.has(inner) {
                let at = self.at.field(name, &field.name);
                self.visit(inner, fields::versions(&at, field)?.intersect(here))?;
            }
        }
        self.path.pop();
        Ok(())
    }
}

/// The name of the API of a request or response.
fn api_name(schema: &Schema) -> &str {
    let name = schema.name.as_str();
    name.strip_suffix(suffix(schema.kind)).unwrap_or(name)
}

const fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "Request",
        Kind::Response => "Response",
        Kind::Header | Kind::Data => "",
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Response => "response",
        Kind::Header => "header",
        Kind::Data => "data",
    }
}

/// Pairs requests with responses.
fn apis(schemas: &[(String, Schema)]) -> Result<Vec<Api>, Error> {
    let mut requests: BTreeMap<i16, (&str, &Schema)> = BTreeMap::new();
    let mut responses: BTreeMap<i16, (&str, &Schema)> = BTreeMap::new();
    for (file, schema) in schemas {
        let at = At {
            file,
            place: schema.name.clone(),
        };
        let kind = kind_name(schema.kind);
        let side = match schema.kind {
            Kind::Request => &mut requests,
            Kind::Response => &mut responses,
            Kind::Header | Kind::Data if schema.api_key.is_some() => {
                return Err(at.error(Problem::StrayApiKey(kind)));
            }
            Kind::Header | Kind::Data => continue,
        };
        let key = schema
            .api_key
            .ok_or_else(|| at.error(Problem::NoApiKey(kind)))?;
        if !schema.name.ends_with(suffix(schema.kind)) {
            return Err(at.error(Problem::BadSuffix(kind, suffix(schema.kind))));
        }
        if let Some((_, other)) = side.insert(key, (file, schema)) {
            return Err(at.error(Problem::DuplicateApiKey(key, other.name.clone())));
        }
    }
    if let Some((key, (file, schema))) = responses
        .iter()
        .find(|(key, _)| !requests.contains_key(*key))
    {
        let at = At {
            file,
            place: schema.name.clone(),
        };
        return Err(at.error(Problem::Unpaired(*key, "request")));
    }
    requests
        .iter()
        .map(|(key, request)| api(*key, *request, responses.get(key).copied()))
        .collect()
}

fn api(
    key: i16,
    request: (&str, &Schema),
    response: Option<(&str, &Schema)>,
) -> Result<Api, Error> {
    let request_at = At {
        file: request.0,
        place: request.1.name.clone(),
    };
    let response = response.ok_or_else(|| request_at.error(Problem::Unpaired(key, "response")))?;
    let response_at = At {
        file: response.0,
        place: response.1.name.clone(),
    };
    let versions = request_at.versions("validVersions", &request.1.valid_versions)?;
    let answered = response_at.versions("validVersions", &response.1.valid_versions)?;
    if versions != answered {
        return Err(response_at.error(Problem::VersionsDiffer(
            answered.to_string(),
            versions.to_string(),
        )));
    }
    Ok(Api {
        key,
        name: api_name(request.1).to_owned(),
        versions,
        latest_version_unstable: request.1.latest_version_unstable,
        request_headers: header_versions(&request_at, request.1, versions)?,
        response_headers: header_versions(&response_at, response.1, versions)?,
    })
}

fn header_versions(
    at: &At<'_>,
    schema: &Schema,
    versions: Versions,
) -> Result<Vec<(Versions, i16)>, Error> {
    let mut ranges = Vec::with_capacity(schema.header_versions.len());
    for (range, &header) in &schema.header_versions {
        ranges.push((at.versions("headerVersions", range)?, header));
    }
    ranges.sort_by_key(|(range, _)| range.lowest);
    for version in versions.iter() {
        match ranges
            .iter()
            .filter(|(range, _)| range.contains(version))
            .count()
        {
            0 => return Err(at.error(Problem::NoHeaderVersion(version))),
            1 => {}
            _ => return Err(at.error(Problem::TwoHeaderVersions(version))),
        }
    }
    Ok(ranges)
}
