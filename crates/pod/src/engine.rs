//! The engine: what commands call. One value per command, no threads, no system call to open.
//!
//! Owns the order of steps between folders, locks and supervisors. The records are in `layout`, the process that stays
//! behind is in `supervisor`.

mod control;
mod create;
mod files;
mod guest;
mod list;
mod network;
mod recover;
mod remove;
mod start;
mod top;
mod way;

use std::cell::RefCell;

use holm_spec::ContainerId;

pub(crate) use list::ids;
pub(crate) use network::event_of;
pub(crate) use start::{connect, reach};

use crate::layout::{FolderLock, Record};
use crate::{Error, Event, EventQuery, Roots, event};

/// The engine.
#[derive(Debug)]
pub struct Engine {
    roots: Roots,
    /// A container that this value made and is about to start: its locks are kept over the two steps.
    prepared: RefCell<Option<Prepared>>,
}

#[derive(Debug)]
struct Prepared {
    id: ContainerId,
    record: Record,
    run_lock: FolderLock,
    _lock: FolderLock,
}

impl Engine {
    /// Takes the roots; their folders are made when first needed.
    pub fn open(roots: Roots) -> Result<Self, Error> {
        for (what, path) in [("data root", &roots.data), ("run root", &roots.run)] {
            if !path.is_absolute() {
                return Err(Error::invalid(format!("{what} `{}`", path.display()), "it must be absolute"));
            }
        }
        Ok(Self { roots, prepared: RefCell::new(None) })
    }

    /// Where everything is.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Gives events; `sink` returns false to end it.
    pub fn events(&self, query: EventQuery, sink: &mut dyn FnMut(Event) -> bool) -> Result<(), Error> {
        event::read(&self.roots.run, query, sink)
    }

    /// Records an event that the caller caused (image events). A failure is not worth failing the caller.
    pub fn emit(&self, event: &Event) {
        event::emit(&self.roots.run, std::slice::from_ref(event));
    }
}

/// A fresh random identifier.
pub fn new_id() -> Result<ContainerId, Error> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("read", "random bytes", e))?;
    Ok(ContainerId::from_random(&bytes))
}
