//! Programs that are installed on this machine, as layers of images: the files and the libraries that they are linked with.
//!
//! Cheaper than a system of its own ([`crate::debian_image`]) where a test needs the program and not its package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{Entry, Holm, Layer, Tar};

/// A layer with these programs, each an absolute path, at the same places.
///
/// # Panics
/// If one is not installed.
pub fn installed_layer(programs: &[&str]) -> Layer {
    let mut files = BTreeMap::new();
    for program in programs {
        let needed = Holm::program("ldd").arg(program).ok();
        let libraries = needed.stdout.lines().filter_map(path_in);
        for path in libraries.chain([*program]) {
            let content = std::fs::read(path).unwrap_or_else(|error| panic!("cannot read `{path}`: {error}"));
            files.insert(path.trim_start_matches('/').to_owned(), content);
        }
    }
    let above = |path: &str| Path::new(path).ancestors().skip(1).map(|p| p.display().to_string()).collect::<Vec<_>>();
    let folders: BTreeSet<String> = files.keys().flat_map(|path| above(path)).filter(|path| !path.is_empty()).collect();
    let tar = Tar::new()
        .with_all(folders.iter().map(Entry::folder))
        .with_all(files.iter().map(|(path, content)| Entry::file(path, content).mode(0o755)));
    Layer::plain(&tar.finish())
}

/// The file that a line of ldd's names: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld.so.2 (0x…)`.
fn path_in(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}
