//! tag, rmi, prune, and what happens to an image that is in use.

use holm_kit::{BUSYBOX, Entry, Image, Layer, Leaks, Scratch, Tar, busybox_layer};

#[test]
fn tags_are_names_and_the_last_one_takes_the_image() {
    let scratch = Scratch::with_busybox();
    scratch.holm(["tag", BUSYBOX, "localhost/other:2"]).ok();
    scratch.holm(["rmi", BUSYBOX]).ok().mentions("Untagged");
    scratch.run(["--rm", "localhost/other:2", "true"]).ok();
    scratch.holm(["rmi", "localhost/other:2"]).ok().mentions("Deleted");
    scratch.holm(["images", "-q"]).ok().says("");
    scratch.holm(["rmi", BUSYBOX]).fails(1).complains("busybox");
    scratch.holm(["tag", BUSYBOX, "localhost/x:1"]).fails(1);
    let left = std::fs::read_dir(scratch.data_root().join("layers"))
        .map_or(0, |entries| entries.flatten().filter(|entry| entry.file_name().len() > 32).count());
    assert_eq!(left, 0, "layers are left");
}

#[test]
fn image_in_use_is_kept_and_force_removes_the_name_only_safely() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("user", &[], &["sleep", "1000"]);
    let output = scratch.holm(["rmi", BUSYBOX]).run().calm();
    assert_ne!(output.exit_code(), 0, "{output}");
    scratch.holm(["image", "prune", "-a", "-f"]).ok();
    scratch.holm(["system", "prune", "-a", "-f"]).ok();
    scratch.holm(["exec", "user", "cat", "/etc/motd"]).ok().says("from the image");
    scratch.holm(["rm", "-f", "user"]).ok();
    leaks.assert_none();
    scratch.holm(["image", "prune", "-a", "-f"]).ok();
    scratch.holm(["images", "-q"]).ok().says("");
}

#[test]
fn prune_takes_what_has_no_name() {
    let scratch = Scratch::with_busybox();
    let top = Layer::gzip(&Tar::new().with(Entry::file("x", "1")).finish());
    let layout = scratch.path().join("l");
    Image::new([busybox_layer(), top]).write_layout(&layout, BUSYBOX);
    scratch.holm(["load", "-i", layout.to_str().unwrap()]).ok();
    scratch.holm(["images", "-q", "--filter", "dangling=true"]).ok();
    scratch.holm(["image", "prune", "-f"]).ok();
    assert_eq!(scratch.holm(["images", "-q"]).ok().text().lines().count(), 1);
    scratch.run(["--rm", BUSYBOX, "cat", "/x"]).ok().says("1");
}

#[test]
fn image_is_found_by_id_and_by_its_beginning() {
    let scratch = Scratch::with_busybox();
    let id = scratch.holm(["images", "-q", "--no-trunc"]).ok().text().to_owned();
    let digits = id.strip_prefix("sha256:").unwrap();
    for name in [id.as_str(), digits, &digits[..12], "localhost/busybox:test"] {
        scratch.run(["--rm", "--pull", "never", name, "true"]).ok();
    }
    scratch.holm(["rmi", "-f", &digits[..12]]).ok();
    scratch.holm(["images", "-q"]).ok().says("");
}

/// As many layers as the format's makers allow, and more than one mount option of old kernels could name.
#[test]
fn image_of_128_layers_runs_with_all_of_them() {
    let scratch = Scratch::new();
    let layer = |n: u32| Layer::plain(&Tar::new().with(Entry::file(format!("many/{n}"), n.to_string())).finish());
    let layers = std::iter::once(busybox_layer()).chain((1..128).map(layer));
    let archive = scratch.write("many.tar", Image::new(layers).docker_archive("localhost/many:1"));
    scratch.holm(["load", "-q", "-i"]).arg(&archive).ok();
    scratch.run(["--rm", "localhost/many:1", "sh", "-c", "ls /many | wc -l; cat /many/127"]).ok().says("127\n127");
}

#[test]
fn prune_takes_only_what_its_filters_fit() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let prune = |words: &[&str]| scratch.holm(words).arg("-f").ok();
    for (name, label) in [("old", "keep=no"), ("kept", "keep=yes")] {
        let image = format!("localhost/{name}:1");
        scratch.run(["--name", name, "--label", label, BUSYBOX, "true"]).ok();
        scratch.holm(["commit", "--change", &format!("LABEL {label}"), name, &image]).ok();
        scratch.holm(["volume", "create", "--label", label, name]).ok();
    }
    prune(&["container", "prune", "--filter", "until=1h"]);
    assert_eq!(scratch.holm(["ps", "-aq"]).ok().text().lines().count(), 2);
    prune(&["container", "prune", "--filter", "label!=keep=yes"]);
    scratch.holm(["ps", "-a", "--format", "{{.Names}}"]).ok().says("kept");
    prune(&["volume", "prune", "-a", "--filter", "label=keep=no"]).mentions("old").omits("kept");
    scratch.holm(["volume", "ls", "-q"]).ok().says("kept");
    prune(&["image", "prune", "-a", "--filter", "until=1h"]).omits("Deleted");
    prune(&["image", "prune", "-a", "--filter", "label=keep=no"]).mentions("localhost/old:1").omits("localhost/kept");
    let left = scratch.holm(["images", "--format", "{{.Repository}}"]).ok();
    assert!(left.text().contains("localhost/kept") && !left.text().contains("localhost/old"), "{left}");
    scratch.holm(["system", "prune", "-f", "--volumes", "--filter", "until=1h"]).fails(1).complains("until");
    scratch.holm(["image", "prune", "-f", "--filter", "nope=1"]).fails(125).complains("nope");
    scratch.holm(["volume", "prune", "-f", "--filter", "until=1h"]).fails(125).complains("until");
    prune(&["system", "prune", "-a", "--filter", "label=keep=yes"]).mentions("localhost/kept:1");
    scratch.holm(["images", "--format", "{{.Repository}}"]).ok().says("localhost/busybox");
    scratch.holm(["ps", "-aq"]).ok().says("");
    scratch.holm(["volume", "rm", "kept"]).ok();
    leaks.assert_none();
}
