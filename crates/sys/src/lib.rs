//! Typed Linux calls that `rustix` lacks, and nothing else: no policy, no knowledge of containers.
//!
//! The only crate of Holm with `unsafe`. Each call says its kernel version and privilege.
