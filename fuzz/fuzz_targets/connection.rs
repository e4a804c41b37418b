//! The target `connection` for libFuzzer; what it does is in the library.
#![no_main]

fuzz::program!("connection");
