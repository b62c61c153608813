//! See `holm_hostile::layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::layer(bytes));
