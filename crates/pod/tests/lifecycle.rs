//! Containers from creation to removal, on real kernel objects.

mod support;

use std::io::Read;

use holm_pod::{Error, Exec, RemoveOptions, StartIo, StdioFds, WaitFor};
use holm_spec::container::RestartPolicy;
use holm_spec::state::Status;
use support::World;

#[test]
fn container_runs_logs_ends_and_is_removed() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["sh", "-c", "echo out; echo err >&2; exit 3"]), &world.image).unwrap();
    assert_eq!(world.engine.get(&spec.id).unwrap().state.status, Status::Created);
    let started = world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert!(started.pid > 0);
    assert_eq!(started.control.wait_exit().unwrap(), Some(3));
    let state = world.engine.get(&spec.id).unwrap().state;
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, 3, 0));
    assert!(state.finished_at_ns >= state.started_at_ns && state.started_at_ns > 0);
    let log = world.log(&spec.id);
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    world.engine.remove(&spec.id, RemoveOptions::default()).unwrap();
    assert!(matches!(world.engine.find("test-1"), Err(Error::NoSuchContainer(_))));
    assert_eq!(world.events(), ["create", "start", "die", "destroy"]);
}

#[test]
fn rm_container_is_gone_when_its_exit_is_told() {
    let world = World::new();
    let mut spec = world.spec(&["true"]);
    spec.auto_remove = true;
    let spec = world.engine.create_for_start(spec, &world.image).unwrap();
    let started = world.engine.start(&spec.id, StartIo { attach: true, size: None }).unwrap();
    assert_eq!(started.control.wait_exit().unwrap(), Some(0));
    assert!(world.engine.list().unwrap().is_empty());
    assert!(matches!(world.engine.find("test-1"), Err(Error::NoSuchContainer(_))));
    let run_folder = world.engine.roots().run.join("containers").join(spec.id.as_str());
    world.until("the end of the supervisor's work", || !run_folder.exists());
}

#[test]
fn attached_start_gives_all_output_of_both_streams_and_its_end() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "cat; echo done >&2"]);
    spec.interactive = true;
    let spec = world.engine.create_for_start(spec, &world.image).unwrap();
    let started = world.engine.start(&spec.id, StartIo { attach: true, size: None }).unwrap();
    let mut stream = std::os::unix::net::UnixStream::from(started.stream.unwrap());
    std::io::Write::write_all(&mut stream, &vec![b'x'; 300_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let (mut out, mut err) = (Vec::<u8>::new(), Vec::<u8>::new());
    let mut rest = &all[..];
    while !rest.is_empty() {
        let frame = holm_spec::protocol::Frame::from_bytes(rest[..8].try_into().unwrap()).unwrap();
        let body = &rest[8..8 + frame.length as usize];
        if frame.stream == 2 {
            err.extend(body)
        } else {
            out.extend(body)
        }
        rest = &rest[8 + frame.length as usize..];
    }
    assert_eq!((out.len(), String::from_utf8(err).unwrap()), (300_000, "done\n".to_owned()));
    assert_eq!(started.control.wait_exit().unwrap(), Some(0));
}

#[test]
fn failed_starts_tell_why_with_dockers_codes() {
    let world = World::new();
    std::fs::write(world.layer.join("bin/plain"), "no program").unwrap();
    for (command, code) in [(&["missing"][..], 127), (&["/bin/plain"], 126), (&["/etc"], 126)] {
        let spec = world.engine.create(world.spec(command), &world.image).unwrap();
        let error = world.engine.start(&spec.id, StartIo::default()).unwrap_err();
        assert_eq!(error.exit_code(), code, "{command:?}: {error}");
        let state = world.engine.get(&spec.id).unwrap().state;
        assert_eq!((state.status, state.exit_code), (Status::Created, code));
        assert!(!state.error.is_empty());
    }
    let mut spec = world.spec(&["missing"]);
    spec.auto_remove = true;
    let spec = world.engine.create_for_start(spec, &world.image).unwrap();
    assert!(world.engine.start(&spec.id, StartIo::default()).is_err());
    assert!(matches!(world.engine.get(&spec.id), Err(Error::NoSuchContainer(_))));
}

#[test]
fn stop_kills_what_does_not_listen_and_start_works_again() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["sleep", "1000"]), &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert!(matches!(world.engine.start(&spec.id, StartIo::default()), Err(Error::WrongState { .. })));
    assert!(matches!(world.engine.remove(&spec.id, RemoveOptions::default()), Err(Error::WrongState { .. })));
    // PID 1 without a handler does not take SIGTERM.
    assert_eq!(world.engine.stop(&spec.id, None, Some(0)).unwrap(), 137);
    assert_eq!(world.engine.stop(&spec.id, None, Some(0)).unwrap(), 137);
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert_eq!(world.engine.get(&spec.id).unwrap().state.status, Status::Running);
    world.engine.kill(&spec.id, 9).unwrap();
    assert_eq!(world.engine.wait(&spec.id, WaitFor::NotRunning).unwrap(), 137);
    assert!(matches!(world.engine.kill(&spec.id, 9), Err(Error::WrongState { .. })));
}

#[test]
fn exec_joins_the_container_and_gives_its_code() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["sleep", "1000"]), &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let exec = Exec {
        args: ["sh", "-c", "echo $FROM_IMAGE $MORE $HOME; id -u; exit 4"].map(str::to_owned).to_vec(),
        env: vec!["MORE=more".into()],
        user: Some("user".into()),
        stdio: Some(StdioFds { stdin: null(), stdout: write.into(), stderr: null() }),
        ..Exec::default()
    };
    let running = world.engine.exec(&spec.id, exec).unwrap();
    let mut text = String::new();
    let mut read = read;
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "yes more /home/user\n1000\n");
    assert_eq!(running.control.wait_exit().unwrap(), Some(4));
    let missing = Exec { args: vec!["missing".into()], ..Exec::default() };
    assert_eq!(world.engine.exec(&spec.id, missing).unwrap_err().exit_code(), 127);
}

#[test]
fn pause_freezes_and_stop_thaws() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["sleep", "1000"]), &world.image).unwrap();
    world.engine.start(&spec.id, StartIo::default()).unwrap();
    world.engine.pause(&spec.id).unwrap();
    assert_eq!(world.engine.get(&spec.id).unwrap().state.status, Status::Paused);
    assert!(world.engine.pause(&spec.id).is_err());
    world.engine.unpause(&spec.id).unwrap();
    world.engine.pause(&spec.id).unwrap();
    assert_eq!(world.engine.stop(&spec.id, None, Some(0)).unwrap(), 137);
}

#[test]
fn restart_policy_starts_again_until_its_count() {
    let world = World::new();
    let mut spec = world.spec(&["sh", "-c", "echo run; exit 1"]);
    spec.restart = RestartPolicy::OnFailure { maximum_retry_count: 2 };
    let spec = world.engine.create(spec, &world.image).unwrap();
    let started = world.engine.start(&spec.id, StartIo::default()).unwrap();
    assert_eq!(started.control.wait_exit().unwrap(), Some(1));
    assert_eq!(world.log(&spec.id), "run\nrun\nrun\n");
    assert_eq!(world.engine.get(&spec.id).unwrap().state.restart_count, 2);
}

#[test]
fn names_are_unique_and_change() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["true"]), &world.image).unwrap();
    let mut same = world.spec(&["true"]);
    same.name = spec.name.clone();
    let taken = world.engine.create(same.clone(), &world.image).unwrap_err();
    assert!(matches!(taken, Error::NameTaken { .. }), "{taken}");
    assert!(matches!(world.engine.get(&same.id), Err(Error::NoSuchContainer(_))));
    world.engine.rename(&spec.id, &"other".parse().unwrap()).unwrap();
    assert_eq!(world.engine.find("other").unwrap(), spec.id);
    assert_eq!(world.engine.find(&spec.id.as_str()[..6]).unwrap(), spec.id);
    world.engine.create(same, &world.image).unwrap();
}

#[test]
fn killed_supervisor_takes_its_container_along_and_is_noticed() {
    let world = World::new();
    let spec = world.engine.create(world.spec(&["sleep", "1000"]), &world.image).unwrap();
    let mut gone = world.spec(&["sleep", "1000"]);
    gone.auto_remove = true;
    let gone = world.engine.create(gone, &world.image).unwrap();
    for id in [&spec.id, &gone.id] {
        let started = world.engine.start(id, StartIo::default()).unwrap();
        let supervisor = world.engine.get(id).unwrap().state.supervisor_pid;
        let pid = rustix::process::Pid::from_raw(supervisor).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(started.control.wait_exit().unwrap(), None);
    }
    // The kernel closes a dead process's descriptors one after the other; the lock may be the last.
    world.until("recovery", || {
        world.engine.recover().unwrap();
        matches!(world.engine.get(&gone.id), Err(Error::NoSuchContainer(_)))
            && world.engine.get(&spec.id).unwrap().state.status == Status::Exited
    });
    assert_eq!(world.engine.get(&spec.id).unwrap().state.exit_code, 137);
    world.engine.start(&spec.id, StartIo::default()).unwrap();
}
