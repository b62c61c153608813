//! See `holm_hostile::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::manifest(bytes));
