//! Root of a guest, which owns its kernel, against the folders that it was given: it must find nothing beside them.

use std::fs;
use std::os::unix::fs::symlink;

use holm_kit::{BUSYBOX, Isolation, Leaks, Scratch};

/// Runs a script with all rights in the guest.
fn root(scratch: &Scratch, binds: &[String], script: &str) -> String {
    let binds = binds.iter().flat_map(|bind| ["-v", bind.as_str()]);
    let line = scratch.run(["--rm", "--privileged"]).args(binds).args([BUSYBOX, "sh", "-c", script]);
    line.ok().text().to_owned()
}

#[test]
fn nothing_beside_a_folder_is_found() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let outer = scratch.make_folder("outer");
    let shared = scratch.make_folder("outer/shared");
    fs::write(outer.join("secret"), "secret").unwrap();
    symlink("../secret", shared.join("up")).unwrap();
    symlink(outer.join("secret"), shared.join("absolute")).unwrap();
    symlink("/proc/1/root", shared.join("root")).unwrap();
    let script = "mkdir /again /a
        mount -t virtiofs share0 /again || exit 1
        for at in /mnt /again; do
            cat $at/up $at/absolute $at/../secret $at/root/secret $at/../../../secret
            ls -A $at/.. $at/root/.. | grep secret
            # A folder that is moved above the one it is in, while somebody stands in it.
            mkdir -p $at/x/y && cd $at/x/y && mv $at/x/y $at/z && cat ../secret ../../secret ../up
            cd /; rm -r $at/x $at/z
        done
        ln -s /again/.. /again/out; cat /again/out/secret
        mv /again/../secret /again/taken
        exit 0";
    let said = root(&scratch, &[format!("{}:/mnt", shared.display())], script);
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(fs::read_to_string(outer.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outer).unwrap().count(), 2);
    leaks.assert_none();
}

#[test]
fn nothing_beside_a_file_is_found_or_made() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let folder = scratch.make_folder("folder");
    fs::write(folder.join("given"), "given").unwrap();
    fs::write(folder.join("sibling"), "sibling").unwrap();
    let script = "mkdir /again; mount -t virtiofs share0 /again || exit 1
        ls -A /again; cat /again/file; echo
        touch /again/new 2>&1; rm -f /again/file 2>&1; mv /again/file /again/moved 2>&1; ln /again/file /again/hard 2>&1
        ls -A /again; cat /again/sibling /again/../sibling 2>/dev/null
        echo taken >/again/file";
    let said = root(&scratch, &[format!("{}:/etc/given", folder.join("given").display())], script);
    assert_eq!(said.lines().next(), Some("file"));
    assert_eq!(said.lines().last(), Some("file"));
    assert!(said.matches("Read-only").count() >= 1 && !said.contains("sibling"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("given")).unwrap(), "taken\n");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    leaks.assert_none();
}

#[test]
fn read_only_share_cannot_be_written_by_mounting_it_otherwise() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let shared = scratch.make_folder("shared");
    fs::write(shared.join("file"), "kept").unwrap();
    let script = "mount -o remount,rw /mnt; mount -o remount,rw,bind /mnt; mkdir /again
        mount -t virtiofs share0 /again || mount -o ro -t virtiofs share0 /again || exit 1
        mount -o remount,rw /again
        for at in /mnt /again; do
            echo x >$at/file; touch $at/new; rm $at/file; mkdir $at/d; chmod 777 $at/file; mv $at/file $at/other; ln $at/file $at/hard
        done
        cat /again/file";
    assert_eq!(root(&scratch, &[format!("{}:/mnt:ro", shared.display())], script), "kept");
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 1);
    leaks.assert_none();
}

#[test]
fn device_nodes_of_a_share_are_no_devices() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let shared = scratch.make_folder("shared");
    let bind = format!("{}:/mnt", shared.display());
    let null = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, shared.join("null"), rustix::fs::FileType::CharacterDevice, mode, null)
        .unwrap();
    let script = "ls -l /mnt/null | cut -c1; echo x >/mnt/null || echo refused; mknod /mnt/own c 1 3; cat /mnt/own || echo refused";
    scratch.run(["--rm", "-v", &bind, BUSYBOX, "sh", "-c", script]).ok().says("c\nrefused\nrefused");
    leaks.assert_none();
}
