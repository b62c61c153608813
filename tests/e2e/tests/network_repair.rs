//! What others do to the host's network while containers run: rulesets flushed, the keeper killed, firewalls that drop.

use std::time::Duration;

use holm_kit::{HOST_V4, NetHost, OUTSIDE_V4, Scratch, kill, wait_until};

use crate::network_basic::{GET, ask, get, serve_outside, web};

fn rules(host: &NetHost) -> String {
    host.command("nft", ["list", "table", "inet", "holm"]).run().stdout
}

/// PID of the keeper on this host.
pub(crate) fn keeper(host: &NetHost) -> Option<i32> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata(host.netns()).ok()?.ino();
    let is_keeper = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "holm-net\n")
            && std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|netns| netns.ino() == own)
    };
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.into_iter().find(is_keeper)
}

#[test]
fn a_flushed_ruleset_comes_back_by_itself() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "web", &["-p", "8080:80"]);
    for what in [
        vec!["flush", "ruleset"],
        vec!["flush", "chain", "inet", "holm", "forward"],
        vec!["delete", "table", "bridge", "holm"],
    ] {
        host.command("nft", &what).ok();
        wait_until("the rules come back", Duration::from_secs(10), || {
            let bridge = host.command("nft", ["list", "table", "bridge", "holm"]).run();
            rules(&host).contains("from-network") && bridge.stdout.contains("sender4")
        });
        let url = format!("http://{HOST_V4}:8080/");
        host.outside_command("curl", ["-s", "-m", "5", &url]).ok().says("I am web");
    }
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn the_next_command_repairs_what_was_flushed_while_nobody_looked() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "web", &["-p", "8080:80"]);
    let pid = keeper(&host).expect("a keeper");
    // A stopped keeper notices nothing.
    kill(pid, 19);
    host.command("nft", ["flush", "ruleset"]).ok();
    web(&scratch, "other", &[]);
    let url = format!("http://{HOST_V4}:8080/");
    host.outside_command("curl", ["-s", "-m", "5", &url]).ok().says("I am web");
    kill(pid, 18);
    scratch.holm(["rm", "-f", "web", "other"]).ok();
    host.assert_clean();
}

#[test]
fn a_killed_keeper_is_replaced_and_names_go_on() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    scratch.holm(["network", "create", "net"]).ok();
    web(&scratch, "web", &["--network", "net"]);
    for _ in 0..3 {
        let pid = keeper(&host).expect("a keeper");
        kill(pid, 9);
        wait_until("another keeper", Duration::from_secs(10), || keeper(&host).is_some_and(|other| other != pid));
        wait_until("names are served", Duration::from_secs(10), || {
            let script = format!("{GET} | nc -w 3 web 80");
            scratch.holm(["exec", "web", "sh", "-c", &script]).run().stdout.contains("I am web")
        });
    }
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn firewalls_that_drop_by_default_let_networks_through_and_are_left_as_they_were() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let _server = serve_outside(&host, &scratch);
    // As docker and ufw set it.
    for tool in ["iptables-nft", "ip6tables-nft"] {
        for chain in ["FORWARD", "INPUT"] {
            host.command(tool, ["-P", chain, "DROP"]).ok();
        }
        let known = ["-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"];
        host.command(tool, known).ok();
    }
    host.command("sysctl", ["-q", "net.bridge.bridge-nf-call-iptables=1"]).run();
    let before = host.command("iptables-nft", ["-S"]).ok().stdout;
    scratch.holm(["network", "create", "net"]).ok();
    web(&scratch, "web", &["--network", "net", "-p", "8080:80"]);
    assert!(ask(&scratch, "net", "web 80").stdout.contains("I am web"), "by name, over the bridge");
    let out = ask(&scratch, "net", &format!("{OUTSIDE_V4} 7000"));
    assert!(out.stdout.contains("outside"), "{out}");
    let url = format!("http://{HOST_V4}:8080/");
    host.outside_command("curl", ["-s", "-m", "5", &url]).ok().says("I am web");
    // Its owner can still read its table, and gets it back.
    host.command("iptables-nft", ["-S"]).ok().mentions("-A FORWARD -i holm-");
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
    assert_eq!(host.command("iptables-nft", ["-S"]).ok().stdout, before);
    assert!(get(&host, &url).exit_code() != 0);
}

#[test]
fn two_run_roots_do_not_take_each_others_networks_away() {
    let host = NetHost::new();
    let (first, second) = (Scratch::on(&host), Scratch::on(&host));
    web(&first, "web", &["-p", "8080:80"]);
    let refused = second.run(["--rm", holm_kit::BUSYBOX, "true"]).fails(125);
    refused.complains("networks of the run root").complains(&first.run_root().display().to_string());
    get(&host, &format!("http://{HOST_V4}:8080/")).ok().says("I am web");
    first.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
    second.run(["--rm", holm_kit::BUSYBOX, "true"]).ok();
    host.assert_clean();
}
