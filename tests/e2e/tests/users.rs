//! User namespaces: which owners the container sees, which are on disk, and what goes in and out.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_kit::{BUSYBOX, Holm, Leaks, Scratch};

/// First id of the host's that the tests' containers get, of a table of the test's own.
const FIRST: u32 = 2_147_483_648;

/// The command with other /etc/subuid and /etc/subgid than the machine's own, which stay as they are.
fn mapped(scratch: &Scratch, line: Holm) -> Holm {
    let ids = scratch.write("subid", format!("holm:{FIRST}:1073741824\n"));
    let ids = ids.display();
    let cover = format!("mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && exec \"$@\"");
    line.through(["unshare", "--mount", "sh", "-c", &cover, "sh"])
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (meta.uid(), meta.gid())
}

#[test]
fn volume_has_the_owners_inside_for_whoever_uses_it() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "stat -c %u:%g /etc/motd /etc; touch /etc/root; touch /etc/user; chown 7:8 /etc/user";
    let line = scratch.run(["--rm", "--userns", "auto", "-v", "data:/etc", BUSYBOX, "sh", "-c", script]);
    mapped(&scratch, line).ok().says("0:0\n0:0");
    let point = scratch.data_root().join("volumes/data/_data");
    assert_eq!(owner(&point), (0, 0));
    for (name, expected) in [("motd", (0, 0)), ("root", (0, 0)), ("user", (7, 8))] {
        assert_eq!(owner(&point.join(name)), expected, "{name}");
    }
    let look = ["sh", "-c", "stat -c %u:%g /v/motd /v/user; touch /v/more"];
    let line = scratch.run(["--rm", "--userns", "auto", "-v", "data:/v", BUSYBOX]).args(look);
    mapped(&scratch, line).ok().says("0:0\n7:8");
    scratch.run(["--rm", "-v", "data:/v", BUSYBOX]).args(look).ok().says("0:0\n7:8");
    scratch.holm(["volume", "rm", "data"]).ok();
    leaks.assert_none();
}

#[test]
fn bind_has_the_hosts_owners_unless_mapped() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("shared");
    std::fs::write(folder.join("file"), "x").unwrap();
    let leaks = Leaks::before(&scratch);
    let run = |options: &str| {
        let volume = format!("{}:/mnt{options}", folder.display());
        let script = "stat -c %u /mnt/file; touch /mnt/made 2>/dev/null && stat -c %u /mnt/made";
        mapped(&scratch, scratch.run(["--rm", "--userns", "auto", "-v", &volume, BUSYBOX, "sh", "-c", script])).run()
    };
    run("").says("65534");
    run(":idmap").ok().says("0\n0");
    assert_eq!(owner(&folder.join("made")), (0, 0));
    let volume = format!("{}:/mnt:idmap", folder.display());
    scratch.run(["--rm", "-v", &volume, BUSYBOX, "true"]).fails(125).complains("no user namespace");
    let mount = format!("type=bind,source={},target=/mnt,idmap", folder.display());
    let line = scratch.run(["--rm", "--userns", "auto", "--mount", &mount, BUSYBOX, "stat", "-c", "%u", "/mnt/file"]);
    mapped(&scratch, line).ok().says("0");
    leaks.assert_none();
}

#[test]
fn own_files_belong_to_the_containers_root() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "stat -c %u:%g /etc/hosts /etc/hostname; echo 192.0.2.1 x >>/etc/hosts && echo written";
    let line = scratch.run(["--rm", "--userns", "auto", BUSYBOX, "sh", "-c", script]);
    mapped(&scratch, line).ok().says("0:0\n0:0\nwritten");
    leaks.assert_none();
}

#[test]
fn copies_in_and_out_have_the_owners_inside_running_or_not() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let file = scratch.write("file", "content");
    std::os::unix::fs::chown(&file, Some(5), Some(6)).unwrap();
    let script = "echo own >/own; chown 7:8 /own; touch /vol/own; chown 7:8 /vol/own; echo ready; exec sleep 1000";
    let line = scratch.run(["-d", "--name", "box", "--userns", "auto", "-v", "v:/vol", BUSYBOX, "sh", "-c", script]);
    mapped(&scratch, line).ok();
    holm_kit::wait_until("the script is done", std::time::Duration::from_secs(20), || {
        scratch.holm(["logs", "box"]).run().text() == "ready"
    });
    let name = |at: &str, place: &str| format!("{place}/{at}");
    let file = file.display().to_string();
    let out = scratch.make_folder("out");
    for round in ["running", "stopped"] {
        for place in ["", "/vol"] {
            let plain = name(&format!("plain-{round}"), place);
            let kept = name(&format!("kept-{round}"), place);
            scratch.holm(["cp", &file, &format!("box:{plain}")]).ok();
            scratch.holm(["cp", "-a", &file, &format!("box:{kept}")]).ok();
            let tar = scratch.path().join("tar");
            for (from, expected) in [(name("own", place), "7/8"), (kept, "5/6"), (plain, "0/0")] {
                scratch
                    .holm(["cp", &format!("box:{from}"), "-"])
                    .through(["sh", "-c", &format!("\"$@\" >{}", tar.display()), "sh"])
                    .ok();
                let list = Holm::program("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).ok();
                assert!(list.text().contains(expected), "{round} {from}: {list}");
            }
        }
        scratch.holm(["cp", "-a", "box:/own", &out.join(round).display().to_string()]).ok();
        assert_eq!(owner(&out.join(round)), (7, 8), "{round}");
        if round == "running" {
            let list = "stat -c %u:%g /plain-running /kept-running /vol/plain-running /vol/kept-running";
            scratch.holm(["exec", "box", "sh", "-c", list]).ok().says("0:0\n5:6\n0:0\n5:6");
            scratch.holm(["kill", "box"]).ok();
            scratch.holm(["wait", "box"]).ok();
        }
    }
    assert_eq!(owner(&scratch.data_root().join("volumes/v/_data/kept-stopped")), (5, 6));
    scratch.holm(["rm", "-f", "box"]).ok();
    scratch.holm(["volume", "rm", "v"]).ok();
    leaks.assert_none();
}

#[test]
fn export_commit_and_diff_show_what_the_container_sees() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "echo x >/own; chown 7:8 /own; mkdir /dir; rm /etc/motd";
    let line = scratch.run(["--name", "box", "--userns", "auto", BUSYBOX, "sh", "-c", script]);
    mapped(&scratch, line).ok();
    scratch.holm(["diff", "box"]).ok().mentions("A /own").mentions("A /dir").mentions("D /etc/motd").omits("busybox");
    let tar = scratch.path().join("tar");
    scratch.holm(["export", "-o"]).arg(&tar).arg("box").ok();
    let list = Holm::program("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).ok();
    for line in list.text().lines() {
        let expected = if line.ends_with(" own") { "7/8" } else { "0/0" };
        assert!(line.contains(expected), "{line}");
    }
    scratch.holm(["commit", "box", "localhost/changed:1"]).ok();
    let look =
        ["localhost/changed:1", "sh", "-c", "stat -c %u:%g /own /dir /bin/busybox; test -e /etc/motd || echo gone"];
    scratch.run(["--rm"]).args(look).ok().says("7:8\n0:0\n0:0\ngone");
    mapped(&scratch, scratch.run(["--rm", "--userns", "auto"]).args(look)).ok().says("7:8\n0:0\n0:0\ngone");
    scratch.holm(["rm", "box"]).ok();
    scratch.holm(["rmi", "localhost/changed:1"]).ok();
    leaks.assert_none();
}

#[test]
fn joined_user_namespace_shows_the_same_owners() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    mapped(&scratch, scratch.run(["-d", "--name", "first", "--userns", "auto", BUSYBOX, "sleep", "1000"])).ok();
    let script = "stat -c %u /bin/busybox /v; touch /v/x /x; stat -c %u /v/x /x";
    let options = ["--rm", "--userns", "container:first", "-v", "v:/v", BUSYBOX, "sh", "-c", script];
    scratch.run(options).ok().says("0\n0\n0\n0");
    scratch.holm(["rm", "-f", "first"]).ok();
    scratch.holm(["volume", "rm", "v"]).ok();
    leaks.assert_none();
}
