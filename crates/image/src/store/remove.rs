//! Taking names and images away, with the meaning of `docker rmi`.

use holm_spec::Digest;
use holm_spec::oci::image::Index;

use super::error::StoreError;
use super::image::find;
use super::{Store, index};

/// One thing that was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(String),
    /// An image, by its id.
    Deleted(Digest),
}

impl Store {
    /// Takes a name away, and the image with its last one; by id, the image with its only name.
    ///
    /// `force` also takes an image with several names by id. An image that `in_use` knows is never deleted: by name
    /// with `force` it loses the name and stays. Unused blobs and layers go at once, or, while something else holds a
    /// [`super::Pin`], with the next removal.
    ///
    /// *Errors*: [`StoreError::InUse`], [`StoreError::SeveralNames`], [`StoreError::NotFound`]; nothing was taken then.
    pub fn untag_or_remove(
        &self,
        reference: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Vec<Removed>, StoreError> {
        let removed = self.change_index(|index| take(index, reference, force, in_use))?;
        if removed.iter().any(|one| matches!(one, Removed::Deleted(_))) {
            self.sweep_if_free(in_use)?;
        }
        Ok(removed)
    }
}

/// Changes the index for one removal.
fn take(
    index: &mut Index,
    reference: &str,
    force: bool,
    in_use: &dyn Fn(&Digest) -> bool,
) -> Result<Vec<Removed>, StoreError> {
    let found = find(index, reference)?;
    let id = found.id;
    let names: Vec<String> = index::entries(index)
        .filter(|entry| entry.id == id.as_str())
        .filter_map(|entry| entry.name.map(str::to_owned))
        .collect();
    let used = in_use(&id);
    let going = match &found.name {
        Some(name) if names.len() > 1 || (used && force) => {
            index::remove_name(index, name);
            return Ok(vec![Removed::Untagged(name.clone())]);
        }
        Some(name) => vec![name.clone()],
        None if names.len() > 1 && !force => {
            return Err(StoreError::SeveralNames { id, count: names.len() });
        }
        None => names,
    };
    if used {
        return Err(StoreError::InUse(reference.to_owned()));
    }
    let text = id.to_string();
    index.manifests.retain(|d| d.annotations.get(index::IMAGE_ID) != Some(&text));
    let mut removed: Vec<Removed> = going.into_iter().map(Removed::Untagged).collect();
    removed.push(Removed::Deleted(id));
    Ok(removed)
}
