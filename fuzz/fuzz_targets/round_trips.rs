//! The target `round_trips` for libFuzzer; what it does is in the library.
#![no_main]

fuzz::program!("round_trips");
