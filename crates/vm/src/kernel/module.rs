//! The guest's modules: which are wanted, what they need in turn, and in which order they are loaded.
//!
//! A package's modules come without `modules.dep`, which is made where they are installed, so the needs are read from the
//! modules themselves.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::compression::Packing;
use super::elf::Elf;
use super::{Error, Fault, io_error};

/// No module is larger unpacked; the largest of distributions have some 20 MiB.
pub const MAX_MODULE_BYTES: usize = 64 << 20;
/// Deeper than any kernel's folders.
const MAX_DEPTH: usize = 16;
const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// How a machine's devices are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bus {
    /// virtio-mmio: QEMU's `microvm`.
    Mmio,
    /// virtio-mmio, in a machine that has folders of the host.
    MmioSharing,
    /// PCI: QEMU's `q35`.
    Pci,
}

/// A module that the agent wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name; `-` and `_` are the same.
    pub name: &'static str,
    /// Whether the machine is of no use without.
    pub needed: bool,
}

const fn needed(name: &'static str) -> Wanted {
    Wanted { name, needed: true }
}

const fn welcome(name: &'static str) -> Wanted {
    Wanted { name, needed: false }
}

/// What every machine has, the channel to the host first: the agent stops the binding of drivers after it.
const ON_MMIO: [Wanted; 8] = [
    needed("virtio_mmio"),
    needed("virtio_console"),
    needed("virtio_blk"),
    needed("virtio_net"),
    welcome("virtio_rng"),
    needed("erofs"),
    needed("overlay"),
    needed("ext4"),
];
/// Those, and what shows folders of the host: some 20 ms that other machines do without.
const ON_MMIO_SHARING: [Wanted; 10] = [
    needed("virtio_mmio"),
    needed("virtio_console"),
    needed("virtio_blk"),
    needed("virtio_net"),
    welcome("virtio_rng"),
    needed("erofs"),
    needed("overlay"),
    needed("ext4"),
    needed("fuse"),
    needed("virtiofs"),
];
/// Those, and what only hot-plugged machines have: each costs an emulated boot some 20 ms.
const ON_PCI: [Wanted; 13] = [
    needed("virtio_pci"),
    needed("virtio_console"),
    needed("virtio_blk"),
    needed("virtio_net"),
    welcome("virtio_rng"),
    needed("erofs"),
    needed("overlay"),
    needed("ext4"),
    welcome("fuse"),
    welcome("virtiofs"),
    welcome("virtio_balloon"),
    welcome("pvpanic_mmio"),
    welcome("vmw_vsock_virtio_transport"),
];

/// What a machine of that kind wants, in the order of loading.
pub fn wanted(bus: Bus) -> &'static [Wanted] {
    match bus {
        Bus::Mmio => &ON_MMIO,
        Bus::MmioSharing => &ON_MMIO_SHARING,
        Bus::Pci => &ON_PCI,
    }
}

/// A module to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` throughout.
    pub name: String,
    /// The ELF file, unpacked.
    pub bytes: Vec<u8>,
}

/// What a module says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules without whose symbols it cannot be loaded.
    pub depends: Vec<String>,
    /// Modules that shall be there before, where there are such.
    pub before: Vec<String>,
    /// The release it was built for.
    pub release: Option<String>,
}

impl ModInfo {
    /// Reads `.modinfo`, `key=value` with a NUL after each. *Source*: linux/module.h, `MODULE_INFO`.
    pub fn parse(file: &[u8]) -> Result<Self, Fault> {
        let elf = Elf::parse(file)?;
        let section = elf.section(".modinfo").ok_or(Fault::Damaged("it has no `.modinfo`"))?;
        let mut info = Self::default();
        for entry in section.split(|b| *b == 0).filter_map(|entry| std::str::from_utf8(entry).ok()) {
            match entry.split_once('=') {
                Some(("depends", names)) => info.depends.extend(names.split(',').filter(|n| !n.is_empty()).map(normal)),
                Some(("softdep", text)) => info.before.extend(words_before(text)),
                Some(("vermagic", text)) => info.release = text.split(' ').next().map(str::to_owned),
                _ => {}
            }
        }
        Ok(info)
    }
}

/// The names after `pre:` in `pre: a b post: c`.
fn words_before(text: &str) -> impl Iterator<Item = String> {
    let mut before = false;
    let words = text.split_whitespace().filter(move |word| {
        if word.ends_with(':') {
            before = *word == "pre:";
        }
        before && !word.ends_with(':')
    });
    words.map(normal)
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// One kernel's modules by name.
#[derive(Debug)]
pub struct ModuleTree {
    folder: PathBuf,
    files: HashMap<String, PathBuf>,
    /// `None`: not said, so whatever has no file is taken for built in.
    built_in: Option<HashSet<String>>,
}

impl ModuleTree {
    /// Lists the folder of a kernel's modules.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut files = HashMap::new();
        let under = folder.join("kernel");
        list(if under.is_dir() { &under } else { folder }, MAX_DEPTH, &mut files)?;
        let path = folder.join("modules.builtin");
        let built_in = match fs::read_to_string(&path) {
            Ok(text) => Some(text.lines().filter_map(|line| module_name(line.rsplit('/').next()?)).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("read", &path, error)),
        };
        Ok(Self { folder: folder.to_owned(), files, built_in })
    }

    /// The modules that `wanted` comes to, each once and after those it needs.
    pub fn resolve(&self, wanted: &[Wanted], release: Option<&str>) -> Result<Vec<Module>, Error> {
        let mut plan = Plan { tree: self, release, seen: HashSet::new(), order: Vec::new() };
        for wish in wanted {
            plan.add(&normal(wish.name), wish.needed)?;
        }
        Ok(plan.order)
    }

    fn read(&self, name: &str) -> Option<Result<Vec<u8>, Error>> {
        let path = self.files.get(name)?;
        let file = fs::read(path).map_err(|error| io_error("read", path, error));
        Some(file.and_then(|bytes| {
            let unpacked = match Packing::recognise(&bytes) {
                Some(packing) => packing.unpack(&bytes, MAX_MODULE_BYTES),
                None => Ok(bytes),
            };
            unpacked.map_err(|source| Error::Module { path: path.clone(), source })
        }))
    }
}

/// A resolution under way.
struct Plan<'a> {
    tree: &'a ModuleTree,
    release: Option<&'a str>,
    seen: HashSet<String>,
    order: Vec<Module>,
}

impl Plan<'_> {
    /// Adds a module behind those it needs. A circle ends where it began.
    fn add(&mut self, name: &str, needed: bool) -> Result<(), Error> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(bytes) = self.tree.read(name).transpose()? else {
            let known = self.tree.built_in.as_ref().is_some_and(|names| !names.contains(name));
            let folder = &self.tree.folder;
            return if known && needed {
                Err(Error::NoModule { name: name.to_owned(), folder: folder.clone() })
            } else {
                Ok(())
            };
        };
        let path = &self.tree.files[name];
        let failed = |source| Error::Module { path: path.clone(), source };
        let info = ModInfo::parse(&bytes).map_err(failed)?;
        if let (Some(module), Some(kernel)) = (&info.release, self.release)
            && module != kernel
        {
            return Err(failed(Fault::Release { module: module.clone(), kernel: kernel.to_owned() }));
        }
        for before in &info.before {
            self.add_before(before)?;
        }
        for other in &info.depends {
            self.add(other, true)?;
        }
        self.order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }

    /// What shall be there before is often an algorithm, which the module with `_generic` in its name has.
    fn add_before(&mut self, name: &str) -> Result<(), Error> {
        let name = name.strip_prefix("crypto_").unwrap_or(name);
        let generic = format!("{name}_generic");
        let file = [name, &generic].into_iter().find(|name| self.tree.files.contains_key(*name));
        file.map_or(Ok(()), |name| self.add(name, false))
    }
}

fn module_name(file: &str) -> Option<String> {
    SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).map(normal)
}

fn list(folder: &Path, depth: usize, found: &mut HashMap<String, PathBuf>) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(|error| io_error("list", folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| io_error("list", folder, error))?;
        let kind = entry.file_type().map_err(|error| io_error("examine", &entry.path(), error))?;
        if kind.is_dir() && depth > 0 {
            list(&entry.path(), depth - 1, found)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(module_name).filter(|_| kind.is_file()) {
            found.insert(name, entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
