//! See `holm_hostile::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::config(bytes));
