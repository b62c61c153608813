//! Joins images, containers and the kernel into running containers: the engine that commands call, and the supervisor that
//! stays behind with each container.
//!
//! Owns the folders `containers/`, `names/`, `volumes/` and `trash/` of the data root and everything in the run root. Knows
//! no registry and prints nothing. No function here leaves a thread behind.

pub mod clock;
mod connection;
mod engine;
mod error;
mod event;
mod filter;
pub mod host;
mod layout;
mod log;
mod machine;
mod model;
mod name;
mod owner;
mod plan;
mod removal;
mod supervisor;
mod tree;
mod vm;
mod volume;
mod wire;

pub use connection::Connection;
pub use engine::{Engine, new_id};
pub use error::Error;
pub use holm_container::cgroup::Driver as CgroupDriver;
pub use holm_vm::guest_agent::MAX_INPUT_BYTES as VM_INPUT_MAX_BYTES;
pub use model::*;
pub use vm::{Vm, VmConsole, VmRequest};
