//! A root tar as an image of one layer.

use std::io::{BufReader, Read};

use holm_spec::oci::image::{History, ImageConfig, RootFs, RunConfig};

use super::change::apply_change;
use super::error::ArchiveError;
use super::names;
use crate::clock;
use crate::progress::Progress;
use crate::store::{Image, Store};

/// What an imported image is to be like.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Canonical name; none for a nameless image.
    pub name: Option<String>,
    /// Changes of the configuration, as lines of a Containerfile: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// Comment in the history.
    pub message: Option<String>,
    /// Architecture by Go's names; this machine's where there is none.
    pub architecture: Option<String>,
}

/// Makes an image of a root tar, compressed or not.
pub fn import(
    store: &Store,
    stream: &mut dyn Read,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Image, ArchiveError> {
    let mut run = RunConfig::default();
    for change in &options.changes {
        apply_change(&mut run, change)?;
    }
    let pin = store.pin()?;
    let id = "import";
    progress.start(id, "importing", None);
    // An empty stream is an empty root; anything else must be a tar.
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    let taken = store.take_layer(&pin, "the root tar", &mut stream);
    progress.done(id, if taken.is_ok() { "imported" } else { "failed" });
    let layer = taken?;
    let diff_id = layer.diff_id().clone();
    let descriptor = layer.descriptor.clone();
    store.publish_layers(vec![layer])?;

    let created = Some(clock::now());
    let comment = options.message.clone().or_else(|| Some("Imported from -".to_owned()));
    let config = ImageConfig {
        created: created.clone(),
        architecture: options.architecture.clone().unwrap_or_else(|| names::architecture().to_owned()),
        os: "linux".to_owned(),
        config: Some(run),
        rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
        history: vec![History { created, comment, ..History::default() }],
        ..ImageConfig::default()
    };
    Ok(store.add_made_image(&config, vec![descriptor], options.name.as_deref())?)
}
