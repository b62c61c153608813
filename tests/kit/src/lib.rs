//! What Holm's tests and benchmarks stand on. A contents page; each module says what it owns.
//!
//! Everything here is for tests: it panics, with the whole story, where something is not as it must be.

mod cgroup;
mod debian;
mod fake_registry;
mod guest_kernel;
mod holm;
mod image;
mod installed;
mod leak;
mod machine;
mod mutation;
mod net_host;
mod process;
mod pty;
mod registry;
mod requirement;
mod scratch;
mod tar;
mod wait;

pub use cgroup::{controllers, group_folders, read_limit};
pub use debian::{Debian, debian_image};
pub use fake_registry::{Answer, FakeRegistry};
pub use guest_kernel::guest_kernel;
pub use holm::{Holm, Output, Running, holm_binary, target_folder};
pub use image::{Blob, Image, Layer, busybox_layer, busybox_root_tar, sha256};
pub use installed::installed_layer;
pub use leak::Leaks;
pub use machine::Machine;
pub use mutation::{Numbers, mutate};
pub use net_host::{HOST_V4, HOST_V6, NetHost, OUTSIDE_V4, OUTSIDE_V6};
pub use process::{alive, kill, pss_kib, tree_pss_kib};
pub use pty::Terminal;
pub use registry::{Registry, RegistryOptions};
pub use requirement::{has_command, skip};
pub use scratch::{BUSYBOX, Isolation, Scratch};
pub use tar::{Entry, Tar};
pub use wait::{wait_for, wait_until};
