//! Folders, files and volumes of the host are the same in a container and in a virtual machine.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::time::Duration;

use holm_kit::{BUSYBOX, Isolation, Leaks, Scratch, wait_until};

/// How long an ordinary step may take; a guest looks again at what it knows of a file after a second.
const PATIENCE: Duration = Duration::from_secs(60);

both! {
    fn folder_is_live_in_both_directions(scratch: &Scratch) {
        let folder = scratch.make_folder("shared");
        fs::write(folder.join("file"), "before").unwrap();
        let bind = format!("{}:/mnt", folder.display());
        scratch.detached("box", &["-v", &bind], &["sleep", "1000"]);
        let inside = |script: &str| scratch.holm(["exec", "box", "sh", "-c", script]).run().text().to_owned();
        assert_eq!(inside("cat /mnt/file; echo there >/mnt/made"), "before");
        assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "there\n");
        fs::write(folder.join("file"), "after, and longer").unwrap();
        fs::write(folder.join("later"), "new").unwrap();
        wait_until("the change is seen", PATIENCE, || inside("cat /mnt/file") == "after, and longer");
        wait_until("the new file is seen", PATIENCE, || inside("cat /mnt/later") == "new");
        fs::remove_file(folder.join("made")).unwrap();
        wait_until("the file is gone", PATIENCE, || inside("test -e /mnt/made || echo gone") == "gone");
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn read_only_means_it(scratch: &Scratch) {
        let folder = scratch.make_folder("shared");
        fs::write(folder.join("file"), "kept").unwrap();
        let tries = ["sh", "-c", "exec 2>&1; cat /mnt/file; rm -f /mnt/file; echo x >/mnt/file || touch /mnt/new"];
        let bind = format!("{}:/mnt:ro", folder.display());
        scratch.run(["--rm", "-v", &bind, BUSYBOX]).args(tries).fails(1).mentions("kept").mentions("new: Read-only");
        let mount = format!("type=bind,source={},target=/mnt,readonly", folder.display());
        scratch.run(["--rm", "--mount", &mount, BUSYBOX]).args(tries).fails(1).mentions("kept").mentions("new: Read-only");
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    fn one_file_is_there_without_what_is_beside_it(scratch: &Scratch) {
        let file = scratch.write("one.conf", "one");
        let bind = format!("{}:/etc/one.conf", file.display());
        scratch.detached("box", &["-v", &bind], &["sleep", "1000"]);
        let inside = |script: &str| scratch.holm(["exec", "box", "sh", "-c", script]).run().text().to_owned();
        assert_eq!(inside("cat /etc/one.conf; echo two >/etc/one.conf"), "one");
        assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
        fs::write(&file, "three").unwrap();
        wait_until("the change is seen", PATIENCE, || inside("cat /etc/one.conf") == "three");
        // Another file under the old name is another file.
        let other = scratch.write("other", "four");
        fs::rename(other, &file).unwrap();
        assert_eq!(inside("cat /etc/one.conf"), "three");
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn volume_is_filled_once_and_outlives_runs(scratch: &Scratch) {
        let change = ["sh", "-c", "cat /etc/motd; echo changed >/etc/motd"];
        scratch.run(["--rm", "-v", "data:/etc", BUSYBOX]).args(change).ok().says("from the image");
        scratch.run(["--rm", "-v", "data:/etc", BUSYBOX, "cat", "/etc/motd"]).ok().says("changed");
        let below = "type=volume,source=data,target=/motd,volume-subpath=motd";
        scratch.run(["--rm", "--mount", below, BUSYBOX, "cat", "/motd"]).ok().says("changed");
        scratch.detached("box", &["-v", "/anonymous", "-v", "data:/data:ro"], &["sh", "-c", "echo own >/anonymous/file; sleep 1000"]);
        let from = ["--rm", "--volumes-from", "box", BUSYBOX, "sh", "-c", "exec 2>&1; cat /anonymous/file /data/motd; echo x >/data/motd"];
        wait_until("it has written", PATIENCE, || scratch.run(from).run().text().starts_with("own\nchanged"));
        scratch.run(from).fails(1).mentions("Read-only");
        scratch.holm(["rm", "-f", "-v", "box"]).ok();
        scratch.holm(["volume", "ls", "-q"]).ok().says("data");
        scratch.holm(["volume", "rm", "data"]).ok();
    }

    fn owners_modes_and_kinds_of_files_are_the_hosts(scratch: &Scratch) {
        let folder = scratch.make_folder("shared");
        let bind = format!("{}:/mnt", folder.display());
        let script = "cd /mnt; echo x >owned; chown 1234:4321 owned; chmod 4750 owned; ln -s owned link; mkfifo pipe; mkdir d; mv owned d/moved";
        scratch.run(["--rm", "-v", &bind, BUSYBOX, "sh", "-c", script]).ok();
        let found = fs::metadata(folder.join("d/moved")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.permissions().mode() & 0o7777), (1234, 4321, 0o4750));
        assert_eq!(fs::read_link(folder.join("link")).unwrap().to_str(), Some("owned"));
        assert!(fs::metadata(folder.join("pipe")).unwrap().file_type().is_fifo());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let own = ["--rm", "--user", "7:8", "-v", &bind, BUSYBOX, "sh", "-c", "exec 2>&1; echo mine >/mnt/mine; cat /mnt/d/moved"];
        scratch.run(own).fails(1).mentions("ermission");
        let found = fs::metadata(folder.join("mine")).unwrap();
        assert_eq!((found.uid(), found.gid()), (7, 8));
    }

    fn volume_in_memory_lasts_as_long_as_its_container(scratch: &Scratch) {
        scratch.holm(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "fast"]).ok();
        let write = ["--rm", "-v", "fast:/fast", BUSYBOX, "sh", "-c", "ls /fast; echo x >/fast/x; head -c 2m /dev/zero >/fast/y"];
        scratch.run(write).fails(1).says("");
        scratch.run(write).fails(1).says("");
        scratch.holm(["volume", "rm", "fast"]).ok();
    }
}

#[test]
fn volume_is_shared_by_a_container_and_a_machine_at_once() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    scratch.detached("vm", &["-v", "data:/data"], &["sleep", "1000"]);
    scratch.detached("shared", &["--isolation", "container", "-v", "data:/data"], &["sleep", "1000"]);
    let inside = |name: &str, script: &str| scratch.holm(["exec", name, "sh", "-c", script]).run().text().to_owned();
    for (from, to) in [("vm", "shared"), ("shared", "vm")] {
        inside(from, &format!("echo of {from} >/data/{from}"));
        wait_until("it arrives", PATIENCE, || inside(to, &format!("cat /data/{from}")) == format!("of {from}"));
    }
    scratch.holm(["rm", "-f", "vm", "shared"]).ok();
    scratch.holm(["volume", "rm", "data"]).ok();
    leaks.assert_none();
}

#[test]
fn what_only_one_kernel_knows_is_refused_with_its_reason() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let path = scratch.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for source in [path.to_str().unwrap(), "/dev/null"] {
        let bind = format!("{source}:/mnt");
        scratch.run(["--rm", "-v", &bind, BUSYBOX, "true"]).fails(125).complains("another kernel");
    }
    leaks.assert_none();
}
