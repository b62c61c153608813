//! `holm cni` as other runtimes run it: every verb with what they set, and podman with its CNI networks.

use std::fs;
use std::os::unix::fs::symlink;

use holm_kit::{HOST_V4, Holm, NetHost, OUTSIDE_V4, Output, Scratch, has_command, holm_binary};
use serde_json::{Value, json};

/// A host, and the plugin in a folder of plugins.
struct Place {
    host: NetHost,
    scratch: Scratch,
}

/// A network namespace that plays a container of another runtime.
struct Netns(String);

impl Netns {
    fn new(host: &NetHost, number: u32) -> Self {
        let name = format!("holm-test-cni-{}-{number}", std::process::id());
        host.command("ip", ["netns", "add", &name]).ok();
        Holm::program("ip").args(["-n", &name, "link", "set", "lo", "up"]).ok();
        Self(name)
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    fn command(&self, words: &[&str]) -> Output {
        Holm::program(words[0])
            .args(&words[1..])
            .through(["nsenter".to_owned(), format!("--net={}", self.path())])
            .run()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

impl Place {
    fn new() -> Self {
        let host = NetHost::new();
        let scratch = Scratch::on(&host);
        let folder = scratch.make_folder("plugins");
        symlink(holm_binary(), folder.join("holm")).expect("make a link");
        symlink(holm_binary(), folder.join("holm-cni")).expect("make a link");
        Self { host, scratch }
    }

    /// What cnitool does: the verb and what belongs to it in the environment, the configuration on the input.
    fn call(&self, verb: &str, container: &str, netns: &str, ifname: &str, conf: &Value) -> Holm {
        let plugin = self.scratch.path().join("plugins/holm").display().to_string();
        let line = self.host.command(&plugin, [] as [&str; 0]).input(conf.to_string());
        line.env("HOLM_DATA_ROOT", self.scratch.data_root())
            .env("HOLM_RUN_ROOT", self.scratch.run_root())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", ifname)
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAME={container}"))
            .env("CNI_PATH", self.scratch.path().join("plugins"))
    }

    fn conf(&self, version: &str) -> Value {
        json!({
            "cniVersion": version, "name": "podnet", "type": "holm", "bridge": "cni7", "isDefaultGateway": true, "ipMasq": true,
            "mtu": 1400, "ipam": {"type": "host-local", "subnet": "10.20.0.0/16", "routes": [{"dst": "198.51.100.0/24"}]},
        })
    }
}

fn error(output: &Output) -> (u64, String) {
    let value = output.json();
    (value["code"].as_u64().expect("a code"), value["msg"].as_str().expect("a message").to_owned())
}

fn with(mut conf: Value, key: &str, value: Value) -> Value {
    conf[key] = value;
    conf
}

#[test]
fn version_status_and_what_is_no_verb_are_answered_under_every_name() {
    let place = Place::new();
    for name in ["plugins/holm", "plugins/holm-cni"] {
        let path = place.scratch.path().join(name).display().to_string();
        let line = place.host.command(&path, [] as [&str; 0]).env("CNI_COMMAND", "VERSION");
        let value = line.input(r#"{"cniVersion":"0.4.0"}"#).ok().json();
        assert_eq!(value, json!({"cniVersion": "0.4.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}));
    }
    place.scratch.holm(["cni"]).env("CNI_COMMAND", "VERSION").ok().mentions("supportedVersions");
    place.call("STATUS", "", "", "", &place.conf("1.1.0")).ok().says("");
    let old = place.call("STATUS", "", "", "", &place.conf("1.0.0")).fails(1);
    assert_eq!(error(&old).0, 1);
    let unknown = json!({"cniVersion": "1.1.0", "name": "a", "network": "nowhere"});
    assert_eq!(
        error(&place.call("STATUS", "", "", "", &unknown).fails(1)),
        (50, "cannot find network `nowhere`".into())
    );
    for (verb, container, netns, ifname, code) in [
        ("DANCE", "a", "/", "eth0", 4),
        ("ADD", "", "/", "eth0", 4),
        ("ADD", "../a", "/", "eth0", 4),
        ("ADD", "a", "", "eth0", 4),
        ("ADD", "a", "/nowhere", "eth0", 3),
        ("ADD", "a", "/", "eth0/1", 4),
        ("ADD", "a", "/", "much-too-long-name", 4),
    ] {
        let failed = place.call(verb, container, netns, ifname, &place.conf("1.0.0")).fails(1);
        assert_eq!(error(&failed).0, code, "{verb} {container} {netns} {ifname}");
    }
    assert_eq!(error(&place.call("ADD", "a", "/", "eth0", &place.conf("0.2.0")).fails(1)).0, 1);
}

#[test]
fn a_container_of_another_runtime_gets_an_interface_is_checked_and_gives_it_back() {
    let place = Place::new();
    let netns = Netns::new(&place.host, 1);
    let mapping =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}], "ips": ["10.20.3.4/16"]});
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let conf = with(place.conf(version), "runtimeConfig", mapping.clone());
        let result = place.call("ADD", "pod-1", &netns.path(), "net1", &conf).ok().json();
        assert_eq!((&result["cniVersion"], &result["ips"][0]["address"]), (&json!(version), &json!("10.20.3.4/16")));
        assert_eq!(result["ips"][0]["gateway"], "10.20.0.1");
        assert_eq!(result["ips"][0].get("version").is_some(), version == "0.4.0");
        assert_eq!(
            (&result["interfaces"][0]["name"], &result["interfaces"][2]["name"]),
            (&json!("cni7"), &json!("net1"))
        );
        assert_eq!(
            (&result["interfaces"][2]["sandbox"], &result["dns"]["nameservers"][0]),
            (&json!(netns.path()), &json!("10.20.0.1"))
        );
        netns
            .command(&["ip", "route"])
            .ok()
            .mentions("default via 10.20.0.1")
            .mentions("198.51.100.0/24 via 10.20.0.1");
        netns.command(&["ip", "addr", "show", "net1"]).ok().mentions("10.20.3.4/16").mentions("mtu 1400");
        netns.command(&["ping", "-c", "1", "-W", "3", OUTSIDE_V4]).ok();
        let served = ["busybox", "nc", "-l", "-p", "80", "-e", "echo", "served"];
        let mut server = Holm::program(served[0])
            .args(&served[1..])
            .through(["nsenter".to_owned(), format!("--net={}", netns.path())])
            .start();
        holm_kit::wait_until("the port answers", std::time::Duration::from_secs(10), || {
            place.host.outside_command("busybox", ["nc", "-w", "2", HOST_V4, "8080"]).run().text() == "served"
        });
        let _ = server.is_running();
        let twice = place.call("ADD", "pod-1", &netns.path(), "net1", &conf).fails(1);
        assert_eq!(error(&twice).0, 101);
        let taken = place.scratch.run(["--rm", "-p", "8080:80", holm_kit::BUSYBOX, "true"]).fails(125);
        taken.complains("cannot publish port 8080/tcp").complains("container `pod-1` has it");
        let checked = with(conf.clone(), "prevResult", result);
        place.call("CHECK", "pod-1", &netns.path(), "net1", &checked).ok().says("");
        netns.command(&["ip", "addr", "flush", "dev", "net1"]).ok();
        let broken = place.call("CHECK", "pod-1", &netns.path(), "net1", &checked).fails(1);
        assert_eq!(error(&broken).0, 102);
        place.call("DEL", "pod-1", &netns.path(), "net1", &checked).ok().says("");
        place.call("DEL", "pod-1", "", "net1", &checked).ok().says("");
        assert_ne!(netns.command(&["ip", "link", "show", "net1"]).exit_code(), 0);
    }
    place.host.assert_clean();
}

#[test]
fn two_interfaces_of_one_container_are_two_and_gc_takes_what_is_not_listed() {
    let place = Place::new();
    let (one, two) = (Netns::new(&place.host, 2), Netns::new(&place.host, 3));
    let conf = place.conf("1.1.0");
    for (container, netns, ifname) in [("a", &one, "eth0"), ("a", &one, "eth1"), ("b", &two, "eth0")] {
        place.call("ADD", container, &netns.path(), ifname, &conf).ok();
    }
    place.scratch.run(["-d", "--name", "own", holm_kit::BUSYBOX, "sleep", "1000"]).ok();
    // Commands of Holm's own leave alone what they do not know.
    place.scratch.holm(["ps"]).ok();
    let valid = json!([{"containerID": "a", "ifname": "eth1"}]);
    place.call("GC", "", "", "", &with(conf.clone(), "cni.dev/valid-attachments", valid)).ok().says("");
    assert_ne!(one.command(&["ip", "link", "show", "eth0"]).exit_code(), 0);
    one.command(&["ip", "link", "show", "eth1"]).ok();
    assert_ne!(two.command(&["ip", "link", "show", "eth0"]).exit_code(), 0);
    place.scratch.holm(["exec", "own", "ip", "link", "show", "eth0"]).ok();
    // The namespace goes first.
    drop(one);
    place.call("DEL", "a", "", "eth1", &conf).ok();
    place.scratch.holm(["rm", "-f", "own"]).ok();
    place.host.assert_clean();
}

#[test]
fn containers_of_both_reach_each_other_and_survive_a_flush_of_the_ruleset() {
    let place = Place::new();
    let netns = Netns::new(&place.host, 4);
    let conf = json!({"cniVersion": "1.0.0", "name": "own", "type": "holm", "network": "bridge"});
    place.call("ADD", "stranger", &netns.path(), "eth0", &conf).ok();
    let ping = || place.scratch.sh("ping -c 1 -W 3 stranger").run();
    assert_eq!(ping().exit_code(), 0, "by its name: {}", ping());
    place.host.command("nft", ["flush", "ruleset"]).ok();
    holm_kit::wait_until("the rules are back", std::time::Duration::from_secs(10), || ping().exit_code() == 0);
    place.call("DEL", "stranger", &netns.path(), "eth0", &conf).ok();
    place.host.assert_clean();
}

#[test]
fn both_families_and_a_part_of_a_subnet_are_had_without_a_way_out() {
    let place = Place::new();
    let netns = Netns::new(&place.host, 6);
    let mut conf = place.conf("1.1.0");
    conf["isDefaultGateway"] = false.into();
    conf["ipam"] = json!({"ranges": [
        [{"subnet": "10.21.0.0/16", "rangeStart": "10.21.9.0", "rangeEnd": "10.21.9.255", "gateway": "10.21.0.7"}],
        [{"subnet": "fd00:21::/64"}],
    ]});
    let result = place.call("ADD", "a", &netns.path(), "eth0", &conf).ok().json();
    assert_eq!(result["ips"].as_array().expect("addresses").len(), 2);
    let shown = netns.command(&["ip", "addr", "show", "eth0"]).ok();
    shown.mentions("inet 10.21.9.").mentions("inet6 fd00:21::");
    netns.command(&["ip", "route"]).ok().omits("default");
    netns.command(&["ping", "-c", "1", "-W", "3", "10.21.0.7"]).ok();
    let other = with(conf.clone(), "ipam", json!({"subnet": "10.22.0.0/16"}));
    let refused = place.call("ADD", "b", &netns.path(), "eth1", &other).fails(1);
    assert_eq!(error(&refused).0, 7, "the network is there and has another subnet");
    place.call("DEL", "a", &netns.path(), "eth0", &conf).ok();
    place.host.assert_clean();
}

#[test]
fn of_many_calls_for_one_interface_one_makes_it() {
    let place = Place::new();
    let netns = Netns::new(&place.host, 7);
    let conf = place.conf("1.0.0");
    let calls: Vec<_> = (0..8).map(|_| place.call("ADD", "a", &netns.path(), "eth0", &conf).start()).collect();
    let codes: Vec<i32> = calls.into_iter().map(|call| call.finish().exit_code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    netns.command(&["ip", "addr", "show", "eth0"]).ok().mentions("10.20.0.");
    place.call("DEL", "a", &netns.path(), "eth0", &conf).ok();
    place.host.assert_clean();
}

#[test]
fn a_bridge_of_somebody_elses_is_left_alone() {
    let place = Place::new();
    let netns = Netns::new(&place.host, 5);
    place.host.command("ip", ["link", "add", "cni7", "type", "bridge"]).ok();
    let failed = place.call("ADD", "a", &netns.path(), "eth0", &place.conf("1.0.0")).fails(1);
    assert_eq!(error(&failed).0, 7);
    place.host.command("ip", ["link", "show", "cni7"]).ok();
    place.call("DEL", "a", &netns.path(), "eth0", &place.conf("1.0.0")).ok();
}

#[test]
fn podman_runs_containers_on_networks_of_holms() {
    if !has_command("podman") {
        return holm_kit::skip("podman_runs_containers_on_networks_of_holms", "podman is not installed");
    }
    let place = Place::new();
    let folder = place.scratch.path();
    place.scratch.make_folder("net.d");
    let mut plugin = place.conf("0.4.0");
    plugin["capabilities"] = json!({"portMappings": true, "ips": true});
    plugin["dataRoot"] = json!(place.scratch.data_root());
    plugin["runRoot"] = json!(place.scratch.run_root());
    let list = json!({"cniVersion": "0.4.0", "name": "podnet", "plugins": [plugin]});
    place.scratch.write("net.d/50-podnet.conflist", list.to_string());
    let settings = format!(
        "[network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"{0}/net.d\"\ncni_plugin_dirs = [\"{0}/plugins\"]\n\
         [engine]\nnetwork_cmd_path = \"\"\n",
        folder.display()
    );
    let settings = place.scratch.write("containers.conf", settings);
    let tar = place.scratch.write("root.tar", holm_kit::busybox_root_tar());
    let podman = |words: &[&str]| {
        let mut line = place.host.command("podman", ["--root"]).arg(folder.join("podman")).arg("--runroot");
        line = line.arg(folder.join("podman-run")).args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        line = line.args(["--events-backend", "file", "--runtime", "runc"]).args(words);
        line.env("CONTAINERS_CONF", &settings)
    };
    podman(&["import", &tar.display().to_string(), "localhost/busybox:test"]).ok();
    let base = ["run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "podnet"];
    let run = |more: &[&str]| podman(&[&base[..], more].concat());
    let shown =
        run(&["localhost/busybox:test", "sh", "-c", &format!("ip -4 addr show eth0; ping -c 1 -W 3 {OUTSIDE_V4}")])
            .ok();
    shown.mentions("inet 10.20.0.").mentions("1 packets received");
    run(&[
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "localhost/busybox:test",
        "sh",
        "-c",
        "echo I am web > /index.html; exec httpd -f -p 80 -h /",
    ])
    .ok();
    holm_kit::wait_until("the port answers", std::time::Duration::from_secs(10), || {
        let curl = place.host.outside_command("curl", ["-s", "-m", "3", &format!("http://{HOST_V4}:8080/")]);
        curl.run().text() == "I am web"
    });
    podman(&["rm", "-f", "-t", "0", "web"]).ok();
    let owners = fs::read_dir(place.scratch.run_root().join("network/cni-plugin")).into_iter().flatten().count();
    assert_eq!(owners, 0);
    place.host.assert_clean();
}
