//! `show` and `decode` of the command line: tables, JSON, and what is said of wrong input.

use std::path::Path;
use std::process::{Command, Output};

use codegen::decode::{Asked, job};
use codegen::show::show;
use codegen::{Model, check, schema};

fn schemas() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    codegen::load(&folder).expect("the schemas")
}

/// The table of one of the small schemas.
fn table(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let text = std::fs::read_to_string(path).expect("the schema");
    let parsed = schema::parse(name, &text).expect("a schema");
    let message = check::check_one(name, &parsed).expect("a correct schema");
    let (title, model) = (
        message.name.clone(),
        Model {
            messages: vec![message],
            apis: Vec::new(),
        },
    );
    show(&model, &title).expect("a table")
}

#[test]
fn a_table_shows_versions_nulls_tags_and_defaults() {
    assert_eq!(
        table("tagged"),
        "\
Tagged, data, versions 0-3, flexible 1-3
  field  type     versions  null  tag       default  ignorable
  Plain  int8     0-3
  Later  int64    2-3             2 in 2-3  -1       yes
  First  string   1-3       1-3   0 in 1-3  null     yes
  Moved  []int32  0-3             1 in 3
  Node   Node     3               3 in 3
    Id   int32    3                         -1
"
    );
}

#[test]
fn an_api_is_its_request_and_response() {
    let model = schemas();
    let by_name = show(&model, "fetch").unwrap();
    let titles: Vec<&str> = by_name
        .lines()
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(
        titles,
        [
            "FetchRequest, request of API key 1, versions 0-18, flexible 12-18, header 1 in 0-11, header 2 in 12-18",
            "",
            "FetchResponse, response of API key 1, versions 0-18, flexible 12-18, header 0 in 0-11, header 1 in 12-18",
        ]
    );
    let row = by_name
        .lines()
        .find(|line| line.contains(" CurrentLeaderEpoch "));
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(cells, ["CurrentLeaderEpoch", "int32", "9-18", "-1", "yes"]);
    assert_eq!(show(&model, "1").unwrap(), by_name);
    let request = show(&model, "FetchRequest.json").unwrap();
    assert!(by_name.starts_with(&request));
    assert!(
        show(&model, "EndTxnMarker")
            .unwrap()
            .starts_with("EndTxnMarker, data, versions 0")
    );
}

#[test]
fn an_unknown_name_is_answered_with_close_ones() {
    let model = schemas();
    assert_eq!(
        show(&model, "Metadta").unwrap_err(),
        "there is no API or message `Metadta`: did you mean Metadata?"
    );
    assert_eq!(
        show(&model, "xyzzyxyzzy").unwrap_err(),
        "there is no API or message `xyzzyxyzzy`: give the name of an API (Fetch), its key (1), or the name of a message \
         (FetchRequest); the files of the schemas name all messages"
    );
}

fn asked(name: &str, version: i16) -> Asked<'_> {
    Asked {
        name,
        version,
        response: false,
        frame: false,
    }
}

#[test]
fn digits_may_be_written_as_people_write_them() {
    let model = schemas();
    for hex in ["0xFFff", "ff ff", "ff:ff\n"] {
        let job = job(&model, &asked("Metadata", 1), hex).unwrap();
        assert_eq!(job.hex, "ffff");
        assert_eq!(job.messages, [("MetadataRequest".to_owned(), 1)]);
    }
}

#[test]
fn a_frame_is_taken_apart_by_what_it_says() {
    let model = schemas();
    let frame = Asked {
        frame: true,
        ..asked("ApiVersions", 3)
    };
    let hex = "00000010 0012 0003 00000007 00026d65 00 01 01 00";
    let found = job(&model, &frame, hex).unwrap();
    assert_eq!(
        found.messages,
        [
            ("RequestHeader".to_owned(), 2),
            ("ApiVersionsRequest".to_owned(), 3)
        ]
    );
    assert_eq!(found.hex, "001200030000000700026d6500010100");
    // Its response has the first header in every version.
    let response = Asked {
        response: true,
        ..frame
    };
    let found = job(&model, &response, "00000004 00000007").unwrap();
    assert_eq!(
        found.messages,
        [
            ("ResponseHeader".to_owned(), 0),
            ("ApiVersionsResponse".to_owned(), 3)
        ]
    );
}

#[test]
fn wrong_input_is_answered_with_what_to_do() {
    let model = schemas();
    let refused = |asked: Asked<'_>, hex: &str, expected: &str| {
        assert_eq!(job(&model, &asked, hex).unwrap_err(), expected);
    };
    let frame = |name, version| Asked {
        frame: true,
        ..asked(name, version)
    };
    refused(
        asked("Fetch", 99),
        "",
        "FetchRequest has versions 0-18, not 99",
    );
    refused(
        asked("Fetch", 4),
        "0g",
        "`g` is no hexadecimal digit: give the bytes as 00 ff, or as 00ff",
    );
    refused(
        asked("Fetch", 4),
        "000",
        "3 hexadecimal digits are half a byte too many: each byte takes two",
    );
    refused(
        Asked {
            response: true,
            ..asked("FetchRequest", 4)
        },
        "",
        "FetchRequest is no response: leave out --response",
    );
    refused(
        frame("EndTxnMarker", 0),
        "",
        "EndTxnMarker has no header: leave out --frame",
    );
    refused(
        frame("Fetch", 4),
        "0000",
        "a frame begins with its size, 4 bytes: leave out --frame for the message alone",
    );
    refused(
        frame("Fetch", 4),
        "00000009 00",
        "the frame says that 9 bytes follow its size, 1 do: give exactly one frame, or leave out --frame for the message alone",
    );
    refused(
        frame("Fetch", 4),
        "00000004 0003 000c",
        "the header names API key 3 and version 12: ask for these, or give the frame of a FetchRequest version 4",
    );
}

fn codegen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codegen"));
    command.args(arguments).output().expect("the program runs")
}

/// The whole way, through the interpreter.
#[test]
fn bytes_are_printed_as_json() {
    let frame = "00000010001200030000000700026d650002780231 00".replace(' ', "");
    let size = format!("{:08x}", frame.len() / 2 - 4);
    let frame = frame.replacen("00000010", &size, 1);
    let output = codegen(&["decode", "ApiVersions", "3", &frame, "--frame"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        r#"{
  "requestApiKey": 18,
  "requestApiVersion": 3,
  "correlationId": 7,
  "clientId": "me"
}
{
  "clientSoftwareName": "x",
  "clientSoftwareVersion": "1"
}
"#
    );
    let output = codegen(&["decode", "Metadata", "1", "0000 0001 0005"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let error = String::from_utf8_lossy(&output.stderr);
    let expected =
        "MetadataRequest 1: topics[0].name at byte 6: the message ends inside a field (string)";
    assert!(error.contains(expected), "{error}");
    let output = codegen(&["show", "Nothing"]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("there is no API or message `Nothing`")
    );
}
