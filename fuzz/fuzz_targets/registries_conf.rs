//! See `holm_hostile::registries_conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::registries_conf(bytes));
