//! See `holm_hostile::seccomp_profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::seccomp_profile(bytes));
