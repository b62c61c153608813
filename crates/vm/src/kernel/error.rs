//! Why there is no kernel for a machine. Every message says what failed and on what; hints are separate.

use std::io;
use std::path::{Path, PathBuf};

/// Why a kernel or its modules cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None is installed.
    #[error("cannot find a kernel for virtual machines: none in `{}` has its modules beside it", root.join("boot").display())]
    NoKernel {
        /// Where was searched.
        root: PathBuf,
    },
    /// The folder that was named holds none.
    #[error("cannot find a kernel in `{}`: expected `boot/vmlinuz-RELEASE` or `lib/modules/RELEASE/vmlinuz`", .0.display())]
    EmptyFolder(PathBuf),
    /// The file is no kernel that a machine boots.
    #[error("cannot use kernel `{}`", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Fault,
    },
    /// A module's file is damaged or belongs to another kernel.
    #[error("cannot use kernel module `{}`", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Fault,
    },
    /// The kernel has no such module, neither as a file nor built in.
    #[error("cannot find kernel module `{name}` in `{}`", folder.display())]
    NoModule {
        /// The module.
        name: String,
        /// The kernel's modules.
        folder: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a kernel's or a module's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Neither a bzImage nor an ELF file.
    #[error("it is no Linux kernel: neither a bzImage nor an ELF file")]
    NotAKernel,
    /// For another processor.
    #[error("it is for {0}, this machine is {here}", here = std::env::consts::ARCH)]
    Architecture(&'static str),
    /// Fields that contradict each other or the file's length.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A packing that Holm does not undo.
    #[error("it is packed with {0}, which cannot be unpacked here")]
    Packing(&'static str),
    /// The decompressor's own word.
    #[error("it is damaged: {packing}: {why}")]
    Unpack {
        /// The packing.
        packing: &'static str,
        /// The decompressor's error.
        why: String,
    },
    /// More than any kernel or module has.
    #[error("it is larger than {limit_mib} MiB unpacked")]
    TooLarge {
        /// The limit.
        limit_mib: usize,
    },
    /// The ELF file cannot be entered the way a hypervisor does.
    #[error("it has no PVH entry: it was built without CONFIG_PVH")]
    NoPvh,
    /// Built for another kernel.
    #[error("it was built for kernel {module}, this one is {kernel}")]
    Release {
        /// The module's.
        module: String,
        /// The kernel's.
        kernel: String,
    },
}

impl Error {
    /// What to type, where something helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKernel { .. } => Some(
                "install one: `apt-get install linux-image-cloud-amd64`; or only unpack it: `apt-get download PACKAGE && \
                 dpkg-deb -x PACKAGE*.deb FOLDER`, and name it with `--kernel FOLDER`"
                    .to_owned(),
            ),
            Self::EmptyFolder(_) => Some(
                "unpack a kernel's package there: `apt-get download PACKAGE && dpkg-deb -x PACKAGE*.deb FOLDER`".to_owned(),
            ),
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("run as root, or: `chmod a+r {}`", path.display()))
            }
            Self::NoModule { .. } | Self::Module { .. } => {
                Some("name the folder of this very kernel's modules with `--modules FOLDER`".to_owned())
            }
            Self::Kernel { source: Fault::NoPvh, .. } => Some("use the kernel's bzImage (`vmlinuz`)".to_owned()),
            Self::Kernel { .. } | Self::Io { .. } => None,
        }
    }
}

/// An error of reading or writing `path`.
pub(crate) fn io_error(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
    Error::Io { action, path: path.to_owned(), source: source.into() }
}
