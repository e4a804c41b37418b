//! Wrong schemas, each with the exact error: file, struct, field, and what is wrong.

use codegen::{check, schema};

/// A data message `M`, versions 0-3, flexible from 2 on, with these fields and common structs.
fn message(fields: &str, common: &str) -> String {
    format!(
        r#"{{ "type": "data", "name": "M", "validVersions": "0-3", "flexibleVersions": "2+",
             "fields": [{fields}], "commonStructs": [{common}] }}"#
    )
}

#[track_caller]
fn check_text(text: &str, expect: &str) {
    let error = codegen::compile("M.json", text).expect_err("the schema is wrong");
    assert_eq!(error.to_string(), expect);
}

/// Checks a message with these fields.
#[track_caller]
fn check_fields(fields: &str, expect: &str) {
    check_text(&message(fields, ""), expect);
}

/// Checks several schemas together, each `{…}` without the outer braces.
#[track_caller]
fn check_all(schemas: &[&str], expect: &str) {
    let schemas: Vec<_> = (0..)
        .zip(schemas)
        .map(|(index, text)| {
            let file = format!("{index}.json");
            let schema = schema::parse(&file, &format!("{{ {text}, \"fields\": [] }}"));
            (file, schema.expect("the schema parses"))
        })
        .collect();
    let error = check::check(&schemas).expect_err("the schemas are wrong");
    assert_eq!(error.to_string(), expect);
}

const REQUEST: &str = r#""type": "request", "apiKey": 1, "name": "ARequest", "validVersions": "0-2",
    "flexibleVersions": "none", "headerVersions": { "0+": 1 }"#;
const RESPONSE: &str = r#""type": "response", "apiKey": 1, "name": "AResponse", "validVersions": "0-2",
    "flexibleVersions": "none", "headerVersions": { "0+": 0 }"#;

#[test]
fn text_that_is_no_schema() {
    check_text(
        "{",
        "M.json: EOF while parsing an object at line 1 column 1",
    );
    check_text(
        r#"{ "type": "data", "nmae": "M" }"#,
        "M.json: unknown field `nmae`, expected one of `apiKey`, `type`, `name`, `listeners`, `validVersions`, \
         `deprecatedVersions`, `flexibleVersions`, `headerVersions`, `latestVersionUnstable`, `commonStructs`, \
         `fields` at line 1 column 24",
    );
}

#[test]
fn ranges() {
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "3-1" }"#,
        "M.json: M.F: `versions` is `3-1`, which is no range of versions",
    );
    check_fields(
        r#"{ "name": "F", "type": "string", "versions": "0+", "nullableVersions": "x" }"#,
        "M.json: M.F: `nullableVersions` is `x`, which is no range of versions",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8" }"#,
        "M.json: M.F: neither `versions` nor `taggedVersions`",
    );
    check_text(
        r#"{ "type": "data", "name": "M", "validVersions": "0+", "flexibleVersions": "none", "fields": [] }"#,
        "M.json: M: `validVersions` is `0+`; a closed range is needed",
    );
}

#[test]
fn names() {
    check_fields(
        r#"{ "name": "A-B", "type": "int8", "versions": "0+" }"#,
        "M.json: M.A-B: the name cannot be a Rust name",
    );
    check_fields(
        r#"{ "name": "UnknownTags", "type": "int8", "versions": "0+" }"#,
        "M.json: M.UnknownTags: the generated code uses this name itself",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "0" }, { "name": "f", "type": "int8", "versions": "1" }"#,
        "M.json: M.f: the name is used twice",
    );
    check_text(
        &message(
            "",
            r#"{ "name": "Writer", "versions": "0+", "fields": [] }"#,
        ),
        "M.json: Writer: the generated code uses this name itself",
    );
    check_text(
        &message(
            "",
            r#"{ "name": "string", "versions": "0+", "fields": [] }"#,
        ),
        "M.json: string: the generated code uses this name itself",
    );
    check_text(
        &message("", r#"{ "name": "M", "versions": "0+", "fields": [] }"#),
        "M.json: M: the name is used twice",
    );
    check_all(
        &[
            r#""type": "data", "name": "D", "validVersions": "0", "flexibleVersions": "none""#,
            r#""type": "data", "name": "D", "validVersions": "0", "flexibleVersions": "none""#,
        ],
        "1.json: D: the name is used twice",
    );
}

#[test]
fn types() {
    check_fields(
        r#"{ "name": "F", "type": "int24", "versions": "0+" }"#,
        "M.json: M.F: there is no type `int24`",
    );
    check_fields(
        r#"{ "name": "F", "type": "[][]int8", "versions": "0+" }"#,
        "M.json: M.F: there is no type `[]int8`",
    );
    check_fields(
        r#"{ "name": "F", "type": "[]records", "versions": "0+" }"#,
        "M.json: M.F: `[]records` is not supported: elements are fixed in size, strings, bytes or structs",
    );
    check_fields(
        r#"{ "name": "F", "type": "S", "versions": "0+", "fields": [
             { "name": "G", "type": "int24", "versions": "0+" }] }"#,
        "M.json: S.G: there is no type `int24`",
    );
    check_text(
        &message(
            r#"{ "name": "F", "type": "S", "versions": "0+" }"#,
            r#"{ "name": "S", "versions": "0+", "fields": [{ "name": "G", "type": "[]S", "versions": "0+" }] }"#,
        ),
        "M.json: S: the struct contains itself",
    );
}

#[test]
fn fields_inside_fields() {
    check_fields(
        r#"{ "name": "F", "type": "[]int8", "versions": "0+", "fields": [
             { "name": "G", "type": "int8", "versions": "0+" }] }"#,
        "M.json: M.F: `[]int8` has no fields of its own",
    );
    check_fields(
        r#"{ "name": "F", "type": "[]S", "versions": "0+", "fields": [
             { "name": "G", "type": "int8", "versions": "1+" }] }"#,
        "M.json: M.F: an element takes no bytes in version 0, so its count would have no bound",
    );
}

#[test]
fn tags() {
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "2+", "tag": 0 }"#,
        "M.json: M.F: `tag` and `taggedVersions` need each other",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "2+", "taggedVersions": "2+" }"#,
        "M.json: M.F: `tag` and `taggedVersions` need each other",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "0+", "tag": 0, "taggedVersions": "1+" }"#,
        "M.json: M.F: tagged in versions 1-3, of which only 2-3 are flexible",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "2+", "tag": 0, "taggedVersions": "2" }"#,
        "M.json: M.F: tagged in versions 2, which must be the last of its versions 2-3",
    );
    check_fields(
        r#"{ "name": "F", "type": "int8", "tag": 0, "taggedVersions": "2+" },
           { "name": "G", "type": "int8", "tag": 0, "taggedVersions": "3+" }"#,
        "M.json: M.G: tag 0 is taken by `F`",
    );
}

#[test]
fn nulls_and_defaults() {
    check_fields(
        r#"{ "name": "F", "type": "int8", "versions": "0+", "nullableVersions": "0+" }"#,
        "M.json: M.F: `int8` cannot be null",
    );
    check_fields(
        r#"{ "name": "F", "type": "string", "versions": "0+", "nullableVersions": "2+", "default": "null" }"#,
        "M.json: M.F: the default is null, but null is allowed only in versions 2-3 of 0-3",
    );
    for (type_name, default) in [
        ("int8", "128"),
        ("int8", "null"),
        ("uint16", "-1"),
        ("int64", "1.5"),
        ("int64", "0xx"),
        ("bool", "yes"),
        ("float64", "NaN"),
        ("uuid", "x"),
        ("bytes", "x"),
        ("[]int8", "[]"),
    ] {
        check_fields(
            &format!(
                r#"{{ "name": "F", "type": "{type_name}", "versions": "0+", "default": "{default}" }}"#
            ),
            &format!("M.json: M.F: the default `{default}` is no `{type_name}`"),
        );
    }
}

#[test]
fn api_keys() {
    let without = |text: &str| text.replace(r#""apiKey": 1, "#, "");
    check_all(
        &[&without(REQUEST), RESPONSE],
        "0.json: ARequest: a request message needs an `apiKey`",
    );
    check_all(&[REQUEST], "0.json: ARequest: api key 1 has no response");
    check_all(&[RESPONSE], "0.json: AResponse: api key 1 has no request");
    check_all(
        &[REQUEST, RESPONSE, &REQUEST.replace("ARequest", "BRequest")],
        "2.json: BRequest: api key 1 is taken by ARequest",
    );
    check_all(
        &[&REQUEST.replace("ARequest", "A"), RESPONSE],
        "0.json: A: the name of a request ends in `Request`",
    );
    check_all(
        &[REQUEST, &RESPONSE.replace("0-2", "0-1")],
        "1.json: AResponse: versions 0-1, but the request has 0-2",
    );
    check_all(
        &[
            r#""type": "data", "apiKey": 1, "name": "D", "validVersions": "0", "flexibleVersions": "none""#,
        ],
        "0.json: D: a data message has no `apiKey`",
    );
}

#[test]
fn header_versions() {
    check_all(
        &[REQUEST, &RESPONSE.replace("0+", "0-1")],
        "1.json: AResponse: `headerVersions` says nothing of version 2",
    );
    check_all(
        &[
            &REQUEST.replace(r#""0+": 1"#, r#""0+": 1, "1+": 2"#),
            RESPONSE,
        ],
        "0.json: ARequest: `headerVersions` says two things of version 1",
    );
    check_all(
        &[&REQUEST.replace("0+", "all"), RESPONSE],
        "0.json: ARequest: `headerVersions` is `all`, which is no range of versions",
    );
}

#[test]
fn a_folder_or_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = codegen::load(&missing)
        .expect_err("there is no such folder")
        .to_string();
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    std::fs::write(folder.path().join("Bad.json"), "[]").unwrap();
    std::fs::write(folder.path().join("VERSION"), "not a schema").unwrap();
    let error = codegen::load(folder.path())
        .expect_err("one file is wrong")
        .to_string();
    assert!(error.starts_with("Bad.json: invalid"), "{error}");
}
