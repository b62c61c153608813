//! See `holm_hostile::reference`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::reference(bytes));
