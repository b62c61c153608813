//! Pull and unpack of an image of some 200 MB from a registry on loopback: a Debian system in one layer, and a generated
//! tree in six.

use std::path::PathBuf;
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
    let debian = debian_image(&Debian { name: "redis", packages: "redis-server", entrypoint: &["redis-server"] });
    let cases =
        [("debian", "a Debian system in one layer", debian), ("layers", "six layers of many files", generated(peers))];
    let measure = |(name, title, layout): (&str, &str, PathBuf)| {
        let reference = format!("bench/{name}:1");
        registry.push_layout(&layout, "test", &reference);
        one(peers, &registry.reference(&reference), name, title)
    };
    cases.into_iter().map(measure).collect()
}

fn one(peers: &Peers, reference: &str, name: &str, title: &str) -> Table {
    let pull = |mut engine: Command, more: &[&str]| -> Duration {
        engine.arg("pull").arg("-q").args(more).arg(reference);
        time(&mut engine)
    };
    // What the one before left to be written must not be the next one's burden.
    let forget = |mut engine: Command| {
        time(engine.args(["rmi", "-f", reference]));
        time(&mut Command::new("sync"));
    };
    let mut rows = vec![Contender::new("holm pull", || {
        let elapsed = pull(peers.holm(), &[]);
        forget(peers.holm());
        elapsed
    })];
    if peers.podman().is_some() {
        rows.push(Contender::new("podman pull", || {
            let elapsed = pull(peers.podman().expect("podman"), &["--tls-verify=false"]);
            forget(peers.podman().expect("podman"));
            elapsed
        }));
    }
    if peers.docker().is_some() {
        rows.push(Contender::new("docker pull", || {
            let elapsed = pull(peers.docker().expect("docker"), &[]);
            forget(peers.docker().expect("docker"));
            elapsed
        }));
    }
    let table =
        Table::new(&format!("unpack-{name}"), &format!("Pull and unpack: {title}"), "ms", in_turns(ROUNDS, rows));
    table.at_most_of("podman pull", 0.5)
}

/// Six layers of 700 files each, some 200 MB, half of it hard to compress.
fn generated(peers: &Peers) -> PathBuf {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
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
    let layout = peers.folder().join("generated");
    Image::new(layers).write_layout(&layout, "test");
    layout
}
