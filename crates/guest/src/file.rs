//! The files that Holm provides over the image's: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use holm_container::rootfs::Rootfs;
use holm_spec::guest::OwnFile;
use holm_spec::oci::runtime::{Mount, Spec};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Doing, Error};

/// Where those that are mounted are kept.
const FOLDER: &str = "/run/holm/files";
/// The only ones.
const KNOWN: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Provides the files, adding mounts to the document for those that the image has. What it lacks is written into the
/// container's own root file system, where a mount would need a file to be made anyway.
pub(crate) fn provide(files: &[OwnFile], root: &Rootfs, spec: &mut Spec) -> Result<(), Error> {
    fs::create_dir_all(FOLDER).doing(|| format!("make `{FOLDER}`"))?;
    for file in files {
        if !KNOWN.contains(&file.name.as_str()) {
            return Err(Error::refused(format!("provide `{}`: no such file", file.name.escape_debug())));
        }
        let inside = Path::new("/etc").join(&file.name);
        if spec.mounts.iter().any(|mount| mount.destination == inside) {
            continue;
        }
        let there = root.open_in_root(&inside, OFlags::PATH | OFlags::NOFOLLOW);
        let is_missing = there.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        // No name server to tell of and no file of the image's: resolvers take both the same.
        if is_missing && file.text.is_empty() {
            continue;
        }
        let etc = root.open_in_root(Path::new("/etc"), OFlags::RDONLY | OFlags::DIRECTORY).ok();
        match etc.filter(|_| is_missing) {
            Some(etc) => put(etc.as_fd(), Path::new(&file.name), &file.text)?,
            None => {
                let kept = Path::new(FOLDER).join(&file.name);
                put(CWD, &kept, &file.text)?;
                spec.mounts.push(mount(&inside, &kept));
            }
        }
    }
    Ok(())
}

fn mount(inside: &Path, kept: &Path) -> Mount {
    Mount {
        destination: inside.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(kept.to_owned()),
        options: ["rbind", "rprivate"].map(str::to_owned).to_vec(),
        ..Mount::default()
    }
}

fn put(at: BorrowedFd<'_>, path: &Path, text: &str) -> Result<(), Error> {
    let what = || format!("write `{}`", path.display());
    // Everybody in the container may read them.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(at, path, flags, Mode::from_raw_mode(0o644)).doing(what)?;
    std::io::Write::write_all(&mut fs::File::from(file), text.as_bytes()).doing(what)
}
