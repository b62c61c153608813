//! Pull and unpack of images of some 200 MB from a registry on loopback: a Debian system in one layer, and a generated
//! tree in six.
//!
//! Each round pulls another image of the same kind and nothing is removed before the end: ext4 goes out of its way not to
//! use again the inodes of what was just removed, and that would be measured instead.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holm_kit::{Debian, Entry, Image, Layer, Registry, RegistryOptions, Tar, debian_image};

use crate::peer::Peers;
use crate::report::Table;
use crate::runner::{Contender, in_turns, time};

const ROUNDS: usize = 3;

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let registry = Registry::start(RegistryOptions::default());
    let push = |name: &str, image: &Image, round: usize| {
        let layout = peers.folder().join("layout");
        image.write_layout(&layout, "test");
        registry.push_layout(&layout, "test", &format!("bench/{name}:{round}"));
        std::fs::remove_dir_all(&layout).expect("remove a layout");
    };
    let debian = debian_tar(peers.folder());
    for round in 0..=ROUNDS {
        push("debian", &Image::new([marked(&debian, round)]), round);
        push("layers", &generated(round), round);
    }
    let of = |name: &str| registry.reference(&format!("bench/{name}"));
    vec![
        one(peers, &of("debian"), "unpack-debian", "a Debian system in one layer"),
        one(peers, &of("layers"), "unpack-layers", "six layers of many files"),
    ]
}

fn one(peers: &Peers, repository: &str, name: &str, title: &str) -> Table {
    let puller = |engine: fn(&Peers) -> Option<Command>, more: &'static [&'static str]| {
        let round = Cell::new(0);
        move || -> Duration {
            // What the one before left to be written must not be this one's burden.
            time(&mut Command::new("sync"));
            let mut command = engine(peers).expect("an engine");
            command.args(["pull", "-q"]).args(more).arg(format!("{repository}:{}", round.replace(round.get() + 1)));
            time(&mut command)
        }
    };
    let mut rows = vec![Contender::new("holm pull", puller(|peers| Some(peers.holm()), &[]))];
    if peers.podman().is_some() {
        rows.push(Contender::new("podman pull", puller(Peers::podman, &["--tls-verify=false"])));
    }
    if peers.docker().is_some() {
        rows.push(Contender::new("docker pull", puller(Peers::docker, &[])));
    }
    let table = Table::new(name, &format!("Pull and unpack: {title}"), "ms", in_turns(ROUNDS, rows));
    table.at_most_of("podman pull", 0.5)
}

/// The plain tar of a Debian system of some 200 MB.
fn debian_tar(folder: &Path) -> Vec<u8> {
    let system = Debian { name: "bench", packages: "redis-server,python3,git,perl", entrypoint: &["bash"] };
    let blobs = debian_image(&system).join("blobs/sha256");
    let sizes = std::fs::read_dir(blobs).expect("list blobs").flatten();
    let largest = sizes.max_by_key(|entry| entry.metadata().map_or(0, |found| found.len())).expect("a layer");
    let tar = folder.join("debian.tar");
    let script = "gzip -dc \"$1\" >\"$2\"";
    time(Command::new("sh").args(["-c", script, "sh"]).arg(largest.path()).arg(&tar));
    let bytes = std::fs::read(&tar).expect("read a layer");
    std::fs::remove_file(tar).expect("remove a file");
    bytes
}

/// The layer with one file more, so that it is another.
fn marked(tar: &[u8], round: usize) -> Layer {
    let mark = Tar::new().with(Entry::file("mark", round.to_string())).unfinished();
    Layer::gzip(&[&mark, tar].concat())
}

/// Six layers of 700 files each, some 200 MB, half of it hard to compress.
fn generated(round: usize) -> Image {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 + round as u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let random: Vec<u8> = (0..1 << 21).flat_map(|_| noise().to_le_bytes()).collect();
    let words = b"what is said here is said again and again, as in most text \n".repeat(1000);
    let layers = (0..6_usize).map(|layer| {
        let files = (0..700_usize).map(|file| {
            let start = (layer * 700 + file) * 4001 % (random.len() - 40_000);
            let content = [&random[start..start + 24_000], &words[..24_000]].concat();
            Entry::file(format!("usr/share/{layer}/{}/{file}", file % 30), content)
        });
        Layer::gzip(&Tar::new().with_all(files).finish())
    });
    Image::new(layers)
}
