//! See `holm_hostile::kernel_module`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::kernel_module(bytes));
