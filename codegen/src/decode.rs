//! Bytes given on the command line, shown as JSON. Which messages they are is found here, from the schemas; reading them is
//! left to the interpreter in `protocol::view`, which this crate cannot use as it is built before it: it is run as a program.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::model::{Message, Model};
use crate::schema::Kind;
use crate::show;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// An API, its key, or a message.
    pub name: &'a str,
    /// The version of the message.
    pub version: i16,
    /// The response, where the name is that of an API.
    pub response: bool,
    /// Whether size and header stand before the message.
    pub frame: bool,
}

/// Bytes and the messages that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Names and versions, one after the other.
    pub messages: Vec<(String, i16)>,
    /// Hexadecimal digits of all of them together.
    pub hex: String,
}

/// What is to be read from `hex`.
///
/// # Errors
/// When there is no such message, version or frame, or the digits are none; the text says what to do instead.
pub fn job(model: &Model, asked: &Asked<'_>, hex: &str) -> Result<Job, String> {
    let message = message(model, asked)?;
    let bytes = bytes(hex)?;
    let last = (message.name.clone(), asked.version);
    if !asked.frame {
        let messages = vec![last];
        return Ok(Job {
            messages,
            hex: digits(&bytes),
        });
    }
    let header = show::header_version(model, message, asked.version)
        .ok_or_else(|| format!("{} has no header: leave out --frame", message.name))?;
    let rest = unframed(&bytes)?;
    let header_name = match message.kind {
        Kind::Request => {
            check_head(message, asked.version, rest)?;
            "RequestHeader"
        }
        _ => "ResponseHeader",
    };
    Ok(Job {
        messages: vec![(header_name.to_owned(), header), last],
        hex: digits(rest),
    })
}

fn message<'m>(model: &'m Model, asked: &Asked<'_>) -> Result<&'m Message, String> {
    let found = show::find(model, asked.name)?;
    let message = match found.as_slice() {
        [message] => {
            if asked.response && message.kind != Kind::Response {
                return Err(format!(
                    "{} is no response: leave out --response",
                    message.name
                ));
            }
            message
        }
        [request, response, ..] if asked.response || request.kind == Kind::Response => response,
        [request, ..] => request,
        [] => return Err(format!("there is no message `{}`", asked.name)),
    };
    if message.versions.contains(asked.version) {
        return Ok(message);
    }
    Err(format!(
        "{} has versions {}, not {}",
        message.name, message.versions, asked.version
    ))
}

/// The bytes that hexadecimal digits say; blanks, colons and a leading `0x` do not count.
fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits: String = hex
        .trim()
        .trim_start_matches("0x")
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != ':')
        .collect();
    if let Some(letter) = digits.chars().find(|letter| !letter.is_ascii_hexdigit()) {
        return Err(format!(
            "`{letter}` is no hexadecimal digit: give the bytes as 00 ff, or as 00ff"
        ));
    }
    if digits.len() % 2 == 1 {
        return Err(format!(
            "{} hexadecimal digits are half a byte too many: each byte takes two",
            digits.len()
        ));
    }
    let bytes = (0..digits.len() / 2).map(|index| {
        u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).map_err(|error| error.to_string())
    });
    bytes.collect()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What follows the size of a frame.
fn unframed(bytes: &[u8]) -> Result<&[u8], String> {
    let Some((size, rest)) = bytes.split_first_chunk() else {
        return Err(
            "a frame begins with its size, 4 bytes: leave out --frame for the message alone"
                .to_owned(),
        );
    };
    let size = i32::from_be_bytes(*size);
    if usize::try_from(size) == Ok(rest.len()) {
        return Ok(rest);
    }
    Err(format!(
        "the frame says that {size} bytes follow its size, {} do: give exactly one frame, or leave out --frame for the \
         message alone",
        rest.len()
    ))
}

/// A request says itself what it is.
fn check_head(message: &Message, version: i16, rest: &[u8]) -> Result<(), String> {
    let key = message.api.as_ref().map(|(key, _)| *key);
    let [a, b, c, d, ..] = rest else {
        return Ok(());
    };
    let (found_key, found_version) = (i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d]));
    if key == Some(found_key) && found_version == version {
        return Ok(());
    }
    Err(format!(
        "the header names API key {found_key} and version {found_version}: ask for these, or give the frame of a {} version \
         {version}",
        message.name
    ))
}

impl Job {
    /// Prints the messages with the interpreter, which cargo builds if need be. The exit code is that of the program.
    ///
    /// # Errors
    /// When there is no cargo to run.
    pub fn run(&self) -> anyhow::Result<i32> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args([
            "run",
            "--quiet",
            "--package",
            "protocol",
            "--bin",
            "kafka_decode",
            "--",
        ]);
        for (name, version) in &self.messages {
            command.arg(name).arg(version.to_string());
        }
        let place = env!("CARGO_MANIFEST_DIR");
        let mut child = command
            .current_dir(place)
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cargo is needed in {place}, where this program was built"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not build reads nothing; its exit code tells.
            let _ = stdin.write_all(self.hex.as_bytes());
        }
        Ok(child.wait()?.code().unwrap_or(1))
    }
}
