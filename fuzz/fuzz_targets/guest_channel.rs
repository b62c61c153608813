//! See `holm_hostile::guest_channel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::guest_channel(bytes));
