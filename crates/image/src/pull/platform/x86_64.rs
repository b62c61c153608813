//! The level of this x86-64 processor.
//!
//! *Source*: System V ABI for x86-64, "Micro-architecture levels".

use std::arch::is_x86_feature_detected as has;

/// Go's name of the architecture, and the variant this processor runs.
pub(super) fn architecture() -> (&'static str, Option<&'static str>) {
    let v2 = has!("cmpxchg16b") && has!("popcnt") && has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2");
    let v3 = v2
        && has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    let variant = match (v4, v3, v2) {
        (true, _, _) => "v4",
        (_, true, _) => "v3",
        (_, _, true) => "v2",
        _ => "v1",
    };
    ("amd64", Some(variant))
}
