//! See `holm_hostile::disk_image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holm_hostile::disk_image(bytes));
