//! cp, diff, commit, export, import.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use holm_kit::{BUSYBOX, Holm, Leaks, Scratch};

#[test]
fn cp_copies_files_and_folders_both_ways() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("c", &[], &["sleep", "1000"]);
    let file = scratch.write("file", "content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let tree = scratch.make_folder("tree/deep");
    fs::write(tree.join("leaf"), "leaf").unwrap();
    let host = |name: &str| scratch.path().join(name).display().to_string();
    scratch.holm(["cp", &host("file"), "c:/tmp/copied"]).ok();
    scratch.holm(["exec", "c", "sh", "-c", "cat /tmp/copied; stat -c %a /tmp/copied"]).ok().says("content640");
    scratch.holm(["cp", &host("file"), "c:/tmp"]).ok();
    scratch.holm(["exec", "c", "cat", "/tmp/file"]).ok().says("content");
    scratch.holm(["cp", &host("tree"), "c:/tmp/newtree"]).ok();
    scratch.holm(["exec", "c", "cat", "/tmp/newtree/deep/leaf"]).ok().says("leaf");
    scratch.holm(["cp", &format!("{}/.", host("tree")), "c:/tmp"]).ok();
    scratch.holm(["exec", "c", "cat", "/tmp/deep/leaf"]).ok().says("leaf");
    scratch.holm(["cp", "c:/etc/motd", &host("motd")]).ok();
    assert_eq!(fs::read_to_string(scratch.path().join("motd")).unwrap(), "from the image\n");
    scratch.holm(["cp", "c:/tmp/newtree", &host("back")]).ok();
    assert_eq!(fs::read_to_string(scratch.path().join("back/deep/leaf")).unwrap(), "leaf");
    let tar = scratch.holm(["cp", "c:/etc/motd", "-"]).ok();
    assert!(tar.stdout.contains("from the image"));
    let stream = holm_kit::Tar::new().with(holm_kit::Entry::file("streamed", "by tar")).finish();
    scratch.holm(["cp", "-", "c:/tmp"]).input(stream).ok();
    scratch.holm(["exec", "c", "cat", "/tmp/streamed"]).ok().says("by tar");
    scratch.holm(["cp", "c:/absent", &host("x")]).fails(1).complains("absent");
    scratch.holm(["cp", &host("absent"), "c:/x"]).fails(1).complains("absent");
    scratch.holm(["cp", &host("file"), "c:/no/such/folder/"]).fails(1);
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn cp_works_on_what_ended_and_what_never_started() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let out = scratch.path().join("out").display().to_string();
    scratch.run(["--name", "ended", BUSYBOX, "sh", "-c", "echo made > /made"]).ok();
    scratch.holm(["cp", "ended:/made", &out]).ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), "made\n");
    scratch.create(["--name", "fresh", BUSYBOX, "cat", "/put"]).ok();
    let file = scratch.write("put", "put before the start");
    scratch.holm(["cp", file.to_str().unwrap(), "fresh:/put"]).ok();
    scratch.holm(["start", "-a", "fresh"]).ok().says("put before the start");
    scratch.holm(["rm", "ended", "fresh"]).ok();
    leaks.assert_none();
}

#[test]
fn cp_reaches_volumes() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("c", &["-v", "vol:/data"], &["sleep", "1000"]);
    let file = scratch.write("file", "into the volume");
    scratch.holm(["cp", file.to_str().unwrap(), "c:/data/file"]).ok();
    scratch.holm(["exec", "c", "cat", "/data/file"]).ok().says("into the volume");
    scratch.holm(["rm", "-f", "c"]).ok();
    scratch.run(["--rm", "-v", "vol:/data", BUSYBOX, "cat", "/data/file"]).ok().says("into the volume");
    scratch.holm(["volume", "rm", "vol"]).ok();
    leaks.assert_none();
}

#[test]
fn diff_shows_added_changed_and_deleted() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--name", "d", BUSYBOX, "sh", "-c", "echo x > /new; echo y >> /etc/motd; rm /etc/group"]).ok();
    let output = scratch.holm(["diff", "d"]).ok();
    let lines: Vec<_> = output.text().lines().collect();
    for line in ["A /new", "C /etc", "C /etc/motd", "D /etc/group"] {
        assert!(lines.contains(&line), "{line}: {output}");
    }
    assert!(lines.len() <= 6, "{output}");
    scratch.holm(["rm", "d"]).ok();
    leaks.assert_none();
}

#[test]
fn commit_makes_an_image_of_what_changed() {
    let scratch = Scratch::with_busybox();
    scratch.run(["--name", "c", BUSYBOX, "sh", "-c", "echo committed > /new; rm /etc/motd; rm -rf /home"]).ok();
    let change = r#"CMD ["cat", "/new"]"#;
    scratch.holm(["commit", "--change", change, "--change", "ENV A=b", "-m", "note", "c", "localhost/made:1"]).ok();
    scratch.run(["--rm", "localhost/made:1"]).ok().says("committed");
    scratch.run(["--rm", "localhost/made:1", "sh", "-c", "echo $A; ls -d /etc/motd /home"]).fails(1).says("b");
    let layers = scratch.holm(["image", "inspect", "--format", "{{len .RootFS.Layers}}", "localhost/made:1"]).ok();
    assert_eq!(layers.text(), "2");
    scratch.holm(["rm", "c"]).ok();
    scratch.holm(["rmi", "localhost/made:1"]).ok();
    scratch.run(["--rm", BUSYBOX, "cat", "/etc/motd"]).ok().says("from the image");
}

#[test]
fn export_and_import_round_trip_the_root() {
    let scratch = Scratch::with_busybox();
    scratch.run(["--name", "e", BUSYBOX, "sh", "-c", "echo exported > /new; chown 1000:29 /new; mkfifo /pipe"]).ok();
    let path = scratch.path().join("root.tar").display().to_string();
    scratch.holm(["export", "-o", &path, "e"]).ok();
    Holm::program("tar").args(["--numeric-owner", "-tvf", &path]).ok().mentions("1000/29").mentions("etc/passwd");
    scratch.holm(["import", "--change", "CMD cat /new", &path, "localhost/again:1"]).ok();
    scratch.run(["--rm", "localhost/again:1"]).ok().says("exported");
    scratch
        .run(["--rm", "localhost/again:1", "stat", "-c", "%u %g %F", "/new", "/pipe"])
        .ok()
        .says("1000 29 regular file\n0 0 fifo");
    let gzip = Holm::program("gzip").args(["-k", &path]).ok();
    drop(gzip);
    scratch.holm(["import", &format!("{path}.gz"), "localhost/zipped:1"]).ok();
    scratch.run(["--rm", "localhost/zipped:1", "cat", "/new"]).ok().says("exported");
    scratch.holm(["rm", "e"]).ok();
}
