//! Why schema files cannot be imported, with file, struct, field and version.

use std::path::PathBuf;

/// Why [`import`](super::import) gave up.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A jar is no zip archive.
    #[error("{}: {source}", path.display())]
    Jar {
        /// The jar.
        path: PathBuf,
        /// What is wrong with it.
        source: zip::result::ZipError,
    },
    /// Nothing to import.
    #[error("{}: no schema files in it", path.display())]
    Empty {
        /// The jar or folder.
        path: PathBuf,
    },
    /// The release cannot be told.
    #[error("{}: the release cannot be told; a folder is named like `4.4.0`", path.display())]
    NoRelease {
        /// The jar or folder.
        path: PathBuf,
    },
    /// The file that tells the history of a folder is none.
    #[error("{}: cannot be understood: `{line}`", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// The line.
        line: String,
    },
    /// What the schemas make together is refused by the compiler.
    #[error("the schemas do not compile: {0}")]
    Compile(#[from] crate::Error),
    /// A file is not a schema.
    #[error("{file}: {source}")]
    Json {
        /// The release and name of the file.
        file: String,
        /// Which key or character, with line and column.
        source: serde_json::Error,
    },
    /// A schema cannot be used.
    #[error("{file}: {place}: {problem}")]
    Schema {
        /// The release and name of the file.
        file: String,
        /// The message, `Struct`, or `Struct.Field`.
        place: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a schema, or with two of them together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("`{0}` is no range of versions")]
    BadRange(String),
    #[error("`validVersions` must be a closed range")]
    OpenVersions,
    #[error("neither `versions` nor `taggedVersions`")]
    NoVersions,
    #[error("`tag` and `taggedVersions` need each other")]
    HalfTagged,
    #[error("the default is neither text, number nor boolean")]
    BadDefault,
    #[error("the struct is declared twice")]
    TwoStructs,
    #[error("the message is declared twice in one release")]
    TwoMessages,
    #[error("the struct contains itself")]
    Recursive,
    #[error("version {version} differs from {other}: {what}. {}", next_step(.other))]
    Layout {
        version: i16,
        other: String,
        what: String,
    },
    #[error("version {version} differs from {other}: it stands where `{was}` stood, so fields have changed places. {}", next_step(.other))]
    Moved {
        version: i16,
        other: String,
        was: String,
    },
    #[error("version {version} of {other} has gone, and was not unstable. {}", next_step(.other))]
    Vanished { version: i16, other: String },
    #[error("versions {0} and {1} leave a gap; import the releases between the two first")]
    Gap(String, String),
    #[error(
        "no schema can have the bytes of version {version} of {other} as well: {what}. To keep both \
         versions, the merge of releases must learn how"
    )]
    Lost {
        version: i16,
        other: String,
        what: String,
    },
}

/// What a person can do about a release that changes what was released before.
fn next_step(other: &str) -> String {
    format!(
        "The bytes of a released version never change: make sure that the release is complete and Kafka's own; \
         to take its form all the same, remove {other} and import again"
    )
}
