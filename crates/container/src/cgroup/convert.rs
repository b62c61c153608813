//! v1 units to v2 units.

/// `cpu.shares` (2 to 262144, default 1024) to `cpu.weight` (1 to 10000, default 100).
///
/// A quadratic in log2 through (2, 1), (1024, 100) and (262144, 10000), so that the default stays the default; the
/// linear formula before it gave 39 for 1024. *Source*: runc 1.3.2 and crun 1.23 changed to it together.
pub fn cpu_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The formula is exact at 1024, its floating-point value a hair beside it.
    ((10f64.powf(exponent) - 1e-9).ceil() as u64).clamp(1, 10_000)
}

/// `blkio.weight` (10 to 1000) to `io.weight` (1 to 10000), linear.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}
