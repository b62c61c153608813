//! Attacks by files: tars, links and races that want to read or write outside their root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use holm_kit::{BUSYBOX, Entry, Image, Layer, Leaks, Scratch, Tar, busybox_layer};

const EVIL: &str = "localhost/evil:1";

/// A folder of the host that nothing may touch.
struct Canary(tempfile::TempDir);

impl Canary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "of the host").unwrap();
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// The path from any folder not deeper than a dozen.
    fn upwards(&self) -> String {
        format!("{}{}", "../".repeat(14), &self.path()[1..])
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let names: Vec<_> = fs::read_dir(self.0.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["secret"], "{what}");
        let secret = self.0.path().join("secret");
        let found = fs::metadata(&secret).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.nlink()), (0o600, 0, 1), "{what}");
        assert_eq!(fs::read_to_string(secret).unwrap(), "of the host", "{what}");
    }
}

#[test]
fn layers_never_write_outside_their_root() {
    let canary = Canary::new();
    let (host, up) = (canary.path().to_owned(), canary.upwards());
    let file = |name: &str| Entry::file(name, "evil").mode(0o4777).owner(1000, 1000);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("absolute name", vec![file(&format!("{host}/evil"))]),
        ("dots", vec![file(&format!("{up}/evil"))]),
        ("dots after a folder", vec![Entry::folder("a"), file(&format!("a/{up}/evil"))]),
        ("absolute link", vec![Entry::symlink("l", &host), file("l/evil")]),
        ("relative link", vec![Entry::symlink("l", &up), file("l/evil")]),
        ("overwrite through a link", vec![Entry::symlink("l", format!("{host}/secret")), file("l")]),
        ("folder over a link", vec![Entry::symlink("l", &host), Entry::folder("l").mode(0o777).owner(7, 7)]),
        ("link chain", vec![Entry::symlink("a", "b"), Entry::symlink("b", &up), file("a/evil")]),
        ("hard link out", vec![Entry::hardlink("h", format!("{up}/secret")), file("h")]),
        ("absolute hard link", vec![Entry::hardlink("h", format!("{host}/secret"))]),
        ("hard link through a link", vec![Entry::symlink("l", &host), Entry::hardlink("h", "l/secret")]),
        (
            "hard link to a link",
            vec![Entry::symlink("l", format!("{host}/secret")), Entry::hardlink("h", "l"), file("h")],
        ),
        ("whiteout out", vec![file(&format!("{up}/.wh.secret"))]),
        ("whiteout through a link", vec![Entry::symlink("l", &host), file("l/.wh.secret")]),
        ("opaque through a link", vec![Entry::symlink("l", &host), file("l/.wh..wh..opq")]),
        ("whiteout of dots", vec![file("a/.wh..."), file(".wh..."), file(".wh.")]),
        ("device through a link", vec![Entry::symlink("l", &host), Entry::device("l/null", 1, 3)]),
        ("fifo through a link", vec![Entry::symlink("l", &host), Entry::fifo("l/pipe")]),
        ("xattr through a link", vec![Entry::symlink("l", format!("{host}/secret")), file("l").xattr("user.x", "y")]),
        (
            "overlay xattrs",
            vec![Entry::folder("etc").xattr("trusted.overlay.redirect", &host).xattr("trusted.overlay.opaque", "y")],
        ),
        ("pax path", vec![file("x").pax("path", format!("{up}/evil"))]),
        ("pax link path", vec![Entry::symlink("l", "x").pax("linkpath", &host), file("l/evil")]),
        ("root as a link", vec![Entry::symlink("./", &host), file("evil")]),
        ("root itself", vec![Entry::folder("./").mode(0o777).owner(7, 7), Entry::hardlink("../x", "etc")]),
    ];
    for (what, entries) in cases {
        let scratch = Scratch::new();
        let folder = tempfile::tempdir().unwrap();
        let tar = Tar::new().with_all(entries).finish();
        Image::new([busybox_layer(), Layer::gzip(&tar)]).write_layout(folder.path(), EVIL);
        let loaded = scratch.holm(["load", "-i"]).arg(folder.path()).run().calm();
        canary.assert_untouched(what);
        if loaded.status.success() {
            let leaks = Leaks::before(&scratch);
            let script = "cat /h /l /l/secret 2>/dev/null; true";
            let output = scratch.run(["--rm", EVIL, "sh", "-c", script]).run().calm();
            assert!(!output.stdout.contains("of the host"), "{what}: {output}");
            leaks.assert_none();
        }
        canary.assert_untouched(what);
        scratch.holm(["import", "-", "localhost/root:1"]).input(tar).run().calm();
        canary.assert_untouched(what);
    }
}

#[test]
fn mount_targets_that_are_links_are_resolved_inside() {
    let canary = Canary::new();
    let scratch = Scratch::new();
    let links = Tar::new()
        .with(Entry::symlink("abs", canary.path()))
        .with(Entry::symlink("rel", canary.upwards()))
        .with(Entry::symlink("etc/resolv.conf", format!("{}/resolv", canary.path())))
        .with(Entry::symlink("secret", format!("{}/secret", canary.path())))
        .finish();
    let folder = tempfile::tempdir().unwrap();
    Image::new([busybox_layer(), Layer::gzip(&links)]).write_layout(folder.path(), EVIL);
    scratch.holm(["load", "-i"]).arg(folder.path()).ok();
    let leaks = Leaks::before(&scratch);
    let shared = scratch.make_folder("shared");
    fs::write(shared.join("mark"), "mark").unwrap();
    for name in ["abs", "rel", "abs/new/deep", "rel/../rel/x"] {
        let volume = format!("{}:/{name}", shared.display());
        let output = scratch.run(["--rm", "-v", &volume, EVIL, "sh", "-c", &format!("cat /{name}/mark")]).run().calm();
        assert!(!output.status.success() || output.text() == "mark", "{name}: {output}");
        canary.assert_untouched(name);
        scratch.run(["--rm", "--tmpfs", &format!("/{name}"), EVIL, "touch", &format!("/{name}/evil")]).run().calm();
        canary.assert_untouched(name);
        scratch
            .run(["--rm", "-v", &format!("v:/{name}"), EVIL, "cat", &format!("/{name}/secret")])
            .run()
            .calm()
            .omits("of the host");
        canary.assert_untouched(name);
        scratch.run(["--rm", "-w", &format!("/{name}/work"), EVIL, "touch", "evil"]).run().calm();
        canary.assert_untouched(name);
    }
    scratch.run(["--rm", EVIL, "cat", "/secret"]).run().calm().omits("of the host");
    scratch.holm(["volume", "prune", "-a", "-f"]).ok();
    leaks.assert_none();
}

#[test]
fn volume_subpath_and_volume_content_cannot_lead_out() {
    let canary = Canary::new();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = format!("ln -s {} /data/out; ln -s {} /data/up", canary.path(), canary.upwards());
    scratch.run(["--rm", "-v", "v:/data", BUSYBOX, "sh", "-c", &script]).ok();
    for path in ["out", "up", "out/secret", "../../..", "/etc"] {
        let mount = format!("type=volume,source=v,target=/mnt,volume-subpath={path}");
        let output = scratch.run(["--rm", "--mount", &mount, BUSYBOX, "cat", "/mnt/secret", "/mnt"]).run().calm();
        assert!(!output.stdout.contains("of the host"), "{path}: {output}");
        canary.assert_untouched(path);
    }
    scratch.holm(["volume", "rm", "v"]).ok();
    leaks.assert_none();
}

#[test]
fn cp_follows_links_only_inside_the_container() {
    let canary = Canary::new();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = format!(
        "ln -s {0} /abs; ln -s {1} /rel; ln -s {0}/secret /file; mkdir /t; ln -s {0} /t/l; exec sleep 1000",
        canary.path(),
        canary.upwards()
    );
    scratch.detached("c", &[], &["sh", "-c", &script]);
    holm_kit::wait_until("the links are there", std::time::Duration::from_secs(5), || {
        scratch.holm(["exec", "c", "test", "-L", "/t/l"]).run().status.success()
    });
    let evil = scratch.write("evil", "evil");
    let evil = evil.to_str().unwrap();
    for target in ["c:/abs/evil", "c:/rel/evil", "c:/abs", "c:/rel", "c:/file", "c:/t/l/evil", "c:/abs/../../evil"] {
        scratch.holm(["cp", evil, target]).run().calm();
        canary.assert_untouched(target);
    }
    for source in ["c:/abs/secret", "c:/rel/secret", "c:/file", "c:/abs", "c:/proc/1/root/abs/secret", "c:/t"] {
        let output = scratch.holm(["cp", "-L", source, "-"]).run().calm();
        assert!(!output.stdout.contains("of the host"), "{source}: {output}");
        let output = scratch.holm(["cp", source, "-"]).run().calm();
        assert!(!output.stdout.contains("of the host"), "{source}: {output}");
    }
    let tar = Tar::new().with(Entry::file(format!("{}/evil", canary.upwards()), "x")).finish();
    scratch.holm(["cp", "-", "c:/tmp"]).input(tar).run().calm();
    canary.assert_untouched("a tar by cp");
    let back = scratch.make_folder("back");
    scratch.holm(["cp", "c:/t", back.to_str().unwrap()]).run().calm();
    assert!(!Path::new(&back).join("t/l/evil").exists());
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn cp_races_with_a_link_that_flips_and_never_leaves() {
    let canary = Canary::new();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let flip = format!("mkdir /d; while :; do rm -rf /x; ln -s {} /x; rm -f /x; mkdir /x; done", canary.path());
    scratch.detached("c", &[], &["sh", "-c", &flip]);
    let evil = scratch.write("evil", "evil");
    for _ in 0..60 {
        scratch.holm(["cp", evil.to_str().unwrap(), "c:/x/evil"]).run().calm();
        let output = scratch.holm(["cp", "c:/x/secret", "-"]).run().calm();
        assert!(!output.stdout.contains("of the host"), "{output}");
    }
    canary.assert_untouched("a race");
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn passwd_that_is_no_file_neither_blocks_nor_lies() {
    let cases: [(&str, Entry); 3] = [
        ("a fifo", Entry::fifo("etc/passwd")),
        ("a device", Entry::device("etc/passwd", 1, 5)),
        ("a link out", Entry::symlink("etc/passwd", "/proc/self/environ")),
    ];
    for (what, entry) in cases {
        let scratch = Scratch::new();
        let folder = tempfile::tempdir().unwrap();
        let wipe = Layer::gzip(&Tar::new().with(Entry::file("etc/.wh.passwd", "")).finish());
        let top = Layer::gzip(&Tar::new().with(entry).finish());
        Image::new([busybox_layer(), wipe, top]).write_layout(folder.path(), EVIL);
        scratch.holm(["load", "-i"]).arg(folder.path()).ok();
        let leaks = Leaks::before(&scratch);
        let limit = std::time::Duration::from_secs(10);
        let output = scratch.run(["--rm", "-u", "app", EVIL, "id", "-u"]).limit(limit).run().calm();
        assert_ne!(output.exit_code(), 0, "{what}: {output}");
        scratch.run(["--rm", "-u", "1000", EVIL, "id", "-u"]).limit(limit).run().calm();
        leaks.assert_none();
    }
}
