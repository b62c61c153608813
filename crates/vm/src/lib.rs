//! Virtual machines: the hypervisor, the guest's kernel and first file system, its disks, and the channel to its agent.
//!
//! Owns what a machine is made of and how it is run. Is handed links and folders by descriptor and plain records; makes no
//! networks, no images, no containers and keeps no records of them.

pub mod accel;
pub mod agent;
pub mod cache;
pub mod disk;
pub mod guest_agent;
pub mod initramfs;
mod jail;
pub mod kernel;
pub mod machine;
pub mod monitor;
pub mod qemu;
pub mod qmp;
pub mod template;
pub mod virtiofs;
