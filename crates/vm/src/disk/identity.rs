//! What tells one disk from another: random identifiers and the time of making.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};

use super::error::{DiskError, io_error};

/// 16 random bytes.
pub(super) fn random() -> Result<[u8; 16], DiskError> {
    let mut bytes = [0; 16];
    let count = getrandom(&mut bytes, GetRandomFlags::empty()).map_err(io_error("read", "the random numbers"))?;
    debug_assert_eq!(count, bytes.len(), "up to 256 bytes come whole: getrandom(2)");
    Ok(bytes)
}

/// A random UUID: version 4, variant 1. *Source*: RFC 9562.
pub(super) fn uuid() -> Result<[u8; 16], DiskError> {
    let mut uuid = random()?;
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// Seconds since 1970.
pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
