//! The target `responses` for libFuzzer; what it does is in the library.
#![no_main]

fuzz::program!("responses");
