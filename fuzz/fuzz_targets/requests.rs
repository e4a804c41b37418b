//! The target `requests` for libFuzzer; what it does is in the library.
#![no_main]

fuzz::program!("requests");
