//! The root file system of a container as a detached mount: an overlay of layers, or a folder.
//!
//! Nothing is mounted on the host's tree: the mount lives by its descriptor, is attached inside the container's own mount
//! namespace, and is gone with the last of both. Layers and folders are made elsewhere.

mod mapped;

pub(crate) use mapped::map_owners;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags};

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
        match overlay_by_layer(layers, upper) {
            // Before Linux 6.8 there is no `lowerdir+`, and each generation refuses it at another step.
            Err(RootfsError::Call { source, .. }) if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                overlay_joined(layers, upper).map(|mount| Self { mount })
            }
            other => other.map(|mount| Self { mount }),
        }
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

/// All layers in one string, which is capped at 255 bytes for `fsconfig` and one page for `mount`. Layers are named by
/// their descriptors' links, which stay short.
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
        return overlay_by_mount(&joined, top, upper);
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

/// For many layers on old kernels: mounted for a moment over the folder of changes, cloned and taken away.
fn overlay_by_mount(joined: &str, top: &Path, upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    let Some(upper) = upper else {
        return Err(failed("make a read-only overlay over", top)(Errno::OPNOTSUPP));
    };
    let mut options = format!("lowerdir={joined},upperdir={},workdir={}", upper.upper.display(), upper.work.display());
    if upper.volatile {
        options.push_str(",volatile");
    }
    let options = std::ffi::CString::new(options).map_err(|_| failed("use", upper.upper)(Errno::INVAL))?;
    rustix::mount::mount("overlay", upper.upper, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(failed("mount an overlay on", upper.upper))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = rustix::mount::open_tree(CWD, upper.upper, flags).map_err(failed("clone the overlay on", upper.upper));
    rustix::mount::unmount(upper.upper, UnmountFlags::DETACH).map_err(failed("unmount", upper.upper))?;
    clone
}
