//! What a container sees of its own control groups.

use std::os::fd::OwnedFd;

/// What is mounted on the container's `/sys/fs/cgroup`.
#[derive(Debug, Default)]
pub enum CgroupView {
    /// Nothing.
    #[default]
    None,
    /// The unified hierarchy.
    V2,
    /// One detached mount of the container's own group per v1 hierarchy, by the folder's name.
    V1(Vec<(String, OwnedFd)>),
}
