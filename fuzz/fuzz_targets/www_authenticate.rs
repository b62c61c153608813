//! See `holm_hostile::www_authenticate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::www_authenticate(bytes));
