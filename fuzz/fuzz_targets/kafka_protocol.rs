//! The target `kafka_protocol` for libFuzzer; what it does is in the library.
#![no_main]

fuzz::program!("kafka_protocol");
