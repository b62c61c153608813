//! `cp export diff`: files in and out of containers.
//!
//! A tar is the form in which files cross the border. It is spooled to a file without a name first: one side may enter
//! the container's namespaces, and no second thread may run then.

mod host;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use holm_pod::{ChangeKind, Engine};
use holm_spec::ContainerId;
use rustix::fs::{Mode, OFlags};

use super::Outcome;
use super::context::Context;
use super::transfer::write_file;
use crate::args::lifecycle::{Containers, Cp, Export};
use crate::error::{Failure, printable};
use crate::{output, terminal};

pub use host::unpack;

/// Most symbolic links that a target is followed through.
const LINKS_MAX: u32 = 40;

/// One side of a copy.
enum Side {
    /// Standard input or output.
    Stream,
    /// A path of the host.
    Host(PathBuf),
    /// A path in a container.
    Container(String, String),
}

fn side(text: &str) -> Side {
    if text == "-" {
        return Side::Stream;
    }
    // As docker: what starts like a path is one, whatever colons it has.
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.contains('/') && !name.is_empty() => {
            Side::Container(name.to_owned(), if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        }
        _ => Side::Host(PathBuf::from(text)),
    }
}

/// `holm cp`
pub fn copy(context: &Context, flags: &Cp) -> Outcome {
    let engine = context.engine()?;
    match (side(&flags.source), side(&flags.target)) {
        (Side::Container(name, path), Side::Stream) => {
            let id = context.find(&engine, &name)?;
            if terminal::is_terminal(rustix::stdio::stdout()) {
                return Err(Failure::new("refusing to write a tar to a terminal").with_hint("redirect it to a file"));
            }
            let mut out = std::io::BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
            engine.copy_from(&id, OsStr::new(&path), flags.follow_link, &mut out).map_err(Failure::from)?;
            out.flush().map_err(|e| output::failed(&e))?;
        }
        (Side::Container(name, path), Side::Host(target)) => {
            let id = context.find(&engine, &name)?;
            from_container(context, &engine, &id, &path, &target, flags)?;
        }
        (Side::Stream, Side::Container(name, path)) => {
            let id = context.find(&engine, &name)?;
            let mut stdin = std::io::stdin().lock();
            engine.copy_to(&id, OsStr::new(&path), flags.archive, &mut stdin).map_err(Failure::from)?;
        }
        (Side::Host(source), Side::Container(name, path)) => {
            let id = context.find(&engine, &name)?;
            to_container(context, &engine, &id, &source, &path, flags)?;
        }
        (Side::Container(..), Side::Container(..)) => {
            return Err(
                Failure::new("cannot copy between containers").with_hint("holm cp a:/file - | holm cp - b:/folder")
            );
        }
        _ => {
            return Err(Failure::new("cannot copy: one side must be CONTAINER:PATH")
                .with_code(crate::error::CODE_USAGE)
                .with_hint("holm cp web:/etc/hosts ."));
        }
    }
    Ok(0)
}

/// A file without a name on the file system of the data root.
pub fn scratch_file(context: &Context) -> Result<File, Failure> {
    let root = &context.settings.data_root.value;
    let failed =
        |e: std::io::Error| Failure::because(format!("cannot make a temporary file in `{}`", root.display()), &e);
    std::fs::create_dir_all(root).map_err(failed)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    Ok(File::from(fd))
}

fn rewound(mut file: File) -> Result<File, Failure> {
    file.rewind().map_err(|e| Failure::because("cannot read a temporary file", &e))?;
    Ok(file)
}

fn content_only(path: &[u8]) -> bool {
    path.ends_with(b"/.") || path == b"."
}

fn from_container(
    context: &Context,
    engine: &Engine,
    id: &ContainerId,
    path: &str,
    target: &Path,
    flags: &Cp,
) -> Result<(), Failure> {
    let content = content_only(path.as_bytes());
    let mut stat = engine.stat_path(id, OsStr::new(path)).map_err(Failure::from)?;
    if flags.follow_link {
        let (_, followed) = resolved(engine, id, path)?;
        stat = followed.unwrap_or(stat);
    }
    let is_folder = stat.mode & 0o170_000 == 0o040_000;
    let shown = target.display();
    let meta = target.metadata();
    let (folder, rename) = match &meta {
        Ok(meta) if meta.is_dir() => (target.to_owned(), None),
        Ok(_) if is_folder => {
            return Err(Failure::new(format!("cannot copy a folder over `{shown}`: it is no folder")));
        }
        _ if content && is_folder => {
            std::fs::create_dir(target)
                .map_err(|e| Failure::because(format!("cannot make the folder `{shown}`"), &e))?;
            (target.to_owned(), None)
        }
        Err(_) if target.as_os_str().as_bytes().ends_with(b"/") && !is_folder => {
            return Err(Failure::new(format!("cannot copy into `{shown}`: there is no such folder")));
        }
        _ => (parent(target), target.file_name().map(OsStr::to_owned)),
    };
    if !folder.is_dir() {
        return Err(Failure::new(format!("cannot copy into `{}`: there is no such folder", folder.display())));
    }
    let mut spool = scratch_file(context)?;
    engine.copy_from(id, OsStr::new(path), flags.follow_link, &mut spool).map_err(Failure::from)?;
    let mut spool = rewound(spool)?;
    unpack(&mut spool, &folder, &|name| renamed(name, rename.as_deref()), flags.archive)
}

/// The path of an entry with its first component replaced.
fn renamed(name: &[u8], first: Option<&OsStr>) -> Option<Vec<u8>> {
    let Some(first) = first else { return Some(name.to_vec()) };
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let mut path = first.as_bytes().to_vec();
    if let Some(slash) = name.iter().position(|byte| *byte == b'/') {
        path.extend_from_slice(&name[slash..]);
    }
    Some(path)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Follows the symbolic links at the end of a path inside; what is there, if anything.
fn resolved(engine: &Engine, id: &ContainerId, path: &str) -> Result<(PathBuf, Option<holm_pod::PathStat>), Failure> {
    let mut current = PathBuf::from(path);
    for _ in 0..LINKS_MAX {
        let stat = match engine.stat_path(id, current.as_os_str()) {
            Ok(stat) => stat,
            Err(holm_pod::Error::Path { .. }) => return Ok((current, None)),
            Err(holm_pod::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok((current, None));
            }
            Err(error) => return Err(error.into()),
        };
        match &stat.link_target {
            Some(link) => current = current.parent().unwrap_or(Path::new("/")).join(link),
            None => return Ok((current, Some(stat))),
        }
    }
    Err(Failure::new(format!("cannot copy into `{path}`: too many symbolic links")))
}

fn to_container(
    context: &Context,
    engine: &Engine,
    id: &ContainerId,
    source: &Path,
    target: &str,
    flags: &Cp,
) -> Result<(), Failure> {
    let shown = source.display();
    let bytes = source.as_os_str().as_bytes();
    let follow = flags.follow_link || bytes.ends_with(b"/");
    let meta = if follow { source.metadata() } else { source.symlink_metadata() };
    let meta = meta.map_err(|e| Failure::because(format!("cannot copy `{shown}`"), &e))?;
    let (path, stat) = resolved(engine, id, target)?;
    let target_is_folder = stat.as_ref().is_some_and(|stat| stat.mode & 0o170_000 == 0o040_000);
    let (folder, name): (PathBuf, Option<OsString>) = match stat {
        Some(_) if target_is_folder => {
            let name = if content_only(bytes) { None } else { Some(last_name(source)?) };
            (path, name)
        }
        Some(_) if meta.is_dir() => {
            return Err(Failure::new(format!("cannot copy the folder `{shown}` over `{target}`: it is no folder")));
        }
        None if target.ends_with('/') && !meta.is_dir() => {
            return Err(Failure::new(format!("cannot copy into `{target}`: there is no such folder")));
        }
        _ => (parent(&path), path.file_name().map(OsStr::to_owned)),
    };
    let mut spool = scratch_file(context)?;
    host::pack(source, name.as_deref(), follow, &mut spool)?;
    engine.copy_to(id, folder.as_os_str(), flags.archive, &mut rewound(spool)?).map_err(Failure::from)
}

fn last_name(source: &Path) -> Result<OsString, Failure> {
    if let Some(name) = source.file_name() {
        return Ok(name.to_owned());
    }
    // `.`, `..` and `/` have a name only once they are resolved.
    let full =
        source.canonicalize().map_err(|e| Failure::because(format!("cannot copy `{}`", source.display()), &e))?;
    Ok(full.file_name().unwrap_or(OsStr::new(".")).to_owned())
}

/// `holm export`
pub fn export(context: &Context, flags: &Export) -> Outcome {
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    match &flags.output {
        Some(path) => write_file(path, &mut |mut out| engine.export(&id, &mut out).map_err(Failure::from))?,
        None if terminal::is_terminal(rustix::stdio::stdout()) => {
            return Err(
                Failure::new("refusing to write a tar to a terminal").with_hint("--output FILE, or redirect it")
            );
        }
        None => {
            let mut out = std::io::BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
            engine.export(&id, &mut out).map_err(Failure::from)?;
            out.flush().map_err(|e| output::failed(&e))?;
        }
    }
    Ok(0)
}

/// `holm diff`
pub fn diff(context: &Context, flags: &Containers) -> Outcome {
    let engine = context.engine()?;
    super::for_each(&flags.containers, false, &|name| {
        let id = context.find(&engine, name)?;
        let mut text = String::new();
        for change in engine.diff(&id).map_err(Failure::from)? {
            let letter = match change.kind {
                ChangeKind::Modified => 'C',
                ChangeKind::Added => 'A',
                ChangeKind::Deleted => 'D',
            };
            text.push_str(&format!("{letter} {}\n", printable(&change.path.to_string_lossy())));
        }
        output::print(&text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        assert!(matches!(side("-"), Side::Stream));
        assert!(matches!(side("./a:b"), Side::Host(_)));
        assert!(matches!(side("/a:b"), Side::Host(_)));
        assert!(matches!(side("dir/a:b"), Side::Host(_)));
        assert!(matches!(side("plain"), Side::Host(_)));
        assert!(matches!(side("web:etc"), Side::Container(name, path) if name == "web" && path == "/etc"));
        assert!(matches!(side("web:/a:b"), Side::Container(name, path) if name == "web" && path == "/a:b"));
    }

    #[test]
    fn entries_are_renamed_in_their_first_component_only() {
        let new = |name: &[u8]| renamed(name, Some(OsStr::new("x"))).map(|b| String::from_utf8_lossy(&b).into_owned());
        assert_eq!(new(b"a/b/c").as_deref(), Some("x/b/c"));
        assert_eq!(new(b"./a").as_deref(), Some("x"));
        assert_eq!(renamed(b"a/b", None), Some(b"a/b".to_vec()));
    }
}
