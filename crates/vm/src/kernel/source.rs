//! Where the guest's kernel comes from: a file, an unpacked package, or what is installed on this machine.
//!
//! ```text
//! --kernel FILE      FILE, and --modules FOLDER or the modules of the package that FILE lies in
//! --kernel FOLDER    FOLDER/boot/vmlinuz-RELEASE and FOLDER/lib/modules/RELEASE, the newest that has both
//! neither            the running kernel where it is installed, else the newest installed with its modules
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, io_error, version};

const MODULE_FOLDERS: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelRequest<'a> {
    /// A kernel's file, or a folder with an unpacked package.
    pub kernel: Option<&'a Path>,
    /// The folder of one kernel's modules, the one with `kernel/` in it.
    pub modules: Option<&'a Path>,
}

/// A kernel's file and its modules, as found; nothing is read of them yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSource {
    /// A bzImage or ELF file.
    pub kernel: PathBuf,
    /// The folder of its modules, if it has any.
    pub modules: Option<PathBuf>,
}

impl KernelSource {
    /// Finds the kernel on this machine.
    pub fn find(request: KernelRequest<'_>) -> Result<Self, Error> {
        let running = rustix::system::uname();
        Self::find_below(Path::new("/"), &running.release().to_string_lossy(), request)
    }

    /// Finds the kernel where `root` holds what is installed and `running` is the running kernel's release.
    pub fn find_below(root: &Path, running: &str, request: KernelRequest<'_>) -> Result<Self, Error> {
        let mut found = match request.kernel {
            None => Self::installed(root, running)?,
            Some(path) => {
                let path = path.canonicalize().map_err(|error| io_error("find kernel", path, error))?;
                if path.is_dir() { Self::in_package(&path)? } else { Self::with_neighbours(path) }
            }
        };
        if let Some(modules) = request.modules {
            let folder = modules.canonicalize().map_err(|error| io_error("find modules", modules, error))?;
            found.modules = Some(folder);
        }
        Ok(found)
    }

    /// The release by the names of files and folders, without reading any.
    pub fn release(&self) -> String {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match &self.modules {
            Some(folder) => name(folder),
            None => {
                let file = name(&self.kernel);
                file.strip_prefix("vmlinuz-").map(str::to_owned).unwrap_or(file)
            }
        }
    }

    fn installed(root: &Path, running: &str) -> Result<Self, Error> {
        let here = Self::of_release(root, running).filter(|found| found.modules.is_some());
        let newest =
            || releases(root).iter().rev().filter_map(|r| Self::of_release(root, r)).find(|f| f.modules.is_some());
        here.or_else(newest).ok_or_else(|| Error::NoKernel { root: root.to_owned() })
    }

    fn in_package(folder: &Path) -> Result<Self, Error> {
        let mut all: Vec<Self> = releases(folder).iter().filter_map(|r| Self::of_release(folder, r)).collect();
        // Stable: among those with modules, and among those without, the order by release stays.
        all.sort_by_key(|found| found.modules.is_some());
        all.pop().ok_or_else(|| Error::EmptyFolder(folder.to_owned()))
    }

    /// The kernel of that release below `root`: where packages put it, with what they put beside it.
    fn of_release(root: &Path, release: &str) -> Option<Self> {
        let modules = modules_of(root, release);
        let boot = root.join("boot").join(format!("vmlinuz-{release}"));
        let beside = modules.as_ref().map(|folder| folder.join("vmlinuz"));
        let kernel = [Some(boot), beside].into_iter().flatten().find(|path| path.is_file())?;
        Some(Self { kernel, modules })
    }

    /// A file as it was named, with the modules of the package that it lies in.
    fn with_neighbours(kernel: PathBuf) -> Self {
        let parent = kernel.parent().unwrap_or(Path::new("/"));
        let name = kernel.file_name().unwrap_or_default().to_string_lossy();
        let release = ["vmlinuz-", "vmlinux-"].iter().find_map(|prefix| name.strip_prefix(prefix));
        let modules = match release {
            Some(release) if parent.ends_with("boot") => parent.parent().and_then(|root| modules_of(root, release)),
            _ => parent.join("kernel").is_dir().then(|| parent.to_owned()),
        };
        Self { kernel, modules }
    }
}

/// The folder of a release's modules. One with headers alone is none.
fn modules_of(root: &Path, release: &str) -> Option<PathBuf> {
    let folders = MODULE_FOLDERS.iter().map(|under| root.join(under).join(release));
    folders.into_iter().find(|folder| folder.join("kernel").is_dir())
}

/// Every release of which there is a kernel's file or a folder of modules, oldest first.
fn releases(root: &Path) -> Vec<String> {
    let names = |under: &str| -> Vec<String> {
        let entries = fs::read_dir(root.join(under)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found: BTreeSet<String> =
        names("boot").iter().filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned)).collect();
    found.extend(MODULE_FOLDERS.iter().flat_map(|under| names(under)));
    let mut sorted: Vec<String> = found.into_iter().collect();
    sorted.sort_by(|a, b| version::compare(a, b));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
    }

    #[track_caller]
    fn check(files: &[&str], request: (Option<&str>, Option<&str>), expected: Option<(&str, Option<&str>)>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        touch(&root, files);
        let [kernel, modules] = [request.0, request.1].map(|under| under.map(|under| root.join(under)));
        let request = KernelRequest { kernel: kernel.as_deref(), modules: modules.as_deref() };
        let found = KernelSource::find_below(&root, "6.5.0-run", request);
        let Some((kernel, modules)) = expected else {
            assert!(found.as_ref().is_err_and(|error| error.hint().is_some()), "{found:?}");
            return;
        };
        let expected = KernelSource { kernel: root.join(kernel), modules: modules.map(|under| root.join(under)) };
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn running_kernel_is_first_and_then_the_newest_with_modules() {
        let old = ["boot/vmlinuz-6.9.1", "lib/modules/6.9.1/kernel/a.ko"];
        let new = ["boot/vmlinuz-6.10.1", "usr/lib/modules/6.10.1/kernel/a.ko"];
        let run = ["boot/vmlinuz-6.5.0-run", "lib/modules/6.5.0-run/kernel/a.ko"];
        let bare = ["boot/vmlinuz-7.0.0", "lib/modules/7.0.0/build/Makefile"];
        let fedora = ["lib/modules/6.12/vmlinuz", "lib/modules/6.12/kernel/a.ko"];
        let none = (None, None);
        let all = [&old[..], &new, &run, &bare].concat();
        check(&all, none, Some(("boot/vmlinuz-6.5.0-run", Some("lib/modules/6.5.0-run"))));
        let others = [&old[..], &new, &bare, &run[..1]].concat();
        check(&others, none, Some(("boot/vmlinuz-6.10.1", Some("usr/lib/modules/6.10.1"))));
        check(&[&old[..], &fedora].concat(), none, Some(("lib/modules/6.12/vmlinuz", Some("lib/modules/6.12"))));
        check(&bare, none, None);
        check(&[], none, None);
    }

    #[test]
    fn named_kernel_brings_the_modules_of_its_package() {
        let package = ["p/boot/vmlinuz-6.1", "p/lib/modules/6.1/kernel/a.ko", "p/boot/vmlinuz-6.2", "m/kernel/a.ko"];
        let modules = Some("p/lib/modules/6.1");
        check(&package, (Some("p"), None), Some(("p/boot/vmlinuz-6.1", modules)));
        check(&package, (Some("p/boot/vmlinuz-6.1"), None), Some(("p/boot/vmlinuz-6.1", modules)));
        check(&package, (Some("p/boot/vmlinuz-6.2"), None), Some(("p/boot/vmlinuz-6.2", None)));
        check(&package, (Some("p/boot/vmlinuz-6.2"), Some("m")), Some(("p/boot/vmlinuz-6.2", Some("m"))));
        check(&["bzImage"], (Some("bzImage"), None), Some(("bzImage", None)));
        check(&["p/boot/vmlinuz-6.2"], (Some("p"), None), Some(("p/boot/vmlinuz-6.2", None)));
        check(&["p/boot/config-6.2"], (Some("p"), None), None);
    }
}
