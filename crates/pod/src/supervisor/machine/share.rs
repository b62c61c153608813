//! Folders, files and volumes of the host in a container's machine: one share for each mount.
//!
//! Owns which host path is served for which mount, and where the guest finds it. A share shows what its mount shows and nothing
//! beside it: a folder inside a volume is served alone, and so is a single file.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use holm_container::rootfs::Rootfs;
use holm_spec::container::{MountKind, MountSpec};
use holm_spec::guest::Mounted;
use holm_vm::machine::Share;
use holm_vm::virtiofs::{FILE, Served, ServerPlan};

use super::super::{Supervisor, source};
use crate::error::chain;
use crate::owner::Owners;
use crate::{Error, machine, volume};

/// Where shares are in the guest.
const SHARES: &str = "/run/holm/shares";

/// The shares of a machine.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// What serves them.
    pub(super) servers: Vec<ServerPlan>,
    /// Connections to these, for the machine.
    pub(super) connections: Vec<Share>,
    /// What the agent mounts.
    pub(super) mounted: Vec<Mounted>,
}

impl Supervisor {
    /// Finds or makes what the container mounts, fills new volumes, and plans the servers; the path in the guest of each mount,
    /// in order, is the other result.
    pub(super) fn shares(&mut self) -> Result<(Shares, Vec<PathBuf>), Error> {
        let found = source::mounts(&self.roots, &self.record.spec)?;
        self.held = found.held;
        self.fill_from_image(&found.paths, &found.fillable)?;
        let mut shares = Shares::default();
        let mut paths = Vec::new();
        let mut program = None;
        for (mount, source) in self.record.spec.mounts.iter().zip(&found.paths) {
            if mount.kind == MountKind::Tmpfs {
                paths.push(PathBuf::new());
                continue;
            }
            let program = match &mut program {
                Some(program) => program,
                none => none.insert(machine::file_server(&self.roots)?),
            };
            let served = served(mount, source)?;
            let planned = program.plan(&served, &self.roots.container(&self.id));
            let (server, connection) = planned.map_err(|e| machine::trouble(&e, e.hint()))?;
            let tag = format!("share{}", shares.servers.len());
            let at = Path::new(SHARES).join(&tag);
            paths.push(if served.is_file { at.join(FILE) } else { at.clone() });
            shares.servers.push(server);
            shares.connections.push(Share { tag: tag.clone(), server: connection });
            shares.mounted.push(Mounted { tag, at, read_only: mount.read_only });
        }
        Ok((shares, paths))
    }

    /// Copies what the image has into volumes that are empty.
    fn fill_from_image(&self, paths: &[PathBuf], fillable: &[usize]) -> Result<(), Error> {
        if fillable.is_empty() {
            return Ok(());
        }
        let rootfs = Rootfs::overlay(&self.record.layers, None).map_err(|e| self.failed(chain(&e), 125))?;
        let mounts = &self.record.spec.mounts;
        fillable.iter().try_for_each(|n| volume::fill(&rootfs, &mounts[*n].destination, &paths[*n], Owners::SAME))
    }
}

/// What is served for a mount.
fn served(mount: &MountSpec, source: &Path) -> Result<Served, Error> {
    let what = || mount.source.escape_debug().to_string();
    let found = std::fs::metadata(source).map_err(|e| Error::io("use mount source", what(), e))?;
    if let Some(kind) = only_here(found.file_type()) {
        let why = format!("a {kind} leads to nothing in a virtual machine, which has another kernel");
        return Err(Error::invalid(format!("mount source `{}`", what()), why));
    }
    Ok(Served {
        source: source.to_owned(),
        is_file: found.is_file(),
        read_only: mount.read_only,
        recursive: !mount.non_recursive,
    })
}

/// A word for what only the kernel that it is of can do something with.
fn only_here(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_socket() => Some("socket"),
        kind if kind.is_fifo() => Some("pipe"),
        kind if kind.is_block_device() || kind.is_char_device() => Some("device"),
        _ => None,
    }
}
