//! Names and platforms of images in archives.

use std::collections::BTreeMap;

use holm_spec::oci::image::Descriptor;

use super::error::ArchiveError;
use crate::reference::Reference;

/// Where OCI layouts keep a name: in full, or the tag only.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd and docker keep the full name.
pub(super) const FULL_NAME: &str = "io.containerd.image.name";

/// The canonical form of a name.
pub(super) fn canonical(name: &str) -> Result<String, ArchiveError> {
    let parsed = Reference::parse(name);
    parsed.map(|r| r.to_string()).map_err(|source| ArchiveError::Name { name: name.to_owned(), source })
}

/// The canonical names of a docker-archive's image.
pub(super) fn of_tags(tags: &[String]) -> Result<Vec<String>, ArchiveError> {
    tags.iter().map(|tag| canonical(tag)).collect()
}

/// The names that an index entry gives. A bare tag without a repository names nothing.
pub(super) fn of_annotations(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let full = annotations.get(FULL_NAME);
    let short = annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    full.or(short).and_then(|name| canonical(name).ok()).into_iter().collect()
}

/// The architecture of this machine by Go's names.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// This machine's platform, for messages.
pub(super) fn platform() -> String {
    format!("linux/{}", architecture())
}

/// True if an entry of an index is for this machine, or does not say for what it is.
pub(super) fn fits_this_machine(entry: &Descriptor) -> bool {
    match &entry.platform {
        Some(platform) => platform.os == "linux" && platform.architecture == architecture(),
        None => true,
    }
}
