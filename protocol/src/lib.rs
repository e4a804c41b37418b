//! Kafka's wire protocol: message codecs, record batches and compression.
//!
//! This crate does no I/O, reads no clock and allocates no more than its input justifies.
#![warn(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod api;
pub mod compression;
pub mod error;
mod error_code;
pub mod header;
pub mod messages;
pub mod records;
pub mod view;
pub mod wire;

pub use api::{ApiKey, Message, Request, Response};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeFault};
pub use error_code::ErrorCode;
