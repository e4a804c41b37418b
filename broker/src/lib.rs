//! The broker.

pub mod log;
