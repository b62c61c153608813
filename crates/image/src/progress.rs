//! How long work tells its caller how far it is. Owns the trait; drawing bars is for the command line.

/// Receives the progress of several items at once, from several threads.
///
/// An item is a layer or a file; its id is unique within one operation. `start` comes first, `done` last, once each.
pub trait Progress: Send + Sync {
    /// An item begins. `total_bytes` is `None` where the length is not known before the end.
    fn start(&self, id: &str, label: &str, total_bytes: Option<u64>);

    /// `bytes` more of the item are done.
    fn advance(&self, id: &str, bytes: u64);

    /// The item ended, with one or two words for a person (`done`, `already there`, `failed`).
    fn done(&self, id: &str, status: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _id: &str, _label: &str, _total_bytes: Option<u64>) {}

    fn advance(&self, _id: &str, _bytes: u64) {}

    fn done(&self, _id: &str, _status: &str) {}
}
