//! Archives of images: `load` and `save` of docker-archive and oci-archive, `import` of root tars, and `history`.
//!
//! Owns the shape of these archives. Unpacking is `layer`'s, keeping is `store`'s. Archives are read in one pass, so
//! they may come from a pipe; nothing of an archive is visible before all that an image needs was verified and
//! synced.

mod change;
mod content;
mod error;
mod history;
mod import;
mod load;
mod names;
mod save;
#[cfg(test)]
mod tests;

pub use change::{ChangeError, apply_change};
pub use error::ArchiveError;
pub use history::{HistoryRow, history};
pub use import::{ImportOptions, import};
pub use load::{Source, load};
pub use save::{Format, save};
