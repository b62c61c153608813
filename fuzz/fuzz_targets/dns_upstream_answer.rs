//! See `holm_hostile::dns_upstream_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::dns_upstream_answer(bytes));
