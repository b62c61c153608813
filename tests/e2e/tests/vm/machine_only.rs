//! What only a virtual machine has: a kernel of its own, and ends of its own.

use std::time::Duration;

use holm_kit::{BUSYBOX, Entry, Image, Isolation, Layer, Leaks, Scratch, Tar, busybox_layer, wait_until};

#[test]
fn kernel_is_its_own_and_told() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let own = scratch.sh("uname -r").ok();
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_ne!(own.text(), host.trim());
    scratch.run(["-d", "--name", "box", BUSYBOX, "sleep", "1000"]).ok();
    assert_eq!(scratch.inspect("box", "{{.State.Machine.Kernel}}"), own.text());
    assert_eq!(scratch.inspect("box", "{{.HostConfig.Isolation}}"), "vm");
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn each_image_has_a_root_of_its_own() {
    let scratch = Scratch::isolated(Isolation::Vm);
    // As many layers each, with another content.
    for name in ["one", "two"] {
        let marked = Layer::gzip(&Tar::new().with_all([Entry::file("marked", name.as_bytes())]).finish());
        let layout = scratch.make_folder(name);
        Image::new([busybox_layer(), marked]).write_layout(&layout, &format!("localhost/{name}:1"));
        scratch.holm(["load", "-q", "-i"]).arg(&layout).ok();
        scratch.run(["--rm", &format!("localhost/{name}:1"), "cat", "/marked"]).ok().says(name);
    }
}

#[test]
fn what_cannot_be_the_same_is_refused_with_its_reason() {
    let scratch = Scratch::isolated(Isolation::Vm);
    for (flags, why) in [
        (&["--network", "host"][..], "network stack"),
        (&["--pid", "host"], "between kernels"),
        (&["--userns", "auto"], "users of its own"),
        (&["--device", "/dev/null"], "another kernel"),
    ] {
        scratch.run(["--rm"]).args(flags).args([BUSYBOX, "true"]).fails(125).complains(why);
    }
    scratch.run(["--rm", "--kernel", "/no/such/kernel", BUSYBOX, "true"]).fails(125).complains("/no/such/kernel");
}

#[test]
fn machines_of_one_template_share_no_secrets() {
    let scratch = Scratch::isolated(Isolation::Vm).with_templates();
    let leaks = Leaks::before(&scratch);
    let script = "cat /proc/sys/kernel/random/uuid /proc/sys/kernel/hostname; head -c 16 /dev/urandom | od -An -tx1";
    let run = |name: &str| scratch.run(["--name", name, BUSYBOX, "sh", "-c", script]).ok().text().to_owned();
    run("first");
    // The one that was missing is made in the background.
    let mut tries = 0..50;
    let from_template = |name: &str| scratch.inspect(name, "{{.State.Machine.FromTemplate}}") == "true";
    wait_until("a machine begins from a template", Duration::from_secs(200), || {
        let name = format!("try{}", tries.next().expect("a try"));
        run(&name);
        from_template(&name)
    });
    let (one, two) = (run("one"), run("two"));
    assert!(from_template("one") && from_template("two"));
    let lines = one.lines().zip(two.lines());
    assert!(lines.clone().count() == 3 && lines.clone().all(|(a, b)| a != b), "{one}\n{two}");
    let names = scratch.holm(["ps", "-aq"]).ok().text().to_owned();
    scratch.holm(["rm"]).args(names.lines()).ok();
    scratch.run(["--rm", "--no-template", BUSYBOX, "true"]).ok();
    leaks.assert_none();
}

#[test]
fn kvm_that_is_insisted_on_is_used_or_refused_with_the_reason_that_the_choice_had() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    scratch.run(["-d", "--name", "box", BUSYBOX, "sleep", "1000"]).ok();
    let chosen = scratch.inspect("box", "{{.State.Machine.Accelerator}} {{.State.Machine.Emulated}}");
    let reason = scratch.inspect("box", "{{.State.Machine.Reason}}");
    scratch.holm(["rm", "-f", "box"]).ok();
    let insisted = scratch.run(["--rm", "--accel", "kvm", BUSYBOX, "true"]);
    match chosen.as_str() {
        "kvm false" => drop(insisted.ok()),
        "tcg true" => drop(insisted.fails(125).complains("KVM was asked for").complains(&reason)),
        other => panic!("{other}"),
    }
    leaks.assert_none();
}
