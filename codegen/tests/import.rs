//! Importing small handmade releases: what is merged, what is refused, and that the result is stable.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::path::{Path, PathBuf};

use codegen::import::{Report, import};

/// A folder of releases and the folder they are imported into.
struct Releases {
    root: tempfile::TempDir,
    sources: Vec<PathBuf>,
}

impl Releases {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let sources = Vec::new();
        Self { root, sources }
    }

    /// Adds a file to a release.
    fn file(mut self, release: &str, name: &str, text: &str) -> Self {
        let folder = self.root.path().join(release);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        if !self.sources.contains(&folder) {
            self.sources.push(folder);
        }
        self
    }

    /// Adds a request or response, and what it needs beside it: the same text as a response or request.
    fn api(self, release: &str, name: &str, text: &str) -> Self {
        let other = if text.contains("Request") {
            text.replace("request", "response")
                .replace("Request", "Response")
        } else {
            text.replace("response", "request")
                .replace("Response", "Request")
        };
        self.file(release, name, text)
            .file(release, &format!("Other{name}"), &other)
    }

    /// Adds a message with these keys after its name.
    fn message(self, release: &str, name: &str, rest: &str) -> Self {
        let text = format!(r#"{{ "type": "data", "name": "{name}", {rest} }}"#);
        self.file(release, &format!("{name}.json"), &text)
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    fn import(&self) -> Result<Report, String> {
        import(&self.sources, &self.out()).map_err(|error| error.to_string())
    }

    fn imported(&self, name: &str) -> String {
        fs::read_to_string(self.out().join(format!("{name}.json"))).unwrap()
    }
}

/// What two releases of one message give, or why they do not.
fn merged(newer: &str, older: &str) -> Result<(String, Vec<String>), String> {
    let releases = Releases::new()
        .message("4.4.0", "Test", newer)
        .message("3.9.2", "Test", older);
    let report = releases.import()?;
    let [_, newest] = report.steps.as_slice() else {
        panic!("{} steps for two releases", report.steps.len());
    };
    Ok((releases.imported("Test"), newest.changes.clone()))
}

/// The end of most refusals.
const NEXT_STEP: &str = "The bytes of a released version never change: make sure that the release is complete and Kafka's own; \
     to take its form all the same, remove 3.9.2/Test.json and import again";

fn refused(newer: &str, older: &str, expect: &str) {
    let error = merged(newer, older).unwrap_err();
    let error = error.strip_suffix(NEXT_STEP).unwrap_or(&error);
    assert_eq!(error.trim_end(), expect);
}

#[test]
fn only_facts_stay_in_one_order() {
    let text = r#"// A licence.
{
  "fields": [ /* none of
     this */
    { "about": "Prose.", "default": 5, "versions": "0+", "type": "int32", "name": "A" }, // note
    { "name": "Url", "type": "string", "versions": "1+", "nullableVersions": "1+", "default": "null",
      "taggedVersions": "2+", "tag": "3", "ignorable": "true" },
    { "name": "B", "type": "int8", "versions": "0+", "default": null, "versions": "0+" },
    { "name": "List", "type": "[]Item", "taggedVersions": "2+", "tag": 0, "fields": [
      { "name": "C", "type": "Shared", "versions": "0+", "mapKey": true } ] }
  ],
  "commonStructs": [ { "name": "Shared", "versions": "0+", "fields": [
    { "name": "At", "type": "string", "versions": "0+", "default": "http://x" } ] } ],
  "flexibleVersions": "1+", "validVersions": "0-2", "listeners": ["broker"], "name": "TestRequest",
  "type": "request", "apiKey": 9, "latestVersionUnstable": true
}"#;
    let releases = Releases::new().api("4.4.0", "Any.json", text);
    releases.import().unwrap();
    let expect = r#"{
  "apiKey": 9,
  "type": "request",
  "name": "TestRequest",
  "listeners": ["broker"],
  "validVersions": "0-2",
  "flexibleVersions": "1+",
  "headerVersions": { "0": 1, "1+": 2 },
  "latestVersionUnstable": true,
  "commonStructs": [
    { "name": "Shared", "versions": "0+", "fields": [
      { "name": "At", "type": "string", "versions": "0+", "default": "http://x" }
    ] }
  ],
  "fields": [
    { "name": "A", "type": "int32", "versions": "0+", "default": "5" },
    { "name": "Url", "type": "string", "versions": "1+", "nullableVersions": "1+", "tag": 3, "taggedVersions": "2+", "default": "null", "ignorable": true },
    { "name": "B", "type": "int8", "versions": "0+" },
    { "name": "List", "type": "[]Item", "versions": "2+", "tag": 0, "taggedVersions": "2+", "fields": [
      { "name": "C", "type": "Shared", "versions": "0+", "mapKey": true }
    ] }
  ]
}
"#;
    assert_eq!(releases.imported("TestRequest"), expect);
}

/// The fields of the canonical text, one per line.
fn fields(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("{ \"name\""))
        .collect()
}

#[test]
fn versions_that_the_newer_release_dropped_are_merged() {
    let newer = r#""validVersions": "2-4", "flexibleVersions": "3+", "fields": [
        { "name": "Kept", "type": "int32", "versions": "0+" },
        { "name": "Raised", "type": "int16", "versions": "2+" },
        { "name": "Later", "type": "int8", "versions": "4+" },
        { "name": "Text", "type": "string", "versions": "2+", "nullableVersions": "2+" } ]"#;
    let older = r#""validVersions": "0-3", "flexibleVersions": "3+", "fields": [
        { "name": "Gone", "type": "int64", "versions": "0-1" },
        { "name": "Kept", "type": "int32", "versions": "0+" },
        { "name": "AlsoGone", "type": "[]Entry", "versions": "1", "fields": [
          { "name": "Id", "type": "uuid", "versions": "1" } ] },
        { "name": "Raised", "type": "int16", "versions": "1+" },
        { "name": "Text", "type": "string", "versions": "0+", "nullableVersions": "1+" } ]"#;
    let (text, notes) = merged(newer, older).unwrap();
    assert_eq!(
        fields(&text),
        [
            r#"{ "name": "Gone", "type": "int64", "versions": "0-1" },"#,
            r#"{ "name": "Kept", "type": "int32", "versions": "0+" },"#,
            r#"{ "name": "AlsoGone", "type": "[]Entry", "versions": "1", "fields": ["#,
            r#"{ "name": "Id", "type": "uuid", "versions": "1" }"#,
            r#"{ "name": "Raised", "type": "int16", "versions": "1+" },"#,
            r#"{ "name": "Later", "type": "int8", "versions": "4+" },"#,
            r#"{ "name": "Text", "type": "string", "versions": "0+", "nullableVersions": "1+" }"#,
        ]
    );
    assert!(text.contains(r#""validVersions": "0-4""#), "{text}");
    assert!(text.contains(r#""flexibleVersions": "3+""#), "{text}");
    assert_eq!(
        notes,
        [
            "+ Test: version 4 added",
            "- Test: versions 0-1 dropped, kept here",
            "+ Test.Later: int8, versions 4+",
        ]
    );
}

#[test]
fn a_field_of_the_older_release_does_not_spread_to_newer_versions() {
    let newer = r#""validVersions": "1-2", "fields": [
        { "name": "A", "type": "int32", "versions": "1+" } ]"#;
    let older = r#""validVersions": "0", "fields": [
        { "name": "A", "type": "int32", "versions": "0+" },
        { "name": "B", "type": "int32", "versions": "0+" } ]"#;
    let (text, _) = merged(newer, older).unwrap();
    assert_eq!(
        fields(&text),
        [
            r#"{ "name": "A", "type": "int32", "versions": "0+" },"#,
            r#"{ "name": "B", "type": "int32", "versions": "0" }"#,
        ]
    );
}

#[test]
fn a_field_of_the_newer_release_does_not_spread_to_older_versions() {
    let newer = r#""validVersions": "1-2", "fields": [
        { "name": "A", "type": "int32", "versions": "0+" },
        { "name": "B", "type": "int32", "versions": "0+" } ]"#;
    let older = r#""validVersions": "0", "fields": [
        { "name": "A", "type": "int32", "versions": "0+" } ]"#;
    let (text, _) = merged(newer, older).unwrap();
    assert_eq!(
        fields(&text),
        [
            r#"{ "name": "A", "type": "int32", "versions": "0+" },"#,
            r#"{ "name": "B", "type": "int32", "versions": "1+" }"#,
        ]
    );
}

#[test]
fn messages_without_versions_left_come_from_the_older_release() {
    let older = r#""validVersions": "0-1", "fields": []"#;
    let releases = Releases::new()
        .message("4.4.0", "Test", r#""validVersions": "none""#)
        .message("4.4.0", "Other", older)
        .message("3.9.2", "Test", older);
    let report = releases.import().unwrap();
    assert!(releases.imported("Test").contains(r#""0-1""#));
    let version = report.version;
    assert!(
        version.contains("merged 2 messages, 4 versions"),
        "{version}"
    );
}

#[test]
fn renames_with_the_same_bytes_take_the_newer_names() {
    let newer = r#""validVersions": "1-2", "fields": [
        { "name": "New", "type": "int32", "versions": "0+" },
        { "name": "Items", "type": "[]NewItem", "versions": "0+", "fields": [
          { "name": "Id", "type": "int32", "versions": "0+" } ] } ]"#;
    let older = r#""validVersions": "0-1", "fields": [
        { "name": "Old", "type": "int32", "versions": "0+" },
        { "name": "Items", "type": "[]OldItem", "versions": "0+", "fields": [
          { "name": "Id", "type": "int32", "versions": "0+" },
          { "name": "Dropped", "type": "bool", "versions": "0" } ] } ]"#;
    let (text, notes) = merged(newer, older).unwrap();
    assert_eq!(
        fields(&text),
        [
            r#"{ "name": "New", "type": "int32", "versions": "0+" },"#,
            r#"{ "name": "Items", "type": "[]NewItem", "versions": "0+", "fields": ["#,
            r#"{ "name": "Id", "type": "int32", "versions": "0+" },"#,
            r#"{ "name": "Dropped", "type": "bool", "versions": "0" }"#,
        ]
    );
    assert_eq!(
        notes,
        [
            "+ Test: version 2 added",
            "- Test: version 0 dropped, kept here",
            "= Test.New: was Old",
            "= Test.NewItem: struct was OldItem",
        ]
    );
}

#[test]
fn a_message_is_known_by_its_key_when_its_name_changes() {
    let text = |name: &str| {
        format!(
            r#"{{ "apiKey": 74, "type": "request", "name": "{name}", "validVersions": "0",
                "flexibleVersions": "0+", "fields": [] }}"#
        )
    };
    let releases = Releases::new()
        .api("4.4.0", "New.json", &text("NewRequest"))
        .api("3.9.2", "Old.json", &text("OldRequest"));
    let report = releases.import().unwrap();
    assert_eq!(report.steps[0].changes, ["+ API 74 Old: version 0"]);
    assert_eq!(report.steps[1].changes, ["= API 74 New: was Old"]);
    assert!(releases.out().join("NewRequest.json").exists());
    assert!(!releases.out().join("OldRequest.json").exists());
}

const BASE: &str = r#""validVersions": "0-1", "flexibleVersions": "1+", "fields": [
    { "name": "A", "type": "int32", "versions": "0+" },
    { "name": "T", "type": "int8", "taggedVersions": "1+", "tag": 0, "default": "1" } ]"#;

#[test]
fn a_version_that_both_know_must_have_the_same_bytes() {
    let changed = |from: &str, to: &str| BASE.replace(from, to);
    refused(
        &changed("int32", "int64"),
        BASE,
        "4.4.0/Test.json: Test.A: version 0 differs from 3.9.2/Test.json: int64 against int32 `Test.A`.",
    );
    refused(
        &changed(r#""default": "1""#, r#""default": "2""#),
        BASE,
        "4.4.0/Test.json: Test.T: version 1 differs from 3.9.2/Test.json: \
         tag 0 int8 = 2 against tag 0 int8 = 1 `Test.T`.",
    );
    refused(
        &changed(r#""versions": "0+""#, r#""versions": "1+""#),
        BASE,
        "4.4.0/Test.json: Test.A: version 0 differs from 3.9.2/Test.json: the field is missing.",
    );
    refused(
        &changed(r#""flexibleVersions": "1+""#, r#""flexibleVersions": "0+""#),
        BASE,
        "4.4.0/Test.json: Test: version 0 differs from 3.9.2/Test.json: flexible against not flexible.",
    );
    let hexadecimal = changed(r#""default": "1""#, r#""default": "0x1""#);
    merged(&hexadecimal, BASE).unwrap();
}

/// A request and its response in two releases, of which the older one says that its last version is unstable.
fn unstable(newer: &str, older: &str, field: &str) -> Result<Vec<String>, String> {
    let text = |kind: &str, versions: &str, unstable: bool, field: &str| {
        format!(
            r#"{{ "apiKey": 80, "type": "{}", "name": "Test{kind}", "validVersions": "{versions}",
                "flexibleVersions": "0+", "latestVersionUnstable": {unstable}, "fields": [
                {{ "name": "A", "type": "{field}", "versions": "0+" }} ] }}"#,
            kind.to_lowercase()
        )
    };
    let mut releases = Releases::new();
    for kind in ["Request", "Response"] {
        let file = format!("Test{kind}.json");
        // As in Kafka, only the request says so.
        let says_so = kind == "Request";
        releases = releases
            .file("4.4.0", &file, &text(kind, newer, false, field))
            .file("3.9.2", &file, &text(kind, older, says_so, "int32"));
    }
    Ok(releases.import()?.steps[1].changes.clone())
}

#[test]
fn an_unstable_version_may_change_or_vanish() {
    assert_eq!(
        unstable("0", "0", "int64").unwrap(),
        [
            "~ API 80 Test: version 0 no longer unstable",
            "~ TestRequest.A: int32 -> int64",
            "~ TestRequest: version 0 changed, it was unstable",
            "~ TestResponse.A: int32 -> int64",
            "~ TestResponse: version 0 changed, it was unstable",
        ]
    );
    assert_eq!(
        unstable("0", "0-1", "int32").unwrap(),
        ["- API 80 Test: version 1 gone, it was unstable"]
    );
    let error = unstable("0-1", "0-1", "int64").unwrap_err();
    let expect = "4.4.0/TestRequest.json: TestRequest.A: version 0 differs from 3.9.2/TestRequest.json: \
         int64 against int32 `TestRequest.A`";
    assert!(error.starts_with(expect), "{error}");
}

#[test]
fn released_versions_do_not_vanish_and_leave_no_gap() {
    refused(
        r#""validVersions": "0", "fields": []"#,
        r#""validVersions": "0-1", "fields": []"#,
        "4.4.0/Test.json: Test: version 1 of 3.9.2/Test.json has gone, and was not unstable.",
    );
    refused(
        r#""validVersions": "3", "fields": []"#,
        r#""validVersions": "0-1", "fields": []"#,
        "4.4.0/Test.json: Test: versions 0-1 and 3 leave a gap; import the releases between the two first",
    );
}

#[test]
fn an_order_that_no_schema_can_have_is_refused() {
    refused(
        r#""validVersions": "1", "fields": [
            { "name": "A", "type": "int32", "versions": "0+" },
            { "name": "B", "type": "int8", "versions": "0+" } ]"#,
        r#""validVersions": "0", "fields": [
            { "name": "B", "type": "int8", "versions": "0+" },
            { "name": "A", "type": "int32", "versions": "0+" } ]"#,
        "4.4.0/Test.json: Test.A: no schema can have the bytes of version 0 of 3.9.2/Test.json as well: \
         int32 against int8 `Test.B`. To keep both versions, the merge of releases must learn how",
    );
}

#[test]
fn files_that_are_not_schemas_are_refused() {
    let check = |text: &str, expect: &str| {
        let releases = Releases::new().file("4.4.0", "Bad.json", text);
        let error = releases.import().unwrap_err();
        assert!(error.contains(expect), "{error}");
        assert!(error.starts_with("4.4.0/Bad.json: "), "{error}");
        assert!(!releases.out().exists());
    };
    let field = |field: &str| {
        format!(r#"{{ "type": "data", "name": "Bad", "validVersions": "0", "fields": [{field}] }}"#)
    };
    check("{", "EOF");
    check(r#"{ "type": "data", "tyqe": 1 }"#, "unknown field `tyqe`");
    check(
        r#"{ "type": "data", "type": "request" }"#,
        "`type` stands twice",
    );
    check(
        &field(r#"{ "name": "A", "type": "int8" }"#),
        "Bad.A: neither `versions` nor `taggedVersions`",
    );
    check(
        &field(r#"{ "name": "A", "type": "int8", "versions": "0+", "tag": 1 }"#),
        "Bad.A: `tag` and `taggedVersions` need each other",
    );
    check(
        &field(r#"{ "name": "A", "type": "int8", "versions": "+" }"#),
        "Bad.A: `+` is no range of versions",
    );
    check(
        &field("").replace(r#""0""#, r#""0+""#),
        "Bad: `validVersions` must be a closed range",
    );
}

#[test]
fn header_versions_follow_the_rules_and_their_two_exceptions() {
    let check = |kind: &str, name: &str, expect: &str| {
        let text = format!(
            r#"{{ "apiKey": 7, "type": "{kind}", "name": "{name}", "validVersions": "0-3",
                "flexibleVersions": "2+", "fields": [] }}"#
        );
        let releases = Releases::new().api("4.4.0", "A.json", &text);
        releases.import().unwrap();
        let text = releases.imported(name);
        let line = text.lines().find(|line| line.contains("headerVersions"));
        assert_eq!(
            line.unwrap().trim(),
            format!(r#""headerVersions": {expect},"#)
        );
    };
    check("request", "TestRequest", r#"{ "0-1": 1, "2+": 2 }"#);
    check(
        "request",
        "ControlledShutdownRequest",
        r#"{ "0": 0, "1": 1, "2+": 2 }"#,
    );
    check("response", "TestResponse", r#"{ "0-1": 0, "2+": 1 }"#);
    check("response", "ApiVersionsResponse", r#"{ "0+": 0 }"#);
}

fn snapshot(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn importing_the_canonical_schemas_changes_nothing() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let mut releases = Releases::new();
    let mut expect = snapshot(&schemas);
    expect.retain(|(name, _)| name != "VERSION");
    for (name, text) in &expect {
        releases = releases.file("4.4.0", name, text);
    }
    releases.import().unwrap();
    let first = snapshot(&releases.out());
    let mut found = first.clone();
    found.retain(|(name, _)| name != "VERSION");
    assert_eq!(found, expect);
    let again = releases.import().unwrap().steps.remove(0);
    assert_eq!(again.changes, Vec::<String>::new());
    assert_eq!(snapshot(&releases.out()), first);
}

#[test]
fn an_import_builds_upon_what_the_folder_holds() {
    let other = r#""validVersions": "0", "fields": []"#;
    let import = |releases: &Releases| releases.import().map(|mut it| it.steps.remove(0));
    let mut releases = Releases::new()
        .message("3.9.2", "Test", BASE)
        .message("3.9.2", "Other", other);
    let step = import(&releases).unwrap();
    assert_eq!((step.release.as_str(), step.onto), ("3.9.2", None));
    assert_eq!(step.changes, ["+ Other: version 0", "+ Test: versions 0-1"]);

    // A release without a message, and with a version more of another.
    releases.sources.clear();
    let more = BASE.replace(r#""0-1""#, r#""0-2""#);
    let mut releases = releases.message("4.0.2", "Test", &more);
    let step = import(&releases).unwrap();
    assert_eq!(step.onto.as_deref(), Some("3.9.2"));
    let expect = [
        "- Other: version 0 dropped, kept here",
        "+ Test: version 2 added",
    ];
    assert_eq!(step.changes, expect);
    assert!(releases.out().join("Other.json").exists());

    // What the second release added is as fixed as what the first one did.
    releases.sources.clear();
    let before = snapshot(&releases.out());
    let moved = BASE.replace(r#""0-1""#, r#""2""#).replace("int32", "int64");
    let mut releases = releases.message("4.4.0", "Test", &moved);
    let error = import(&releases).unwrap_err();
    let expect =
        "4.4.0/Test.json: Test.A: version 2 differs from out/Test.json: int64 against int32";
    assert!(error.starts_with(expect), "{error}");
    assert_eq!(snapshot(&releases.out()), before);

    // A message that went and is still gone is not told again.
    releases.sources.clear();
    let releases = releases.message("4.4.0", "Test", &more);
    assert_eq!(import(&releases).unwrap().changes, Vec::<String>::new());
    let version = fs::read_to_string(releases.out().join("VERSION")).unwrap();
    let expect = "merged 2 messages, 4 versions\n  request: 0 messages, 0 versions\n  response: 0 messages, 0 versions\n  \
        header: 0 messages, 0 versions\n  data: 2 messages, 4 versions\ndropped by 4.0.2 and kept here\n  Other 0\n";
    assert!(version.ends_with(expect), "{version}");
}

#[test]
fn a_history_that_cannot_be_understood_is_refused() {
    let releases = Releases::new().message("4.4.0", "Test", BASE);
    releases.import().unwrap();
    let path = releases.out().join("VERSION");
    for line in ["released 4.4.0", "release x jar", "dropped by x"] {
        fs::write(&path, format!("{line}\n")).unwrap();
        let error = releases.import().unwrap_err();
        let expect = format!("{}: cannot be understood: `{line}`", path.display());
        assert_eq!(error, expect);
    }
}

#[test]
fn the_newest_release_wins_in_whatever_order_they_are_given() {
    let newer =
        r#""validVersions": "1", "fields": [{ "name": "New", "type": "int8", "versions": "0+" }]"#;
    let older = r#""validVersions": "0-1", "fields": [{ "name": "Old", "type": "int8", "versions": "0+" }]"#;
    let one = Releases::new()
        .message("10.0.0", "Test", newer)
        .message("9.9.9", "Test", older);
    let other = Releases::new()
        .message("9.9.9", "Test", older)
        .message("10.0.0", "Test", newer);
    assert_eq!(one.import(), other.import());
    assert_eq!(snapshot(&one.out()), snapshot(&other.out()));
    assert!(one.imported("Test").contains("New"));
}
