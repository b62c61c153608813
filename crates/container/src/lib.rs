//! The OCI runtime: namespaces, control groups, system call filters, mounts and processes of one container.
//!
//! Owns the lifecycle create, start, kill, delete. Is handed its root file system, its network namespace and its
//! descriptors; makes no images, no links and keeps no records.

pub mod cgroup;
pub mod seccomp;
