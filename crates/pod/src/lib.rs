//! Joins images, containers and the kernel into running containers: the engine that commands call, and the supervisor that
//! stays behind with each container.
//!
//! Owns the folders `containers/`, `names/`, `volumes/` and `trash/` of the data root and everything in the run root. Knows
//! no registry and prints nothing. No function here leaves a thread behind.

pub mod engine;
pub mod error;

pub use engine::{
    Attached, Change, ChangeKind, Connection, Container, Engine, Event, EventQuery, Exec, ExecStarted, ImageRoot,
    LogLine, LogQuery, PathStat, PruneReport, RemoveOptions, Roots, StartIo, Started, StdioFds, Top, Update, Volume,
    WaitFor,
};
pub use error::Error;
