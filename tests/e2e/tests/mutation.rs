//! Mutated documents and layers, by fixed seeds: never a panic, never a hang, never anything left. What `fuzz/` does for
//! hours, for a few seconds and through the whole program.

use std::time::Duration;

use holm_kit::{Entry, Image, Layer, Leaks, Numbers, Scratch, Tar, mutate};

#[test]
fn mutated_layers_never_break_the_store() {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let seed = Tar::new()
        .with(Entry::folder("a").mode(0o1777))
        .with(Entry::file("a/b", "hello").owner(1, 2).xattr("security.capability", "x"))
        .with(Entry::symlink("a/c", "../b"))
        .with(Entry::hardlink("d", "a/b"))
        .with(Entry::file("n".repeat(150), "long"))
        .with(Entry::file("a/.wh.gone", ""))
        .with(Entry::device("null", 1, 3))
        .with(Entry::fifo("pipe"))
        .finish();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..150 {
        let tar = mutate(&seed, &mut numbers);
        let output =
            scratch.holm(["import", "-", "localhost/m:1"]).input(tar).limit(Duration::from_secs(20)).run().calm();
        assert!(output.exit_code() < 128, "round {round}: {output}");
        if output.status.success() {
            scratch.holm(["rmi", "localhost/m:1"]).ok();
        }
    }
    scratch.holm(["image", "prune", "-a", "-f"]).ok();
    leaks.assert_none();
}

#[test]
fn mutated_documents_never_break_the_store() {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let image = Image::new([Layer::plain(&Tar::new().with(Entry::file("a", "b")).finish())]);
    let manifest = image.manifest();
    let mut numbers = Numbers(0xdead_beef_cafe_f00d);
    for round in 0..150 {
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path(), "localhost/m:1");
        let spoilt = mutate(&manifest.bytes, &mut numbers);
        let digest = holm_kit::sha256(&spoilt);
        std::fs::write(folder.path().join("blobs/sha256").join(&digest[7..]), &spoilt).unwrap();
        let index = std::fs::read_to_string(folder.path().join("index.json")).unwrap();
        let index = index.replace(&manifest.digest(), &digest);
        let index = index.replace(&format!(":{}", manifest.bytes.len()), &format!(":{}", spoilt.len()));
        let index = if round % 3 == 0 { mutate(index.as_bytes(), &mut numbers) } else { index.into_bytes() };
        std::fs::write(folder.path().join("index.json"), index).unwrap();
        let output = scratch.holm(["load", "-i"]).arg(folder.path()).limit(Duration::from_secs(20)).run().calm();
        assert!(output.exit_code() < 128, "round {round}: {output}");
        scratch.holm(["image", "prune", "-a", "-f"]).ok();
    }
    leaks.assert_none();
}
