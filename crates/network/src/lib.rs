//! Networks of containers: links, bridges, addresses, the way out, published ports, names.
//!
//! Owns the networks' records and all kernel state they need, set by netlink. Knows no images, no processes and no pods: it
//! is handed a network namespace by descriptor and plain records.

pub mod dns;
