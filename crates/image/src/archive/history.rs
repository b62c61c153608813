//! The history of an image, step by step.

use super::error::ArchiveError;
use crate::store::{Image, Store};

/// One step, as `history` prints it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HistoryRow {
    /// When, RFC 3339.
    pub created: Option<String>,
    /// By what command.
    pub created_by: Option<String>,
    /// Unpacked size of the layer that the step made; 0 for none.
    pub size_bytes: u64,
    /// Comment.
    pub comment: Option<String>,
}

/// The steps that made an image, newest first.
pub fn history(store: &Store, image: &Image) -> Result<Vec<HistoryRow>, ArchiveError> {
    let mut diff_ids = image.config.rootfs.diff_ids.iter();
    let mut rows = Vec::new();
    for step in &image.config.history {
        let layer = if step.empty_layer { None } else { diff_ids.next() };
        let size_bytes = layer.map_or(Ok(0), |diff_id| store.layer_size(diff_id))?;
        rows.push(HistoryRow {
            created: step.created.clone(),
            created_by: step.created_by.clone(),
            size_bytes,
            comment: step.comment.clone(),
        });
    }
    // Layers that the history does not tell of.
    for diff_id in diff_ids {
        let size_bytes = store.layer_size(diff_id)?;
        rows.push(HistoryRow { created: None, created_by: None, size_bytes, comment: None });
    }
    rows.reverse();
    Ok(rows)
}
