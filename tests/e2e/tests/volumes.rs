//! Binds, volumes, tmpfs.

use std::fs;

use holm_kit::{BUSYBOX, Leaks, Scratch};

#[test]
fn bind_shows_the_hosts_files_and_read_only_means_it() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("shared");
    fs::write(folder.join("file"), "from the host").unwrap();
    let leaks = Leaks::before(&scratch);
    let at = |options: &str| format!("{}:/mnt{options}", folder.display());
    scratch
        .run(["--rm", "-v", &at(""), BUSYBOX, "sh", "-c", "cat /mnt/file; echo x > /mnt/made"])
        .ok()
        .says("from the host");
    assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "x\n");
    let refused = ["sh", "-c", "echo y > /mnt/made || echo refused"];
    scratch.run(["--rm", "-v", &at(":ro"), BUSYBOX]).args(refused).ok().says("refused");
    let mount = format!("type=bind,source={},target=/mnt,readonly", folder.display());
    scratch.run(["--rm", "--mount", &mount, BUSYBOX]).args(refused).ok().says("refused");
    assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "x\n");
    let file = format!("{}:/etc/motd:ro", folder.join("file").display());
    scratch.run(["--rm", "-v", &file, BUSYBOX, "cat", "/etc/motd"]).ok().says("from the host");
    leaks.assert_none();
}

#[test]
fn missing_source_is_made_for_v_and_refused_for_mount() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let missing = scratch.path().join("missing");
    let mount = format!("type=bind,source={},target=/mnt", missing.display());
    scratch.run(["--rm", "--mount", &mount, BUSYBOX, "true"]).fails(125).complains("missing");
    assert!(!missing.exists());
    scratch.run(["--rm", "-v", &format!("{}:/mnt", missing.display()), BUSYBOX, "true"]).ok();
    assert!(missing.is_dir());
    leaks.assert_none();
}

#[test]
fn volume_is_filled_from_the_image_once_and_outlives_containers() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch
        .run(["--rm", "-v", "data:/etc", BUSYBOX, "sh", "-c", "cat /etc/motd; echo changed > /etc/motd"])
        .ok()
        .says("from the image");
    scratch.run(["--rm", "-v", "data:/etc", BUSYBOX, "cat", "/etc/motd"]).ok().says("changed");
    scratch.run(["--rm", "-v", "data:/new/place", BUSYBOX, "cat", "/new/place/motd"]).ok().says("changed");
    let no_copy = "type=volume,source=bare,target=/etc/sub,volume-nocopy";
    scratch.run(["--rm", "--mount", no_copy, BUSYBOX, "ls", "-A", "/etc/sub"]).ok().says("");
    scratch.holm(["volume", "ls", "-q"]).ok().says("bare\ndata");
    scratch.holm(["volume", "rm", "data", "bare"]).ok();
    scratch.holm(["volume", "ls", "-q"]).ok().says("");
    leaks.assert_none();
}

#[test]
fn volumes_are_named_inspected_guarded_and_pruned() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.holm(["volume", "create", "--label", "a=b", "mine"]).ok().says("mine");
    let point = scratch.holm(["volume", "inspect", "--format", "{{.Mountpoint}}", "mine"]).ok();
    assert!(fs::metadata(point.text()).unwrap().is_dir(), "{point}");
    scratch.detached("user", &["-v", "mine:/data"], &["sleep", "1000"]);
    scratch.holm(["volume", "rm", "mine"]).fails(1).complains("mine");
    scratch.holm(["volume", "prune", "-a", "-f"]).ok();
    scratch.holm(["volume", "inspect", "mine"]).ok();
    scratch.holm(["rm", "-f", "user"]).ok();
    scratch.holm(["volume", "prune", "-a", "-f"]).ok();
    scratch.holm(["volume", "inspect", "mine"]).fails(1).complains("mine");
    for name in ["../x", "a/b", "-x", "", "."] {
        let output = scratch.holm(["volume", "create", "--", name]).run().calm();
        assert!(name.is_empty() || output.exit_code() != 0, "{name:?}: {output}");
    }
    scratch.holm(["volume", "prune", "-a", "-f"]).ok();
    leaks.assert_none();
}

#[test]
fn anonymous_volume_goes_with_its_container() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "-v", "/data", BUSYBOX, "touch", "/data/x"]).ok();
    scratch.holm(["volume", "ls", "-q"]).ok().says("");
    scratch.run(["--name", "v", "-v", "/data", BUSYBOX, "touch", "/data/x"]).ok();
    assert_eq!(scratch.holm(["volume", "ls", "-q"]).ok().text().len(), 64);
    scratch.holm(["rm", "-v", "v"]).ok();
    scratch.holm(["volume", "ls", "-q"]).ok().says("");
    leaks.assert_none();
}

#[test]
fn tmpfs_has_its_size_and_mode() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "df -k /t | tail -n 1 | awk '{print $2}'; stat -c %a /t; grep ' /t ' /proc/mounts | cut -d' ' -f4";
    let output = scratch.run(["--rm", "--tmpfs", "/t:size=1m,mode=700,noexec", BUSYBOX, "sh", "-c", script]).ok();
    let lines: Vec<_> = output.text().lines().collect();
    assert_eq!((lines[0], lines[1]), ("1024", "700"), "{output}");
    assert!(lines[2].contains("noexec") && lines[2].contains("nosuid"), "{output}");
    let mount = "type=tmpfs,destination=/t,tmpfs-size=2m,tmpfs-mode=1777";
    let output = scratch.run(["--rm", "--mount", mount, BUSYBOX, "sh", "-c", script]).ok();
    assert!(output.text().starts_with("2048\n1777\n"), "{output}");
    leaks.assert_none();
}

#[test]
fn host_mounts_do_not_come_back_out() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("shared");
    let leaks = Leaks::before(&scratch);
    let volume = format!("{}:/mnt", folder.display());
    let script = "mkdir -p /mnt/in && mount -t tmpfs none /mnt/in && touch /mnt/in/hidden && echo mounted";
    scratch.run(["--rm", "--privileged", "-v", &volume, BUSYBOX, "sh", "-c", script]).ok().says("mounted");
    assert!(!folder.join("in/hidden").exists());
    leaks.assert_none();
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let host = scratch.path().display().to_string();
    for options in [
        ["-v".to_owned(), "relative/path:/x".to_owned()],
        ["-v".to_owned(), format!("{host}:relative")],
        ["-v".to_owned(), format!("{host}:/x:nonsense")],
        ["-v".to_owned(), format!("{host}:/x:ro:extra:more")],
        ["--mount".to_owned(), "type=nonsense,target=/x".to_owned()],
        ["--mount".to_owned(), "type=bind,target=/x".to_owned()],
        ["--mount".to_owned(), "type=volume,source=v".to_owned()],
        ["--mount".to_owned(), "type=bind,source=relative,target=/x".to_owned()],
        ["--tmpfs".to_owned(), "relative".to_owned()],
        ["-v".to_owned(), format!("{host}:/")],
    ] {
        let output = scratch.run(["--rm"]).args(&options).args([BUSYBOX, "true"]).run().calm();
        assert!(matches!(output.exit_code(), 2 | 125), "{options:?}: {output}");
    }
    leaks.assert_none();
}

#[test]
fn many_mounts_at_once_are_no_trouble() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("shared");
    let leaks = Leaks::before(&scratch);
    let options = (0..300).flat_map(|at| ["-v".to_owned(), format!("{}:/m/{at}", folder.display())]);
    scratch.run(["--rm"]).args(options).args([BUSYBOX, "sh", "-c", "ls /m | wc -l"]).ok().says("300");
    leaks.assert_none();
}

#[test]
fn volume_in_memory_is_one_for_all_that_use_it_and_gone_after_the_last() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=2m,uid=7,noexec"];
    scratch.holm(["volume", "create"]).args(options).arg("fast").ok();
    let shown = scratch.holm(["volume", "inspect", "--format", "{{json .Options}}", "fast"]).ok().json();
    assert_eq!(shown["o"], "size=2m,uid=7,noexec");
    scratch.detached("first", &["-v", "fast:/a"], &["sh", "-c", "echo shared >/a/file; exec sleep 1000"]);
    holm_kit::wait_until("the file is there", std::time::Duration::from_secs(20), || {
        scratch.holm(["exec", "first", "cat", "/a/file"]).run().text() == "shared"
    });
    let script =
        "cat /b/file; stat -c %u /b; df -k /b | tail -n 1 | awk '{print $2}'; grep ' /b ' /proc/mounts; touch /b/more";
    let second = scratch.run(["--rm", "-v", "fast:/b", BUSYBOX, "sh", "-c", script]).ok();
    assert!(second.text().starts_with("shared\n7\n2048\n") && second.text().contains("noexec"), "{second}");
    scratch.holm(["exec", "first", "ls", "/a"]).ok().says("file\nmore");
    scratch.run(["--rm", "-v", "fast:/b:ro", BUSYBOX, "touch", "/b/x"]).fails(1);
    scratch.holm(["rm", "-f", "first"]).ok();
    scratch.run(["--rm", "-v", "fast:/c", BUSYBOX, "ls", "-A", "/c"]).ok().says("");
    // It is filled from the image as every empty volume is.
    scratch.run(["--rm", "-v", "fast:/etc", BUSYBOX, "cat", "/etc/motd"]).ok().says("from the image");
    scratch.holm(["volume", "rm", "fast"]).ok();
    leaks.assert_none();
}

#[test]
fn volumes_in_memory_started_at_once_are_the_same() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.holm(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "fast"]).ok();
    let names = ["c0", "c1", "c2", "c3", "c4"];
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            let script = format!("touch /v/{name}; exec sleep 1000");
            scratch.run(["-d", "--name", name, "-v", "fast:/v", BUSYBOX, "sh", "-c", &script]).start()
        })
        .collect();
    for running in started {
        running.finish().ok();
    }
    holm_kit::wait_until("all wrote to the same place", std::time::Duration::from_secs(20), || {
        scratch.holm(["exec", "c0", "ls", "/v"]).run().text() == names.join("\n")
    });
    scratch.holm(["rm", "-f"]).args(names).ok();
    scratch.holm(["volume", "rm", "fast"]).ok();
    leaks.assert_none();
}

#[test]
fn volume_that_is_a_folder_of_the_host_is_that_folder() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("elsewhere");
    fs::write(folder.join("file"), "there").unwrap();
    let leaks = Leaks::before(&scratch);
    let device = format!("device={}", folder.display());
    scratch.holm(["volume", "create", "-o", "type=none", "-o", &device, "-o", "o=bind", "mine"]).ok();
    scratch.holm(["volume", "create", "-o", "type=none", "-o", &device, "-o", "o=bind,ro", "fixed"]).ok();
    scratch.run(["--rm", "-v", "mine:/v", BUSYBOX, "sh", "-c", "cat /v/file; touch /v/made"]).ok().says("there");
    assert!(folder.join("made").exists());
    let script = "cat /v/file; echo; touch /v/no 2>/dev/null || echo refused";
    scratch.run(["--rm", "-v", "fixed:/v", BUSYBOX, "sh", "-c", script]).ok().says("there\nrefused");
    scratch.create(["--name", "box", "-v", "mine:/v", BUSYBOX, "true"]).ok();
    scratch.holm(["cp", "box:/v/file", &scratch.path().join("copy").display().to_string()]).ok();
    scratch.holm(["rm", "box"]).ok();
    scratch.holm(["volume", "rm", "mine", "fixed"]).ok();
    assert!(folder.join("file").exists(), "the folder is the host's");
    for options in [&["type=none"][..], &["size=1m"], &["type=nfs", "o=addr=192.0.2.1"], &["nonsense"]] {
        let options = options.iter().flat_map(|option| ["-o", option]);
        scratch.holm(["volume", "create"]).args(options).arg("bad").fails(1).complains("error");
    }
    scratch.holm(["volume", "create", "-o", "type=nosuchfs", "-o", "device=x", "odd"]).ok();
    scratch.run(["--rm", "-v", "odd:/v", BUSYBOX, "true"]).fails(125).complains("odd");
    scratch.holm(["volume", "rm", "odd"]).ok();
    leaks.assert_none();
}

#[test]
fn labelling_options_do_nothing_without_labels() {
    let scratch = Scratch::with_busybox();
    let folder = scratch.make_folder("shared");
    let leaks = Leaks::before(&scratch);
    for option in ["z", "Z", "ro,z"] {
        let volume = format!("{}:/mnt:{option}", folder.display());
        scratch.run(["--rm", "-v", &volume, BUSYBOX, "true"]).ok();
    }
    leaks.assert_none();
}
