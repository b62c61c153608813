//! See `holm_hostile::guest_kernel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::guest_kernel(bytes));
