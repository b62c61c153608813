//! The OCI runtime: namespaces, control groups, system call filters, mounts and processes of one container.
//!
//! Owns the lifecycle create, start, kill, delete. Is handed its root file system, its network namespace and its
//! descriptors; makes no images, no links and keeps no records.

pub mod archive;
pub mod capability;
pub mod cgroup;
mod cgroup_view;
mod channel;
mod create;
mod device;
mod error;
mod hook;
mod init;
mod join;
pub mod label;
mod mount;
pub mod namespace;
mod process;
mod reaper;
pub mod rootfs;
pub mod seccomp;
mod sysctl;
mod terminal;
pub mod user;

pub use cgroup_view::CgroupView;
pub use create::{Connect, Create, Init, Join, Joined, Stdio, create, exec, run_poststop_hooks};
pub use error::{FailureKind, StartError};
