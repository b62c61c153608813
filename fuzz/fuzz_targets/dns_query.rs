//! See `holm_hostile::dns_query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::dns_query(bytes));
