//! Prints messages as JSON: `kafka_decode RequestHeader 2 FetchRequest 12` with their bytes as hexadecimal digits on standard input.
//! People use `codegen decode`, which runs this; here is only the reading.

use std::io::Write as _;
use std::process::ExitCode;

use protocol::view;
use protocol::wire::Reader;

const USAGE: &str = "usage: kafka_decode MESSAGE VERSION [MESSAGE VERSION]... < HEX";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match decode(&arguments) {
        Ok(text) => {
            let written = std::io::stdout().lock().write_all(text.as_bytes());
            written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err((text, error)) => {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The JSON of all messages; after an error that of those before it.
fn decode(arguments: &[String]) -> Result<String, (String, String)> {
    let mut text = String::new();
    let (messages, []) = arguments.as_chunks() else {
        return Err((text, USAGE.to_owned()));
    };
    let Some(bytes) = std::io::read_to_string(std::io::stdin())
        .ok()
        .and_then(|hex| bytes(hex.trim()))
    else {
        return Err((text, USAGE.to_owned()));
    };
    let mut reader = Reader::new(&bytes);
    let mut last = "";
    for [name, version] in messages {
        match next(name, version, &mut reader) {
            Ok(json) => {
                text.push_str(&json);
                text.push('\n');
            }
            Err(error) => return Err((text, format!("{name} {version}: {error}"))),
        }
        last = name;
    }
    match reader.finish() {
        Ok(()) => Ok(text),
        Err(error) => Err((text, format!("{last}: {error}"))),
    }
}

fn next(name: &str, version: &str, reader: &mut Reader<'_>) -> Result<String, String> {
    let message = view::find(name).ok_or("there is no such message")?;
    let version = version.parse().map_err(|_| "this is no version")?;
    let json = view::next_json(message, version, reader).map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&json).map_err(|error| error.to_string())
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_bytes().as_chunks() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}
