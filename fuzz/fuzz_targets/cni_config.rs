//! See `holm_hostile::cni_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::cni_config(bytes));
