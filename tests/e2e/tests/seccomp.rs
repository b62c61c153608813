//! Filters that notify: a real program outside decides on the container's calls.

use std::path::Path;

use holm_kit::{BUSYBOX, Holm, Leaks, Scratch};

use crate::attack_kernel::built;

fn profile(scratch: &Scratch, name: &str, calls: &[&str], listener: Option<&Path>) -> String {
    let mut profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerMetadata": "of the test",
        "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }],
    });
    if let Some(path) = listener {
        profile["listenerPath"] = path.display().to_string().into();
    }
    format!("seccomp={}", scratch.write(name, profile.to_string()).display())
}

#[test]
fn listener_decides_on_calls_of_the_container_and_of_exec() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let socket = scratch.path().join("listener.sock");
    let profile = profile(&scratch, "profile", &["mkdir", "mkdirat"], Some(&socket));
    let mut agent = Holm::program(built("listener")).arg(&socket).arg("2").start();
    agent.read_until("listening");
    let script = "mkdir /x 2>&1; echo ready; exec sleep 1000";
    scratch.detached("box", &["--security-opt", &profile, "--annotation", "a=b"], &["sh", "-c", script]);
    let said = agent.read_until("{\"call\":");
    let state: serde_json::Value = serde_json::from_str(said.lines().find(|l| l.contains("fds")).unwrap()).unwrap();
    let init: i64 = scratch.holm(["inspect", "--format", "{{.State.Pid}}", "box"]).ok().text().parse().unwrap();
    assert_eq!(state["fds"], serde_json::json!(["seccompFd"]), "{state}");
    assert_eq!((&state["metadata"], &state["pid"]), (&"of the test".into(), &init.into()), "{state}");
    let container = &state["state"];
    assert_eq!((&container["status"], &container["pid"]), (&"creating".into(), &init.into()), "{state}");
    assert_eq!(container["annotations"]["a"], "b", "{state}");
    assert_eq!(container["id"].as_str().unwrap().len(), 64, "{state}");
    holm_kit::wait_until("the call is answered", std::time::Duration::from_secs(20), || {
        scratch.holm(["logs", "box"]).run().stdout.contains("ready")
    });
    scratch.holm(["logs", "box"]).ok().mentions("Invalid cross-device link").mentions("ready");
    scratch.holm(["exec", "box", "mkdir", "/x"]).fails(1);
    let said = agent.finish().ok();
    let state: serde_json::Value = said.text().lines().find_map(|l| serde_json::from_str(l).ok()).unwrap();
    assert_eq!((&state["state"]["status"], &state["state"]["pid"]), (&"running".into(), &init.into()), "{state}");
    assert_ne!(state["pid"], init, "{state}");
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn filter_that_notifies_nobody_is_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let nobody = scratch.path().join("nobody.sock");
    for (listener, calls, why) in [
        (None, "mkdir", "listenerPath"),
        (Some(Path::new("relative")), "mkdir", "listenerPath"),
        (Some(nobody.as_path()), "mkdir", "nobody.sock"),
        (Some(nobody.as_path()), "sendmsg", "sendmsg"),
    ] {
        let profile = profile(&scratch, "profile", &[calls], listener);
        for more in [&["--security-opt", "no-new-privileges"][..], &[]] {
            let line = scratch.run(["--rm", "--security-opt", &profile]).args(more).args([BUSYBOX, "true"]);
            line.fails(125).complains(why);
        }
    }
    leaks.assert_none();
}
