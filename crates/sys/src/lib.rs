//! Typed Linux calls that `rustix` lacks, and nothing else: no policy, no knowledge of containers.
//!
//! The only crate of Holm with `unsafe`. Each call says its kernel version and privilege.
mod arch;
pub mod bpf;
pub mod clock;
pub mod conntrack;
pub mod datagram;
pub mod detach;
#[cfg(target_arch = "x86_64")]
mod entry;
pub mod exe;
pub mod idle;
#[cfg(target_arch = "x86_64")]
pub mod kvm;
pub mod listener;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod nftables;
pub mod packet;
pub mod probe;
pub mod process;
pub mod program;
pub mod random;
pub mod route;
pub mod seccomp;
pub mod signal;
pub mod tap;
pub mod title;
