//! Why schemas do not compile, with file, struct and field.

use std::path::PathBuf;

/// Why [`generate`](crate::generate) gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not a schema at all.
    #[error("{file}: {source}")]
    Json {
        /// Name of the file.
        file: String,
        /// Which key or character, with line and column.
        source: serde_json::Error,
    },
    /// A schema contradicts itself or another.
    #[error("{file}: {place}: {problem}")]
    Schema {
        /// Name of the file.
        file: String,
        /// The message, `Struct`, or `Struct.Field`.
        place: String,
        /// What is wrong.
        problem: Problem,
    },
    /// The compiler wrote something that is not Rust; a fault of the compiler.
    #[error("{message}: the generated code does not parse: {source}")]
    Emit {
        /// The message.
        message: String,
        /// Where it stops to be Rust.
        source: syn::Error,
    },
}

/// What is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("`{key}` is `{text}`, which is no range of versions")]
    BadRange { key: &'static str, text: String },
    #[error("`validVersions` is `{0}`; a closed range is needed")]
    OpenMessage(String),
    #[error("the name cannot be a Rust name")]
    BadName,
    #[error("the generated code uses this name itself")]
    ReservedName,
    #[error("the name is used twice")]
    DuplicateName,
    #[error("a {0} message needs an `apiKey`")]
    NoApiKey(&'static str),
    #[error("a {0} message has no `apiKey`")]
    StrayApiKey(&'static str),
    #[error("the name of a {0} ends in `{1}`")]
    BadSuffix(&'static str, &'static str),
    #[error("`headerVersions` says nothing of version {0}")]
    NoHeaderVersion(i16),
    #[error("`headerVersions` says two things of version {0}")]
    TwoHeaderVersions(i16),
    #[error("api key {0} is taken by {1}")]
    DuplicateApiKey(i16, String),
    #[error("api key {0} has no {1}")]
    Unpaired(i16, &'static str),
    #[error("versions {0}, but the request has {1}")]
    VersionsDiffer(String, String),
    #[error("there is no type `{0}`")]
    UnknownType(String),
    #[error("`{0}` is not supported: elements are fixed in size, strings, bytes or structs")]
    BadElement(String),
    #[error("`{0}` has no fields of its own")]
    StrayFields(String),
    #[error("the struct contains itself")]
    Recursive,
    #[error("an element takes no bytes in version {0}, so its count would have no bound")]
    EmptyElement(i16),
    #[error("neither `versions` nor `taggedVersions`")]
    NoVersions,
    #[error("`tag` and `taggedVersions` need each other")]
    HalfTagged,
    #[error("tagged in versions {0}, which must be the last of its versions {1}")]
    TaggedThenNot(String, String),
    #[error("tagged in versions {0}, of which only {1} are flexible")]
    TaggedNotFlexible(String, String),
    #[error("tag {0} is taken by `{1}`")]
    DuplicateTag(u32, String),
    #[error("`{0}` cannot be null")]
    NeverNull(String),
    #[error("the default is null, but null is allowed only in versions {0} of {1}")]
    NullDefault(String, String),
    #[error("the default `{0}` is no `{1}`")]
    BadDefault(String, String),
}
