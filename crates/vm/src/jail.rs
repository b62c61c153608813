//! What the jails of all programs have in common: the host's own programs and libraries, which are public, read-only.
//!
//! Owns no document; what else is in a jail is for who plans it.

use std::fs;
use std::path::{Path, PathBuf};

use holm_spec::oci::runtime::Mount;

use crate::machine::{Error, RootTree};

/// Where libraries may be, besides `/usr`.
const LIBRARIES: [&str; 4] = ["lib", "lib64", "lib32", "libx32"];

/// A root in which `program` can run: its places and links, and the mounts over them.
pub(crate) fn programs(program: &Path) -> Result<(RootTree, Vec<Mount>), Error> {
    let mut root = RootTree { folders: vec!["usr".into()], ..RootTree::default() };
    let mut mounts = vec![bind("/usr", "/usr", &["rbind", "rro", "rnosuid", "rnodev"])];
    libraries(&mut root, &mut mounts)?;
    elsewhere(program, &mut root, &mut mounts)?;
    Ok((root, mounts))
}

/// Libraries outside `/usr`: the same links where the host has links, else the folders; and the loader's index.
fn libraries(root: &mut RootTree, mounts: &mut Vec<Mount>) -> Result<(), Error> {
    for name in LIBRARIES {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&path).map_err(Error::io("read link", &path))?;
                root.links.push((name.into(), target));
            }
            Ok(_) => {
                root.folders.push(name.into());
                mounts.push(bind(&path, &path, &["rbind", "rro", "rnosuid", "rnodev"]));
            }
            Err(_) => {}
        }
    }
    let index = "/etc/ld.so.cache";
    if Path::new(index).exists() {
        root.files.push(index.trim_start_matches('/').into());
        mounts.push(bind(index, index, &["bind", "ro", "nosuid", "nodev", "noexec"]));
    }
    Ok(())
}

/// A program that is installed elsewhere brings the folder that it was installed to; a store of packages comes whole.
fn elsewhere(program: &Path, root: &mut RootTree, mounts: &mut Vec<Mount>) -> Result<(), Error> {
    if program.starts_with("/usr") {
        return Ok(());
    }
    let store = ["/nix/store", "/gnu/store"].map(Path::new).into_iter().find(|store| program.starts_with(store));
    let above = store.or_else(|| program.parent()?.parent()).filter(|folder| *folder != Path::new("/"));
    let Some(above) = above else {
        let reason = "a program in `/bin` cannot be shut in: use one below `/usr` or `/opt`".to_owned();
        return Err(Error::Probe { program: program.to_owned(), reason });
    };
    root.folders.push(above.strip_prefix("/").unwrap_or(above).to_owned());
    mounts.push(bind(above, above, &["rbind", "rro", "rnosuid", "rnodev"]));
    Ok(())
}

/// A bind mount.
pub(crate) fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>, options: &[&str]) -> Mount {
    Mount {
        destination: target.into(),
        kind: Some("bind".into()),
        source: Some(source.into()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}
