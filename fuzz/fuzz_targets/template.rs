//! See `holm_hostile::template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::template(bytes));
