//! The fixtures against programs that know better: what the kit makes and serves, the world's tools accept.

use std::time::Duration;

use holm_kit::{Answer, FakeRegistry, Holm, Image, Registry, Terminal, guest_kernel, wait_until};

#[test]
fn registry_with_tls_and_users_serves_what_skopeo_pushed_and_refuses_strangers() {
    let registry = Registry::secure();
    let folder = tempfile::tempdir().unwrap();
    Image::busybox().write_layout(folder.path(), "test");
    registry.push_layout(folder.path(), "test", "busybox:1");
    let target = format!("docker://{}", registry.reference("busybox:1"));
    let found = registry.skopeo(["inspect"], "--").arg(&target).ok();
    found.mentions("\"Architecture\"");
    let stranger =
        Holm::program("skopeo").args(["inspect", "--cert-dir"]).arg(registry.certificate_folder()).arg(target);
    assert!(!stranger.run().status.success());
}

#[test]
fn fake_registry_is_honest_to_skopeo_until_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |registry: &FakeRegistry, name: &str| {
        Holm::program("skopeo")
            .args(["--insecure-policy", "copy", "--src-tls-verify=false"])
            .arg(format!("docker://{}", registry.reference("busybox:1")))
            .arg(format!("oci:{}:test", folder.path().join(name).display()))
            .run()
    };
    let honest = FakeRegistry::start(&Image::busybox(), |_, _| Answer::Honest);
    copy(&honest, "honest").ok();
    assert!(honest.requests().iter().any(|line| line.contains("/manifests/")));
    let spoilt = FakeRegistry::start(&Image::busybox(), |path, _| match path.contains("/manifests/") {
        true => Answer::status(404),
        false => Answer::Honest,
    });
    assert!(!copy(&spoilt, "spoilt").status.success());
}

#[test]
fn terminal_carries_input_size_and_exit_code() {
    let mut terminal = Terminal::start(Holm::program("sh"), 30, 100);
    terminal.send("stty size; read line; echo got $line; exit 7\n");
    terminal.expect("30 100");
    terminal.send("abc\n");
    terminal.expect("got abc");
    assert_eq!(terminal.finish().0, 7);
}

#[test]
fn docker_archive_is_read_by_skopeo() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let image = Image::new([holm_kit::Layer::plain(holm_kit::busybox_root_tar())]);
    std::fs::write(&archive, image.docker_archive("localhost/busybox:1")).unwrap();
    Holm::program("skopeo").args(["inspect", &format!("docker-archive:{}", archive.display())]).ok().mentions("Layers");
}

#[test]
fn running_command_is_read_while_it_runs_and_ends_by_signal() {
    let mut running = Holm::program("sh").args(["-c", "echo ready; exec sleep 100"]).start();
    running.read_until("ready");
    assert!(running.is_running());
    running.signal(15);
    let pid = running.pid();
    assert_eq!(running.finish().exit_code(), 128 + 15);
    wait_until("it is gone", Duration::from_secs(1), || !holm_kit::alive(pid));
}

#[test]
fn guest_kernel_is_a_kernel_with_its_modules() {
    let folder = guest_kernel();
    let names = |under: &str| std::fs::read_dir(folder.join(under)).unwrap().map(|e| e.unwrap().file_name()).collect();
    let (boot, modules): (Vec<_>, Vec<_>) = (names("boot"), names("lib/modules"));
    let kernel = format!("vmlinuz-{}", modules[0].to_str().unwrap());
    assert!(modules.len() == 1 && boot.iter().any(|name| name == kernel.as_str()), "{boot:?} {modules:?}");
}
