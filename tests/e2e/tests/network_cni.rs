//! Networks of CNI plugins: the plugins that everybody uses, run by `holm run --network cni:NAME`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holm_kit::{BUSYBOX, HOST_V4, Holm, NetHost, Output, Scratch, wait_until};
use serde_json::{Value, json};

/// Where Debian's package has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A host with plugins, and configurations in a folder of the test's own.
struct Place {
    host: NetHost,
    scratch: Scratch,
}

impl Place {
    fn new() -> Self {
        let host = NetHost::new();
        let scratch = Scratch::on(&host);
        scratch.make_folder("net.d");
        scratch.make_folder("leases");
        scratch.make_folder("plugins");
        Self { host, scratch }
    }

    fn write(&self, file: &str, value: &Value) {
        self.scratch.write(&format!("net.d/{file}"), value.to_string());
    }

    /// A plugin of the test's own: a script.
    fn plugin(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.scratch.write(&format!("plugins/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    }

    /// The bridge plugin with addresses of its own.
    fn bridge(&self) -> Value {
        json!({
            "type": "bridge", "bridge": "plug0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "capabilities": {"ips": true, "mac": true},
            "ipam": {
                "type": "host-local", "dataDir": self.scratch.path().join("leases"),
                "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
            "dns": {"nameservers": ["192.0.2.53"], "search": ["plug.test"]},
        })
    }

    fn list(&self, more: &[Value]) -> Value {
        let mut plugins = vec![self.bridge()];
        plugins.extend(more.iter().cloned());
        json!({"cniVersion": "1.0.0", "name": "plugs", "plugins": plugins})
    }

    fn with(&self, line: Holm) -> Holm {
        let plugins = format!("{}:{PLUGINS}", self.scratch.path().join("plugins").display());
        line.env("HOLM_CNI_CONFIG", self.scratch.path().join("net.d")).env("CNI_PATH", plugins)
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Holm {
        let network = ["--network", "cni:plugs"];
        self.with(self.scratch.run(network).args(options).arg(BUSYBOX).args(command))
    }

    fn holm(&self, words: &[&str]) -> Holm {
        self.with(self.scratch.holm(words))
    }

    /// Addresses that host-local has given.
    fn leases(&self) -> Vec<String> {
        let folder = self.scratch.path().join("leases/plugs");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("10.")).collect()
    }

    /// What plugins left on the host, their bridge apart, which they never remove.
    fn left(&self) -> Vec<String> {
        let mut left = self.leases();
        let ours = |line: &&str| line.contains("veth") || line.contains("ifb") || line.contains("bwp");
        let links = self.host.command("ip", ["-o", "link", "show"]).ok().stdout;
        left.extend(links.lines().filter(ours).filter(|line| !line.contains("uplink")).map(str::to_owned));
        let rules = self.host.command("iptables-save", [] as [&str; 0]).run().stdout;
        left.extend(
            rules.lines().filter(|rule| rule.contains("10.88.0.") || rule.contains("CNI-DN-")).map(str::to_owned),
        );
        left.extend(entries(&self.scratch.run_root().join("network/cni")));
        left
    }
}

impl Place {
    /// Who runs a container with `--rm` is told of its end before its plugins have undone.
    #[track_caller]
    fn assert_undone(&self) {
        wait_until("plugins have undone all", Duration::from_secs(10), || {
            let left = self.left();
            eprintln!("left by plugins: {left:#?}");
            left.is_empty()
        });
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path().display().to_string()).collect()
}

fn curl(host: &NetHost, url: &str) -> Output {
    host.outside_command("curl", ["-s", "-m", "5", url]).run()
}

#[test]
fn a_chain_of_plugins_gives_address_names_ports_and_bandwidth_and_leaves_nothing() {
    let place = Place::new();
    place.write(
        "10-plugs.conflist",
        &place.list(&[
            json!({"type": "portmap", "capabilities": {"portMappings": true}}),
            json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
            json!({"type": "firewall", "backend": "iptables"}),
        ]),
    );
    let network = "cni:plugs:ip=10.88.7.9,mac=02:00:00:00:07:09,ingress=80m,egress=80m";
    let script = "mkdir -p /www && echo I am web > /www/index.html && exec httpd -f -p 80 -h /www";
    let line =
        place.scratch.run(["-d", "--name", "web", "--network", network, "-p", "8080:80", BUSYBOX, "sh", "-c", script]);
    place.with(line).ok();
    let inside = place.holm(&["exec", "web", "sh", "-c", "ip addr; ip route; cat /etc/hosts /etc/resolv.conf"]).ok();
    let inside = inside.mentions("inet 10.88.7.9/16").mentions("02:00:00:00:07:09").mentions("default via 10.88.0.1");
    inside
        .mentions("10.88.7.9\t")
        .mentions("nameserver 192.0.2.53")
        .mentions("search plug.test")
        .mentions("lo: <LOOPBACK,UP");
    wait_until("the port answers", Duration::from_secs(10), || {
        curl(&place.host, &format!("http://{HOST_V4}:8080/")).text() == "I am web"
    });
    for url in ["http://127.0.0.1:8080/", "http://[::1]:8080/"] {
        place.host.command("curl", ["-s", "-m", "5", url]).ok().says("I am web");
    }
    assert!(place.host.command("tc", ["qdisc", "show"]).ok().stdout.contains("qdisc tbf"), "bandwidth is limited");
    assert_eq!(place.leases(), ["10.88.7.9"]);
    let shown = |field: &str| place.scratch.inspect("web", &format!("{{{{.NetworkSettings.Networks.plugs.{field}}}}}"));
    assert_eq!(
        [shown("IPAddress"), shown("Gateway"), shown("MacAddress")],
        ["10.88.7.9", "10.88.0.1", "02:00:00:00:07:09"]
    );
    place.holm(&["port", "web"]).ok().mentions("8080");
    place.holm(&["restart", "-t", "1", "web"]).ok();
    wait_until("the port answers again", Duration::from_secs(10), || {
        curl(&place.host, &format!("http://{HOST_V4}:8080/")).text() == "I am web"
    });
    place.holm(&["rm", "-f", "web"]).ok();
    place.assert_undone();
}

#[test]
fn what_no_plugin_takes_and_configurations_that_cannot_be_used_are_told() {
    let place = Place::new();
    place.write("5-broken.conflist", &json!({"cniVersion": "9.0.0", "name": "broken", "plugins": []}));
    place.write("10-plugs.conflist", &place.list(&[]));
    place
        .run(&["--rm", "-p", "8080:80"], &["true"])
        .fails(125)
        .complains("no plugin of CNI configuration `plugs` takes `portMappings`");
    let unknown = place.with(place.scratch.run(["--rm", "--network", "cni:other", BUSYBOX, "true"])).fails(125);
    unknown.complains("cannot use CNI configuration `other`").complains("5-broken.conflist").complains("9.0.0");
    place.write("10-plugs.conflist", &place.list(&[json!({"type": "nothere"})]));
    place.run(&["--rm"], &["true"]).fails(125).complains("`nothere`").complains("there is no such program");
    place.assert_undone();
}

#[test]
fn a_single_plugin_works_in_a_user_namespace_too() {
    let place = Place::new();
    let mut bridge = place.bridge();
    bridge["name"] = "plugs".into();
    bridge["cniVersion"] = "0.4.0".into();
    place.write("10-plugs.conf", &bridge);
    let shown = place.run(&["--rm", "--userns", "auto"], &["ip", "-4", "addr", "show", "eth0"]).run();
    assert!(shown.stdout.contains("inet 10.88.0."), "{shown}");
    place.assert_undone();
}

#[test]
fn a_plugin_that_fails_is_told_in_its_words_and_those_before_it_undo() {
    let place = Place::new();
    let complaint = r#"case $CNI_COMMAND in ADD) echo '{"cniVersion":"1.0.0","code":142,"msg":"no luck today","details":"try tomorrow"}'; exit 1;; esac"#;
    place.plugin("unlucky", complaint);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    place.write("10-plugs.conflist", &place.list(&[json!({"type": "unlucky"}), portmap.clone()]));
    let failed = place.run(&["--rm", "-p", "8080:80"], &["true"]).fails(125);
    failed.complains("CNI plugin `unlucky` of network `plugs`").complains("no luck today (code 142): try tomorrow");
    place.assert_undone();
    place.plugin("unlucky", "head -c 9000000 /dev/zero");
    place.run(&["--rm"], &["true"]).fails(125).complains("`unlucky`");
    place.plugin("unlucky", "echo nonsense");
    place.run(&["--rm"], &["true"]).fails(125).complains("no JSON");
    assert_eq!(place.leases(), [] as [String; 0], "`nonsense` to DEL is an error that comes again");
}

#[test]
fn what_a_killed_supervisor_left_is_deleted_by_the_next_command() {
    let place = Place::new();
    let mut list = place.list(&[json!({"type": "portmap", "capabilities": {"portMappings": true}})]);
    // The plugin finds its rules for masquerading by the link inside, which is gone with its namespace.
    list["plugins"][0]["ipMasq"] = false.into();
    place.write("10-plugs.conflist", &list);
    place.run(&["-d", "--name", "box", "-p", "8080:80"], &["sleep", "1000"]).ok();
    assert_eq!(place.leases().len(), 1);
    let pid = supervisor(&place.scratch, "box");
    holm_kit::kill(pid, 9);
    wait_until("the supervisor is gone", Duration::from_secs(5), || !holm_kit::alive(pid));
    place.holm(&["ps", "-a"]).ok().mentions("box");
    place.assert_undone();
    place.holm(&["start", "box"]).ok();
    assert_eq!(place.leases().len(), 1);
    place.holm(&["rm", "-f", "box"]).ok();
    place.assert_undone();
}

#[test]
fn a_plugin_that_could_not_undo_is_asked_again_by_the_next_command() {
    let place = Place::new();
    let flag = place.scratch.path().join("stuck");
    place.plugin(
        "stuck",
        &format!("cat > /dev/null; [ $CNI_COMMAND = DEL ] && [ -e {0} ] && exit 1; echo '{{}}'", flag.display()),
    );
    place.write("10-plugs.conflist", &json!({"cniVersion": "1.0.0", "name": "plugs", "plugins": [{"type": "stuck"}]}));
    fs::write(&flag, "").expect("write a file");
    place.run(&["--rm"], &["true"]).ok();
    let records = || entries(&place.scratch.run_root().join("network/cni")).len();
    wait_until("its supervisor has ended", Duration::from_secs(10), || {
        entries(&place.scratch.run_root().join("containers")).is_empty()
    });
    assert_eq!(records(), 1);
    let told = place.holm(&["ps"]).ok();
    assert!(told.stderr.contains("warning: cannot DEL by CNI plugin `stuck`"), "{told}");
    assert_eq!(records(), 1);
    fs::remove_file(&flag).expect("remove a file");
    place.holm(&["ps"]).ok();
    assert_eq!(records(), 0);
}

/// The parent of a container's process.
fn supervisor(scratch: &Scratch, name: &str) -> i32 {
    let pid = scratch.inspect(name, "{{.State.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read a process's state");
    let after = &stat[stat.rfind(')').expect("a name") + 2..];
    after.split(' ').nth(1).expect("a parent").parse().expect("a PID")
}

#[test]
fn a_running_container_of_plugins_is_renamed() {
    let place = Place::new();
    place.write("plugs.conflist", &place.list(&[]));
    place.run(&["-d", "--name", "old", "--stop-timeout", "0"], &["sleep", "1000"]).ok();
    place.holm(&["rename", "old", "new"]).ok();
    place.holm(&["exec", "new", "ip", "-4", "addr", "show", "eth0"]).ok().mentions("inet 10.88.");
    place.holm(&["rm", "-f", "new"]).ok();
    place.assert_undone();
}
