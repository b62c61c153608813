//! The floor: the same kernel objects as a container's start, by bare system calls and nothing else.
//!
//! Owns the building and running of floor.c; what that does is told there.

use std::time::Duration;

use holm_kit::Holm;

use crate::peer::Peers;
use crate::runner::time;

/// Builds the floor program and returns what runs it once.
pub fn contender(peers: &Peers) -> impl FnMut() -> Duration {
    let program = peers.folder().join("floor");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/floor.c");
    Holm::program("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).ok();
    let work = peers.folder().join("floor-work");
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir_all(work.join(name)).expect("make a folder");
    }
    let rootfs = peers.rootfs();
    move || time(std::process::Command::new(&program).arg(&rootfs).arg(&work))
}
