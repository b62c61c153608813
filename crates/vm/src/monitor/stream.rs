//! One stream between the guest and a local descriptor: its credit in each direction, and what waits to be written.
//!
//! Owns the counting. A stream goes one way; the two of a terminal are two streams.

use std::collections::VecDeque;

use holm_spec::guest::{INITIAL_CREDIT, MAX_DATA_BYTES};

use super::mux::Breach;

/// Most bytes that a guest may let us send at once.
const MAX_CREDIT: u32 = 16 * INITIAL_CREDIT;
/// So much is written before the guest is told, unless all is.
const TELL_BYTES: u32 = INITIAL_CREDIT / 4;

/// From the guest to a local descriptor.
#[derive(Debug)]
pub(super) struct Inward {
    queue: VecDeque<u8>,
    /// What the guest may still send.
    credit: u32,
    /// Written, and not yet told.
    owed: u32,
    /// No more comes.
    pub(super) ended: bool,
    /// Nobody reads what is written; the guest does not wait for that.
    dropped: bool,
}

impl Inward {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), credit: INITIAL_CREDIT, owed: 0, ended: false, dropped: false }
    }

    /// Takes a piece from the guest.
    pub(super) fn take(&mut self, stream: u32, bytes: &[u8]) -> Result<(), Breach> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.ended {
            return Err(Breach::Stream(stream));
        }
        self.credit = self.credit.checked_sub(length).ok_or(Breach::Credit(stream))?;
        if self.dropped {
            self.owed += length;
        } else {
            self.queue.extend(bytes);
        }
        Ok(())
    }

    /// What is to be written next.
    pub(super) fn front(&self) -> &[u8] {
        self.queue.as_slices().0
    }

    /// So much of it was written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let bytes = bytes.min(self.queue.len());
        self.queue.drain(..bytes);
        self.owed += u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.queue.is_empty() {
            self.queue.shrink_to(TELL_BYTES as usize);
        }
    }

    /// Nothing can be written any more.
    pub(super) fn drop_all(&mut self) {
        self.wrote(self.queue.len());
        self.dropped = true;
    }

    /// Credit that is due to the guest now.
    pub(super) fn due(&mut self) -> Option<u32> {
        if self.ended || self.owed < TELL_BYTES {
            return None;
        }
        self.credit += self.owed;
        Some(std::mem::take(&mut self.owed))
    }

    /// All that comes was written.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.queue.is_empty()
    }
}

/// From a local descriptor to the guest.
#[derive(Debug)]
pub(super) struct Outward {
    credit: u32,
    /// No more is read.
    pub(super) ended: bool,
}

impl Outward {
    pub(super) fn new() -> Self {
        Self { credit: INITIAL_CREDIT, ended: false }
    }

    /// How much may be read and sent.
    pub(super) fn room(&self) -> usize {
        if self.ended { 0 } else { (self.credit as usize).min(MAX_DATA_BYTES) }
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    pub(super) fn allow(&mut self, stream: u32, bytes: u32) -> Result<(), Breach> {
        self.credit = self.credit.saturating_add(bytes);
        if self.credit > MAX_CREDIT { Err(Breach::Credit(stream)) } else { Ok(()) }
    }
}
