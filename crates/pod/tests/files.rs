//! Files of containers from outside, volumes, attach, terminals, health and limits.

mod support;

use std::ffi::OsStr;
use std::io::{Read, Write};

use holm_pod::{ChangeKind, Error, LogQuery, RemoveOptions, StartIo, Update};
use holm_spec::container::{MountKind, MountSpec};
use holm_spec::oci::image::Healthcheck;
use holm_spec::oci::runtime::ConsoleSize;
use holm_spec::state::Status;
use support::World;

fn mount(kind: MountKind, source: &str, destination: &str) -> MountSpec {
    let kind = match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
    };
    serde_json::from_value(serde_json::json!({"kind": kind, "source": source, "destination": destination})).unwrap()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn copy_works_both_ways_stopped_and_running_and_links_stay_inside() {
    let world = World::new();
    std::os::unix::fs::symlink("/etc", world.layer.join("out")).unwrap();
    let spec = world.engine.create(world.spec(&["sleep", "1000"]), &world.image).unwrap();
    for _ in 0..2 {
        let tar = archive(&[("from-host", "hello")]);
        world.engine.copy_to(&spec.id, OsStr::new("/out"), false, &mut &tar[..]).unwrap();
        assert!(!std::path::Path::new("/etc/from-host").exists());
        let mut out = Vec::new();
        world.engine.copy_from(&spec.id, OsStr::new("/etc/from-host"), false, &mut out).unwrap();
        assert_eq!(names(&out), ["from-host"]);
        out.clear();
        world.engine.copy_from(&spec.id, OsStr::new("out"), false, &mut out).unwrap();
        assert_eq!(
            tar::Archive::new(&out[..]).entries().unwrap().next().unwrap().unwrap().header().entry_type(),
            tar::EntryType::Symlink
        );
        out.clear();
        world.engine.copy_from(&spec.id, OsStr::new("/etc/."), false, &mut out).unwrap();
        assert!(names(&out).contains(&"passwd".to_owned()), "{:?}", names(&out));
        let stat = world.engine.stat_path(&spec.id, OsStr::new("/out")).unwrap();
        assert_eq!(stat.link_target.as_deref(), Some(std::path::Path::new("/etc")));
        assert!(matches!(world.engine.stat_path(&spec.id, OsStr::new("/none")), Err(Error::Path { .. })));
        if world.engine.get(&spec.id).unwrap().state.status == Status::Created {
            world.engine.start(&spec.id, StartIo::default()).unwrap();
        }
    }
    let changes = world.engine.diff(&spec.id).unwrap();
    let shown: Vec<_> = changes.iter().map(|c| (c.kind, c.path.to_str().unwrap())).collect();
    assert_eq!(shown, [(ChangeKind::Modified, "/etc"), (ChangeKind::Added, "/etc/from-host")]);
    let mut out = Vec::new();
    world.engine.export(&spec.id, &mut out).unwrap();
    let all = names(&out);
    assert!(all.contains(&"bin/busybox".to_owned()) && all.iter().any(|n| n.starts_with("proc")));
    assert!(!all.iter().any(|n| n.starts_with("proc/1") || n.starts_with("sys/k")), "what is mounted is left out");
    let top = world.engine.top(&spec.id, &["pid".into(), "args".into()]).unwrap();
    assert_eq!((top.rows.len(), top.rows[0][1].as_str()), (1, "sleep 1000"));
    assert!(world.engine.stats(&spec.id).unwrap().pids.current >= 1);
}

#[test]
fn volumes_are_filled_shared_and_removed_with_their_container() {
    let mut world = World::new();
    std::fs::create_dir(world.layer.join("data")).unwrap();
    std::fs::write(world.layer.join("data/from-image"), "image").unwrap();
    world.image.config.volumes = Some([("/anonymous".to_owned(), serde_json::json!({}))].into());
    let mut spec = world.spec(&["sh", "-c", "cat /data/from-image; echo more > /data/more; echo x > /anonymous/x"]);
    spec.mounts = vec![mount(MountKind::Volume, "named", "/data")];
    let spec = world.engine.create(spec, &world.image).unwrap();
    assert_eq!(spec.mounts.len(), 2);
    let started = world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert_eq!(started.control.wait_exit().unwrap(), Some(0), "{}", world.log(&spec.id));
    assert_eq!(world.log(&spec.id), "image");
    let volume = world.engine.volume_get("named").unwrap();
    assert_eq!(std::fs::read_to_string(volume.mountpoint.join("more")).unwrap(), "more\n");
    assert!(matches!(world.engine.volume_remove("named", false), Err(Error::VolumeInUse { .. })));
    assert_eq!(world.engine.volume_list().unwrap().len(), 2);
    world.engine.remove(&spec.id, RemoveOptions { force: false, volumes: true }).unwrap();
    assert_eq!(world.engine.volume_list().unwrap().len(), 1);
    world.engine.volume_remove("named", false).unwrap();
    assert!(matches!(world.engine.volume_get("../containers"), Err(Error::NoSuchVolume(_))));
}

#[test]
fn binds_need_their_source_unless_it_may_be_made() {
    let world = World::new();
    let source = world.folder.path().join("bind");
    let mut spec = world.spec(&["sh", "-c", "echo x > /in/x"]);
    spec.mounts = vec![mount(MountKind::Bind, source.to_str().unwrap(), "/in")];
    assert!(world.engine.create(spec.clone(), &world.image).is_err());
    assert!(world.engine.list().unwrap().is_empty());
    spec.mounts[0].create_source = true;
    let spec = world.engine.create(spec, &world.image).unwrap();
    assert_eq!(world.engine.start(&spec.id, StartIo::default()).unwrap().control.wait_exit().unwrap(), Some(0));
    assert_eq!(std::fs::read_to_string(source.join("x")).unwrap(), "x\n");
    let mut read_only = world.spec(&["sh", "-c", "echo x > /in/y"]);
    read_only.mounts = spec.mounts.clone();
    read_only.mounts[0].read_only = true;
    let read_only = world.engine.create(read_only, &world.image).unwrap();
    assert_eq!(world.engine.start(&read_only.id, StartIo::default()).unwrap().control.wait_exit().unwrap(), Some(1));
}

#[test]
fn terminal_is_attached_and_resized() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "test -t 0 && read line && echo got $line $TERM"]);
    spec.tty = true;
    spec.interactive = true;
    let spec = world.engine.create_for_start(spec, &world.image).unwrap();
    let size = Some(ConsoleSize { height: 30, width: 100 });
    let started = world.engine.start(&spec.id, StartIo { attach: true, size }).unwrap();
    started.control.resize(None, ConsoleSize { height: 40, width: 120 }).unwrap();
    let mut stream = std::os::unix::net::UnixStream::from(started.stream.unwrap());
    stream.write_all(b"hello\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("got hello xterm\r\n"), "{text:?}");
    assert_eq!(started.control.wait_exit().unwrap(), Some(0));
}

#[test]
fn later_attach_and_followed_log_see_the_rest() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "read line; echo said $line"]);
    spec.interactive = true;
    let spec = world.engine.create(spec, &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    let attached = world.engine.attach(&spec.id, true).unwrap();
    let mut stream = std::os::unix::net::UnixStream::from(attached.stream);
    stream.write_all(b"this\n").unwrap();
    let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
    let mut log = String::new();
    world
        .engine
        .logs(&spec.id, &query, &mut |line| {
            log.push_str(&line.log);
            true
        })
        .unwrap();
    assert_eq!(log, "said this\n");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(&all[8..], b"said this\n");
    assert_eq!(attached.control.wait_exit().unwrap(), Some(0));
}

#[test]
fn health_is_checked_and_recorded() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "sleep 1000"]);
    let test = Some(["CMD-SHELL", "test -e /tmp/ok && echo fine"].map(str::to_owned).to_vec());
    spec.healthcheck = Some(Healthcheck { test, interval: 20_000_000, retries: 2, ..Healthcheck::default() });
    let spec = world.engine.create(spec, &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    let status = || world.engine.get(&spec.id).unwrap().state.health.map(|h| h.status).unwrap_or_default();
    world.until("unhealthy", || status() == "unhealthy");
    world.engine.copy_to(&spec.id, OsStr::new("/tmp"), false, &mut &archive(&[("ok", "")])[..]).unwrap();
    world.until("healthy", || status() == "healthy");
    let health = world.engine.get(&spec.id).unwrap().state.health.unwrap();
    assert_eq!(health.log.last().unwrap().output, "fine\n");
    world.until("the event", || world.events().contains(&"health_status: healthy".to_owned()));
}

#[test]
fn limits_hold_and_change_while_it_runs() {
    let world = World::new();
    let mut spec = world.spec(&["sleep", "1000"]);
    spec.limits.pids = Some(10);
    spec.limits.memory_bytes = Some(64 << 20);
    let spec = world.engine.create(spec, &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    let stats = world.engine.stats(&spec.id).unwrap();
    assert_eq!((stats.pids.limit, stats.memory.limit_bytes), (Some(10), Some(64 << 20)));
    let mut update = Update::default();
    update.limits.pids = Some(20);
    world.engine.update(&spec.id, &update).unwrap();
    assert_eq!(world.engine.stats(&spec.id).unwrap().pids.limit, Some(20));
    assert_eq!(world.engine.get(&spec.id).unwrap().spec.limits.pids, Some(20));
}

#[test]
fn image_environment_and_user_are_as_dockers() {
    let mut world = World::new();
    world.image.config.user = Some("user".into());
    let mut spec = world.spec(&["sh", "-c", "env; id -u; echo pid $$; cat /etc/hostname"]);
    spec.env = vec!["MINE=1".into()];
    let spec = world.engine.create(spec, &world.image).unwrap();
    let started = world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert_eq!(started.control.wait_exit().unwrap(), Some(0));
    let log = world.log(&spec.id);
    for line in ["PATH=/bin\n", "FROM_IMAGE=yes\n", "MINE=1\n", "HOME=/home/user\n", "\n1000\n", "pid 1\n"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    assert!(
        log.contains(&format!("HOSTNAME={}\n", spec.id.short())) && log.ends_with(&format!("{}\n", spec.id.short()))
    );
    assert!(!log.contains("NOT_SET"));
}

#[test]
fn init_is_pid_one_and_gives_the_programs_code() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "echo pid $$; exit 5"]);
    spec.init = true;
    let spec = world.engine.create(spec, &world.image).unwrap();
    let started = world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert_eq!(started.control.wait_exit().unwrap(), Some(5));
    assert_eq!(world.log(&spec.id), "pid 2\n");
}
