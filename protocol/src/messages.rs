//! The messages of the protocol, one module each, generated from `schemas/`; how they are read and written is in
//! [`wire`](crate::wire), what they have in common in [`Message`](crate::Message).
#![allow(
    clippy::too_many_lines,
    reason = "a message has as many fields as Kafka gave it"
)]

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
