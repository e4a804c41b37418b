//! Our codec beside Kafka's own, which `tests::oracle` runs: every message and version of two releases, and record batches.
//!
//! `CORPUS=write cargo test -p tests --test oracle` writes anew what `protocol/tests` compares with when there is no Java.
#![allow(clippy::unwrap_used, reason = "a test may fail by it")]

mod batches;
mod corpus;
mod differences;
mod hex;
mod messages;
mod mutations;
mod named;
mod names;
mod random;
mod spec;

/// The corpus of record batches and the words in which batches are described, in common with the tests of `protocol`.
#[path = "../../../protocol/tests/corpus/mod.rs"]
mod kafka_batches;
