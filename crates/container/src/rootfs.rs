//! The root file system of a container as a detached mount: an overlay of layers, or a folder.
//!
//! Nothing is mounted on the host's tree: the mount lives by its descriptor, is attached inside the container's own mount
//! namespace, and is gone with the last of both. Layers and folders are made elsewhere.

mod apart;
mod mapped;

pub(crate) use mapped::map_owners;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use apart::Lower;

/// Most layers that overlayfs stacks. *Source*: fs/overlayfs/params.h, `OVL_MAX_STACK`.
pub const MAX_LAYERS: usize = 500;

/// Why a root file system could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// More layers than overlayfs takes.
    #[error("cannot stack {0} layers: overlayfs takes at most {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A call failed.
    #[error("cannot {what} `{path}`")]
    Call {
        /// What was being done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A detached root file system.
#[derive(Debug)]
pub struct Rootfs {
    mount: OwnedFd,
}

/// Where an overlay keeps its changes.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The folder of changes.
    pub upper: &'a Path,
    /// Overlayfs' own scratch folder on the same file system.
    pub work: &'a Path,
    /// Skip all syncs: for what is thrown away after a crash anyway.
    pub volatile: bool,
}

impl Rootfs {
    /// Stacks `layers`, lowest first, under `upper`; read-only where there is none.
    ///
    /// *Kernel*: 5.15; `lowerdir+` is used where present (6.8). *Privilege*: CAP_SYS_ADMIN.
    pub fn overlay(layers: &[PathBuf], upper: Option<Upper<'_>>) -> Result<Self, RootfsError> {
        if layers.len() > MAX_LAYERS {
            return Err(RootfsError::TooManyLayers(layers.len()));
        }
        if let ([only], None) = (layers, &upper) {
            return Self::directory(only);
        }
        let made = if kernel_has(6, 8) { overlay_by_layer(layers, upper) } else { overlay_joined(layers, upper) };
        made.map(|mount| Self { mount })
    }

    /// Takes a folder as it is, with what is mounted below it.
    pub fn directory(path: &Path) -> Result<Self, RootfsError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let mount = rustix::mount::open_tree(CWD, path, flags).map_err(|e| RootfsError::Call {
            what: "use the root folder",
            path: path.to_owned(),
            source: e.into(),
        })?;
        Ok(Self { mount })
    }

    /// An empty root in memory, for a program that is given by mounts all that it may see. It is `owner`'s,
    /// who is the root of the program's user namespace.
    pub fn empty(owner: u32) -> Result<Self, RootfsError> {
        let name = Path::new("tmpfs");
        let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open", name))?;
        let owner = owner.to_string();
        for (key, value) in [("size", "1m"), ("mode", "0755"), ("uid", &owner), ("gid", &owner)] {
            rustix::mount::fsconfig_set_string(fs.as_fd(), key, value).map_err(failed("set the size of", name))?;
        }
        rustix::mount::fsconfig_create(fs.as_fd()).map_err(failed("make", name))?;
        let mount = rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(failed("mount", name))?;
        Ok(Self { mount })
    }

    /// Opens a path inside, every link in it being taken inside too. *Errors*: the kernel's.
    pub fn open_in_root(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        open_in_root(self.mount.as_fd(), path, flags)
    }
}

impl AsFd for Rootfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

/// Opens `path` below `root` as if `root` were `/`: no link, `..` or absolute name leads out of it, and no `/proc` link
/// to a descriptor is followed.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN means that something was renamed meanwhile; the kernel asks to try again.
    for _ in 0..128 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(Errno) -> RootfsError + 'a {
    move |e| RootfsError::Call { what, path: path.to_owned(), source: e.into() }
}

fn top_of(layers: &[PathBuf]) -> &Path {
    layers.last().map_or(Path::new("overlay"), PathBuf::as_path)
}

/// One call a layer, no limit on the length of paths. *Kernel*: 6.8.
fn overlay_by_layer(layers: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    let top = top_of(layers);
    let fs = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open overlay for", top))?;
    for layer in layers.iter().rev() {
        rustix::mount::fsconfig_set_string(&fs, "lowerdir+", layer.as_path()).map_err(failed("add layer", layer))?;
    }
    finish_overlay(fs.as_fd(), top, upper)
}

/// All layers in one string, which is capped at 255 bytes. Layers are named by their descriptors' links, which stay short;
/// where there are still too many, the overlay is made apart.
fn overlay_joined(layers: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    let top = top_of(layers);
    let mut held = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        held.push(rustix::fs::open(layer, flags, Mode::empty()).map_err(failed("open layer", layer))?);
    }
    let names: Vec<String> = held.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let joined = names.join(":");
    if joined.len() > 255 {
        let lowers: Vec<Lower> = layers.iter().cloned().map(Lower::Folder).collect();
        return apart::overlay(&lowers, upper);
    }
    let fs = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open overlay for", top))?;
    rustix::mount::fsconfig_set_string(&fs, "lowerdir", joined.as_str()).map_err(failed("add layers up to", top))?;
    finish_overlay(fs.as_fd(), top, upper)
}

fn finish_overlay(fs: BorrowedFd<'_>, top: &Path, upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    if let Some(upper) = upper {
        let set = |key, path| rustix::mount::fsconfig_set_string(fs, key, path).map_err(failed("use", path));
        set("upperdir", upper.upper)?;
        set("workdir", upper.work)?;
        if upper.volatile {
            rustix::mount::fsconfig_set_flag(fs, "volatile").map_err(failed("set volatile on", upper.upper))?;
        }
    }
    rustix::mount::fsconfig_create(fs).map_err(failed("make an overlay over", top))?;
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed("mount the overlay over", top))
}

/// Whether the running kernel is this one or a later one. For calls that an older one answers in its log as well.
fn kernel_has(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}
