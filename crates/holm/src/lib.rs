//! The command line of Holm: arguments, commands, output, error report and exit code.
//!
//! Owns what people and scripts see. Runs nothing itself: `holm_pod` is the engine and `holm_image` the store.

pub mod args;
mod commands;
pub mod error;
pub mod format;
pub mod intent;
mod log;
mod output;
mod session;
pub mod settings;
mod terminal;

pub use commands::main;
