//! The guest's kernel: where it is on the user's machine, what of it a hypervisor boots, and which modules go with it.
//!
//! Owns reading kernels and modules, and their errors. Writes nothing: [`crate::initramfs`] packs modules,
//! [`crate::cache`] keeps what was made. The files are the user's own but may be broken, so every reader here takes any
//! bytes and answers with an error or a result of bounded size.

mod aarch64;
mod bytes;
pub mod compression;
pub mod elf;
mod error;
pub mod image;
pub mod module;
mod source;
mod version;
mod x86_64;

pub use error::{Error, Fault};
pub use source::{KernelRequest, KernelSource};

pub(crate) use error::io_error;
