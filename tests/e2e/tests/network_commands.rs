//! The commands about networks and ports, as a user meets them, bad input included.

use holm_kit::{BUSYBOX, HOST_V4, NetHost, OUTSIDE_V4, Output, Scratch};

use super::network_basic::{GET, ask, get, serve_outside, web};

fn scene() -> (NetHost, Scratch) {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    (host, scratch)
}

#[track_caller]
fn network(scratch: &Scratch, words: &[&str]) -> Output {
    scratch.holm(["network"].iter().chain(words)).run()
}

/// A container that only waits.
fn idle(scratch: &Scratch, name: &str, options: &[&str]) {
    let mut all = vec!["--stop-timeout", "0"];
    all.extend(options);
    scratch.detached(name, &all, &["sleep", "1000"]);
}

fn exec(scratch: &Scratch, name: &str, script: &str) -> Output {
    scratch.holm(["exec", name, "sh", "-c", script]).run()
}

/// What one container gets from a place.
fn fetch(scratch: &Scratch, from: &str, place: &str) -> Output {
    exec(scratch, from, &format!("{GET} | nc -w 3 {place}"))
}

#[test]
fn networks_are_made_listed_shown_and_removed() {
    let (host, scratch) = scene();
    // Where nothing was ever made, docker's three are there.
    network(&scratch, &["ls", "--format", "{{.Name}}/{{.Driver}}"]).ok().says("bridge/bridge\nhost/host\nnone/null");
    let made = [
        "create",
        "--subnet",
        "172.28.0.0/24",
        "--gateway",
        "172.28.0.254",
        "--ip-range",
        "172.28.0.128/25",
        "--label",
        "app=web",
        "--mtu",
        "1400",
        "web",
    ];
    let id = network(&scratch, &made).ok().text().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let listed = network(&scratch, &["ls"]).ok();
    assert!(listed.stdout.starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"), "{listed}");
    listed.mentions(&format!("{}   web       bridge    local\n", &id[..12]));
    network(&scratch, &["ls", "-o", "wide"]).ok().mentions("SUBNETS").mentions("172.28.0.0/24").mentions("holm-");
    network(&scratch, &["ls", "-q", "--no-trunc", "--filter", "label=app=web"]).ok().says(&id);
    network(&scratch, &["ls", "-q", "--filter", "driver=macvlan"]).ok().says("");
    network(&scratch, &["ls", "-o", "name", "--filter", "dangling=true"]).ok().says("web");
    network(&scratch, &["ls", "-o", "name", "--filter", "type=builtin"]).ok().says("bridge\nhost\nnone");
    let ids = network(&scratch, &["ls", "-o", "json", "--filter", &format!("id={}", &id[..6])]).ok().json();
    assert_eq!(ids[0]["Name"], "web");
    idle(&scratch, "one", &["--network", &id[..12]]);
    let shown = network(&scratch, &["inspect", "web"]).ok().json()[0].clone();
    assert_eq!(shown["Id"], id.as_str());
    assert_eq!(shown["Labels"]["app"], "web");
    assert_eq!(shown["Options"]["mtu"], "1400");
    assert_eq!(
        shown["IPAM"]["Config"][0],
        serde_json::json!({"Subnet": "172.28.0.0/24", "IPRange": "172.28.0.128/25", "Gateway": "172.28.0.254"})
    );
    let container = scratch.inspect("one", "{{.Id}}");
    assert_eq!(shown["Containers"][&container]["IPv4Address"], "172.28.0.129/24");
    assert_eq!(shown["Containers"][&container]["Name"], "one");
    exec(&scratch, "one", "cat /sys/class/net/eth0/mtu").ok().says("1400");
    scratch.inspect("web", "{{.Driver}}");
    network(&scratch, &["inspect", "-f", "{{.Driver}}", "none"]).ok().says("null");
    scratch.holm(["rm", "-f", "one"]).ok();
    network(&scratch, &["rm", "web"]).ok().says("web");
    network(&scratch, &["inspect", "web"]).code(1).complains("cannot find network `web`");
    network(&scratch, &["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn bad_networks_are_refused_with_the_reason() {
    let (host, scratch) = scene();
    network(&scratch, &["create", "--subnet", "172.28.0.0/24", "web"]).ok();
    for (words, why) in [
        (vec!["--subnet", "nonsense", "x"], "must be a subnet"),
        (vec!["--subnet", "172.28.1.0/33", "x"], "must be a subnet"),
        (vec!["--subnet", "172.28.1.5/24", "x"], "an address in a subnet"),
        (vec!["--subnet", "172.28.0.128/25", "x"], "overlaps `172.28.0.0/24` of network `web`"),
        (vec!["--subnet", "192.0.2.0/24", "x"], "a route of the host over link `uplink`"),
        (vec!["--subnet", "172.29.0.0/31", "x"], "needs /30 or larger"),
        (vec!["--subnet", "172.29.0.0/24", "--subnet", "172.30.0.0/24", "x"], "one subnet of each family"),
        (vec!["--subnet", "fd00:1::/64", "x"], "add --ipv6"),
        (vec!["--subnet", "172.29.0.0/24", "--gateway", "172.30.0.1", "x"], "in no subnet"),
        (vec!["--gateway", "nobody", "x"], "must be an IP address"),
        (vec!["--subnet", "172.29.0.0/24", "--ip-range", "172.30.0.0/28", "x"], "in no subnet"),
        (vec!["--mtu", "7", "x"], "a number from 68"),
        (vec!["--ipv6", "--mtu", "1279", "x"], "a number from 1280"),
        (vec!["-o", "colour=red", "x"], "no such option"),
        (vec!["-o", "colour", "x"], "KEY=VALUE"),
        (vec!["-d", "overlay", "x"], "must be bridge or macvlan"),
        (vec!["-d", "macvlan", "x"], "need addresses of the network outside"),
        (vec!["web"], "there is one of that name"),
        (vec!["host"], "means something else"),
        (vec!["bridge"], "there is one of that name"),
        (vec!["a b"], "NAME"),
        (vec!["../x"], "NAME"),
    ] {
        let output = network(&scratch, &[&["create"], words.as_slice()].concat()).code(1);
        output.complains(why);
    }
    network(&scratch, &["ls", "-o", "name", "--filter", "type=custom"]).ok().says("web");
    network(&scratch, &["create", "--ignore", "web"]).ok();
    for (words, why) in [
        (vec!["rm", "nope"], "cannot find network `nope`"),
        (vec!["rm", "bridge"], "it is the default one"),
        (vec!["rm", "host"], "always there"),
        (vec!["inspect", "nope"], "cannot find network `nope`"),
        (vec!["connect", "host", "x"], "chosen when a container is made"),
        (vec!["connect", "web", "nobody"], "cannot find container `nobody`"),
        (vec!["ls", "--filter", "colour=red"], "no filter `colour`"),
    ] {
        network(&scratch, &words).code(1).complains(why);
    }
    // Nothing is made for a network that is not there.
    let unknown = scratch.create(["--name", "lost", "--network", "nope", BUSYBOX, "true"]).fails(125);
    unknown.complains("cannot find network `nope`").complains("holm network create nope");
    scratch.holm(["ps", "-aq"]).ok().says("");
    scratch.run(["--rm", "--network", "web", "--network", "web", BUSYBOX, "true"]).fails(125).complains("named twice");
    host.assert_clean();
}

#[test]
fn a_network_in_use_stays() {
    let (host, scratch) = scene();
    network(&scratch, &["create", "web"]).ok();
    idle(&scratch, "one", &["--network", "web"]);
    let running = network(&scratch, &["rm", "-f", "web"]).code(1);
    running.complains("1 container(s) are on it, `one` among them").complains("holm network disconnect web one");
    scratch.holm(["stop", "one"]).ok();
    let stopped = network(&scratch, &["rm", "web"]).code(1);
    stopped.complains("container `one` joins it when it starts").complains("holm network rm -f web");
    network(&scratch, &["prune", "-f"]).ok().says("");
    network(&scratch, &["rm", "-f", "web"]).ok();
    scratch.holm(["start", "one"]).fails(125).complains("cannot find network `web`");
    network(&scratch, &["disconnect", "web", "one"]).ok();
    network(&scratch, &["connect", "bridge", "one"]).ok();
    scratch.holm(["start", "one"]).ok();
    exec(&scratch, "one", "ip -4 addr show eth0").ok().mentions("inet 10.77.");
    scratch.holm(["rm", "-f", "one"]).ok();
    network(&scratch, &["create", "--label", "keep=1", "old"]).ok();
    network(&scratch, &["create", "older"]).ok();
    network(&scratch, &["prune", "-f", "--filter", "label!=keep"]).ok().says("Deleted Networks:\nolder");
    scratch.holm(["system", "prune", "-f"]).ok().mentions("Deleted Networks:\nold\n");
    host.assert_clean();
}

#[test]
fn addresses_of_ones_own_are_had_or_refused() {
    let (host, scratch) = scene();
    network(&scratch, &["create", "--subnet", "172.28.0.0/29", "small"]).ok();
    network(&scratch, &["create", "--ipv6", "--subnet", "172.30.0.0/24", "--subnet", "fd00:28::/64", "dual"]).ok();
    let try_it = |options: &[&str]| scratch.run(["--rm"]).args(options).args([BUSYBOX, "true"]).run();
    for (options, why) in [
        (vec!["--network", "small", "--ip", "172.29.0.5"], "network `small` has `172.28.0.0/29`"),
        (vec!["--network", "small", "--ip", "172.28.0.1"], "it is the gateway"),
        (vec!["--network", "small", "--ip", "172.28.0.7"], "means the whole"),
        (vec!["--network", "small", "--ip6", "fd00:28::5"], "no subnet of that family"),
        (vec!["--network", "small", "--ip", "x"], "must be an IPv4 address"),
        (vec!["--network", "none", "--ip", "172.28.0.5"], "belongs to a network"),
        (vec!["--network", "small", "--mac-address", "01:00:00:00:00:01"], "multicast"),
    ] {
        try_it(&options).code(125).complains(why);
    }
    let mac = "02:00:00:00:00:09";
    let options = ["--network", "dual", "--ip6", "fd00:28::9", "--mac-address", mac];
    let shown = scratch.run(["--rm"]).args(options).args([BUSYBOX, "ip", "addr", "show", "eth0"]).ok();
    shown.mentions("inet6 fd00:28::9/64").mentions(mac).mentions("inet 172.30.0.");
    idle(&scratch, "first", &["--network", "small", "--ip", "172.28.0.4"]);
    let taken = try_it(&["--network", "small", "--ip", "172.28.0.4"]).code(125);
    taken.complains("cannot give the address 172.28.0.4").complains(&scratch.inspect("first", "{{slice .Id 0 12}}"));
    for name in ["b", "c", "d", "e"] {
        idle(&scratch, name, &["--network", "small"]);
    }
    try_it(&["--network", "small"]).code(125).complains("are taken").complains("larger --subnet");
    scratch.holm(["rm", "-f", "b"]).ok();
    try_it(&["--network", "small"]).ok();
    scratch.holm(["rm", "-f", "first", "c", "d", "e"]).ok();
    host.assert_clean();
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let (host, scratch) = scene();
    let _server = serve_outside(&host, &scratch);
    for name in ["red", "blue"] {
        network(&scratch, &["create", name]).ok();
    }
    network(&scratch, &["create", "--internal", "inner"]).ok();
    web(&scratch, "web", &["--network", "red", "-p", "8080:80"]);
    idle(&scratch, "client", &["--network", "blue"]);
    let found = |place: &str| fetch(&scratch, "client", &format!("{place} 80")).stdout.contains("I am web");
    assert!(!found("web"));
    network(&scratch, &["connect", "--alias", "site", "blue", "web"]).ok();
    assert!(found("web") && found("site"), "names of a network that was just joined");
    let address = scratch.inspect("web", "{{.NetworkSettings.Networks.blue.IPAddress}}");
    exec(&scratch, "web", "ip -4 addr show eth1; cat /etc/hosts").ok().mentions(&format!("{address}\t"));
    scratch.holm(["ps", "--format", "{{.Networks}}", "--filter", "name=web"]).ok().says("red,blue");
    network(&scratch, &["connect", "blue", "web"]).code(1).complains("on it already");
    network(&scratch, &["connect", "inner", "web"]).ok();
    exec(&scratch, "web", "ip route").ok().mentions("dev eth0").mentions("dev eth2");
    // The network that leads out is left: the next one leads out, and its ports go with it.
    get(&host, &format!("http://{HOST_V4}:8080/")).ok().says("I am web");
    network(&scratch, &["disconnect", "red", "web"]).ok();
    let routes = exec(&scratch, "web", "ip route; cat /etc/resolv.conf").ok();
    let gateway = network(&scratch, &["inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue"]).ok();
    let gateway = gateway.text();
    routes
        .mentions(&format!("default via {gateway} dev eth1"))
        .mentions(&format!("nameserver {gateway}"))
        .omits("eth0");
    get(&host, &format!("http://{HOST_V4}:8080/")).ok().says("I am web");
    get(&host, "http://[::1]:8080/").ok().says("I am web");
    assert!(fetch(&scratch, "web", &format!("{OUTSIDE_V4} 7000")).stdout.contains("outside"));
    assert!(found("web"));
    network(&scratch, &["disconnect", "blue", "web"]).ok();
    assert!(!found("site") && !found(&address), "a network that was left");
    network(&scratch, &["disconnect", "blue", "web"]).code(1).complains("not on it");
    network(&scratch, &["disconnect", "-f", "blue", "web"]).ok();
    exec(&scratch, "web", "ip -4 addr").ok().omits(&address).omits("eth1");
    scratch.holm(["rm", "-f", "web", "client"]).ok();
    host.assert_clean();
}

#[test]
fn a_stopped_container_joins_and_leaves_at_its_next_start() {
    let (host, scratch) = scene();
    for name in ["red", "blue"] {
        network(&scratch, &["create", name]).ok();
    }
    scratch.create(["--name", "job", "--network", "red", BUSYBOX, "ip", "-4", "addr"]).ok();
    network(&scratch, &["connect", "--ip", "9.9.9.9", "blue", "job"]).code(1).complains("network `blue` has");
    network(&scratch, &["connect", "blue", "job"]).ok();
    scratch.holm(["start", "-a", "job"]).ok().mentions("eth0").mentions("eth1");
    network(&scratch, &["disconnect", "red", "job"]).ok();
    scratch.holm(["start", "-a", "job"]).ok().mentions("eth0").omits("eth1");
    scratch.create(["--name", "alone", "--network", "none", BUSYBOX, "true"]).ok();
    network(&scratch, &["connect", "blue", "alone"])
        .code(1)
        .complains("no network namespace that networks can be added");
    host.assert_clean();
}

#[test]
fn a_renamed_container_is_found_by_its_new_name() {
    let (host, scratch) = scene();
    network(&scratch, &["create", "net"]).ok();
    let guarded = format!("8080:80,from={}/32,interface=uplink", holm_kit::OUTSIDE_V4);
    web(&scratch, "old", &["--network", "net", "-p", &guarded, "-p", "127.0.0.1:8081:80"]);
    assert!(ask(&scratch, "net", "old 80").stdout.contains("I am old"));
    scratch.holm(["rename", "old", "new"]).ok();
    let rules = host.command("nft", ["list", "ruleset"]).ok();
    assert!(rules.stdout.contains("container new") && !rules.stdout.contains("container old"), "{rules}");
    let outside = host.outside_command("curl", ["-s", "-m", "5", &format!("http://{}:8080/", holm_kit::HOST_V4)]);
    outside.ok().says("I am old");
    assert!(ask(&scratch, "net", "new 80").stdout.contains("I am old"));
    assert!(!ask(&scratch, "net", "old 80").stdout.contains("I am"), "the old name is nobody's");
    network(&scratch, &["inspect", "-f", "{{range .Containers}}{{.Name}}{{end}}", "net"]).ok().says("new");
    scratch.holm(["rm", "-f", "new"]).ok();
    // The end of a container that is removed at its end is told before it has left.
    scratch.run(["--rm", "--network", "net", BUSYBOX, "true"]).ok();
    network(&scratch, &["rm", "net"]).ok();
    host.assert_clean();
}

#[test]
fn published_ports_are_told_and_repaired() {
    let (host, scratch) = scene();
    let options =
        ["-p", "8080:80", "-p", "127.0.0.1:9000-9001:9000-9001", "-p", "53:53/udp,from=10.0.0.0/8,interface=uplink"];
    web(&scratch, "web", &[&options[..], &["--expose", "443"]].concat());
    let column = scratch.holm(["ps", "--format", "{{.Ports}}"]).ok();
    let expected = "0.0.0.0:53->53/udp, [::]:53->53/udp, 443/tcp, 127.0.0.1:9000-9001->9000-9001/tcp, \
                    0.0.0.0:8080->80/tcp, [::]:8080->80/tcp";
    column.says(expected);
    scratch.holm(["port", "web", "80"]).ok().says("0.0.0.0:8080\n[::]:8080");
    scratch.holm(["port", "web"]).ok().mentions("9001/tcp -> 127.0.0.1:9001").mentions("53/udp -> 0.0.0.0:53");
    scratch.holm(["port", "web", "81"]).fails(1).complains("cannot find a published port 81/tcp of container `web`");
    scratch.holm(["port", "web", "x"]).fails(1).complains("ports go from 1 to 65535");
    let row = |port: &str| {
        let rows = network(&scratch, &["ports", "-o", "json"]).ok().json();
        let found = rows.as_array().and_then(|rows| rows.iter().find(|row| row["Port"] == port)).cloned();
        found.unwrap_or_else(|| panic!("no port {port} in {rows}"))
    };
    assert_eq!(row("8080")["OpenTo"], "everybody on any link");
    assert_eq!(row("9000")["OpenTo"], "this host only");
    assert_eq!(row("53")["OpenTo"], "10.0.0.0/8 on link uplink");
    assert_eq!((row("8080")["State"].clone(), row("8080")["Container"].clone()), ("ok".into(), "web".into()));
    network(&scratch, &["repair"]).ok().says("nothing was amiss");
    host.command("nft", ["flush", "map", "inet", "holm", "publish4"]).ok();
    assert_eq!(row("8080")["State"], "missing: holm network repair");
    network(&scratch, &["repair"]).ok().mentions("published port 8080/tcp of container `web` again");
    assert_eq!(row("8080")["State"], "ok");
    get(&host, &format!("http://{HOST_V4}:8080/")).ok().says("I am web");
    let link = network(&scratch, &["inspect", "-f", "{{.Link}}", "bridge"]).ok();
    host.command("ip", ["link", "delete", link.text()]).ok();
    network(&scratch, &["repair"]).ok().mentions(&format!("made bridge `{}` of network `bridge` anew", link.text()));
    get(&host, &format!("http://{HOST_V4}:8080/")).ok().says("I am web");
    scratch.run(["--rm", "-p", "8080:80", BUSYBOX, "true"]).fails(125).complains("container `web` has it");
    scratch.holm(["stop", "web"]).ok();
    scratch.holm(["port", "web", "80"]).fails(1).complains("holm start web");
    network(&scratch, &["ports", "-o", "name"]).ok().says("");
    scratch.holm(["rm", "web"]).ok();
    host.assert_clean();
}

#[test]
fn inspect_says_what_docker_says() {
    let (host, scratch) = scene();
    network(&scratch, &["create", "--ipv6", "--subnet", "172.28.0.0/24", "--subnet", "fd00:28::/64", "dual"]).ok();
    let options = [
        "--network",
        "dual",
        "--ip",
        "172.28.0.9",
        "--network-alias",
        "a",
        "-p",
        "127.0.0.1:8081:81",
        "--expose",
        "82/udp",
    ];
    idle(&scratch, "one", &options);
    let shown = scratch.holm(["inspect", "one"]).ok().json()[0].clone();
    let settings = &shown["NetworkSettings"];
    let place = &settings["Networks"]["dual"];
    assert_eq!(place["IPAddress"], "172.28.0.9");
    assert_eq!((&place["IPPrefixLen"], &place["Gateway"]), (&24.into(), &"172.28.0.1".into()));
    assert_eq!((&place["GlobalIPv6PrefixLen"], &place["IPv6Gateway"]), (&64.into(), &"fd00:28::1".into()));
    assert!(place["GlobalIPv6Address"].as_str().is_some_and(|a| a.starts_with("fd00:28::")), "{place}");
    assert_eq!(place["NetworkID"], network(&scratch, &["inspect", "-f", "{{.Id}}", "dual"]).ok().text());
    assert_eq!(place["EndpointID"].as_str().map(str::len), Some(64));
    assert_eq!(place["IPAMConfig"]["IPv4Address"], "172.28.0.9");
    assert_eq!(place["Aliases"], serde_json::json!(["a"]));
    let short = shown["Id"].as_str().map(|id| id[..12].to_owned());
    assert_eq!(place["DNSNames"], serde_json::json!(["one", "a", short]));
    assert_eq!(settings["IPAddress"], "172.28.0.9");
    assert_eq!(settings["SandboxKey"], format!("/proc/{}/ns/net", shown["State"]["Pid"]));
    let bound = serde_json::json!([{"HostIp": "127.0.0.1", "HostPort": "8081"}]);
    assert_eq!(settings["Ports"], serde_json::json!({"81/tcp": bound, "82/udp": null}));
    assert_eq!(shown["HostConfig"]["PortBindings"]["81/tcp"], bound);
    assert_eq!(shown["HostConfig"]["NetworkMode"], "dual");
    assert_eq!(shown["Config"]["ExposedPorts"], serde_json::json!({"81/tcp": {}, "82/udp": {}}));
    let stats = scratch.holm(["stats", "--no-stream", "--format", "{{.NetIO}}", "one"]).ok();
    assert!(stats.text().contains(" / "), "{stats}");
    scratch.holm(["info"]).ok().mentions(" dual: bridge holm-").mentions("172.28.0.0/24 fd00:28::/64");
    let events = scratch.holm(["events", "--since", "10m", "--until", "0s", "--filter", "type=network"]).ok();
    events.mentions("network create").mentions("network connect").mentions("type=bridge");
    scratch.holm(["rm", "-f", "one"]).ok();
    network(&scratch, &["rm", "dual"]).ok();
    let events = scratch.holm(["events", "--since", "10m", "--until", "0s", "--filter", "network=dual"]).ok();
    events.mentions("network disconnect").mentions("network destroy");
    host.assert_clean();
}

#[test]
fn published_ports_of_containers_without_a_network_are_discarded_and_said_so() {
    let (host, scratch) = scene();
    for mode in ["host", "none"] {
        let output = scratch.run(["--rm", "--network", mode, "-p", "8080:80", BUSYBOX, "true"]).ok();
        assert!(output.stderr.contains(&format!("discarded when using {mode} network mode")), "{output}");
    }
    host.assert_clean();
}

#[test]
fn a_container_in_anothers_network_has_its_files_and_host_name() {
    let (host, scratch) = scene();
    idle(&scratch, "one", &["--add-host", "db:10.0.0.9", "--hostname", "first"]);
    let shown = scratch.run(["--rm", "--network", "container:one", BUSYBOX]);
    let shown = shown.args(["sh", "-c", "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf"]).ok();
    shown
        .mentions("first\nfirst\n")
        .mentions("10.0.0.9\tdb")
        .mentions("10.77.0.2\tfirst")
        .mentions("nameserver 10.77.0.1");
    for (flag, value) in [("--hostname", "x"), ("--dns", "9.9.9.9"), ("--add-host", "a:1.2.3.4")] {
        let output = scratch.run(["--rm", "--network", "container:one", flag, value, BUSYBOX, "true"]).fails(125);
        output.complains(&format!("cannot use {flag} with --network container:one"));
    }
    idle(&scratch, "two", &["--network", "container:one"]);
    network(&scratch, &["create", "net"]).ok();
    network(&scratch, &["connect", "net", "two"]).code(1).complains("no network namespace that networks can be added");
    network(&scratch, &["connect", "net", "one"]).ok();
    let address = scratch.inspect("one", "{{.NetworkSettings.Networks.net.IPAddress}}");
    exec(&scratch, "two", "cat /etc/hosts; ip -4 addr show eth1").ok().mentions(&format!("{address}\tfirst"));
    scratch.holm(["rm", "-f", "two", "one"]).ok();
    host.assert_clean();
}

#[test]
fn two_networks_lead_out_by_the_first_and_an_internal_one_never() {
    let (host, scratch) = scene();
    let _server = serve_outside(&host, &scratch);
    network(&scratch, &["create", "--internal", "--subnet", "172.28.0.0/24", "inner"]).ok();
    for (name, subnet) in [("red", "172.29.0.0/24"), ("blue", "172.30.0.0/24")] {
        network(&scratch, &["create", "--subnet", subnet, name]).ok();
    }
    let routes = |networks: &[&str]| {
        let flags = networks.iter().flat_map(|n| ["--network", n]);
        scratch.run(["--rm"]).args(flags).args([BUSYBOX, "ip", "route"]).ok()
    };
    routes(&["red", "blue"]).mentions("default via 172.29.0.1 dev eth0");
    routes(&["blue", "red"]).mentions("default via 172.30.0.1 dev eth0");
    routes(&["inner", "red"]).mentions("default via 172.29.0.1 dev eth1");
    routes(&["inner"]).omits("default");
    let out = ask(&scratch, "inner", &format!("{OUTSIDE_V4} 7000"));
    assert!(!out.stdout.contains("outside"), "{out}");
    host.assert_clean();
}

#[test]
fn macvlan_containers_are_on_the_link_of_the_host() {
    let (host, scratch) = scene();
    let _server = serve_outside(&host, &scratch);
    let lan = ["create", "-d", "macvlan", "--subnet", "192.0.2.0/24", "--gateway", OUTSIDE_V4];
    let bad = [&lan[..], &["-o", "parent=nowhere", "bad"]].concat();
    network(&scratch, &bad).ok();
    scratch.run(["--rm", "--network", "bad", BUSYBOX, "true"]).fails(125).complains("the host has no such link");
    network(&scratch, &["rm", "bad"]).ok();
    let good = [&lan[..], &["-o", "parent=uplink", "--ip-range", "192.0.2.64/26", "lan"]].concat();
    network(&scratch, &good).ok();
    web(&scratch, "web", &["--network", "lan"]);
    let address = scratch.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    assert!(address.starts_with("192.0.2."), "{address}");
    host.outside_command("curl", ["-s", "-m", "5", &format!("http://{address}/")]).ok().says("I am web");
    assert!(fetch(&scratch, "web", &format!("{OUTSIDE_V4} 7000")).stdout.contains("outside"));
    network(&scratch, &["create", "net"]).ok();
    network(&scratch, &["connect", "net", "web"]).ok();
    network(&scratch, &["disconnect", "lan", "web"]).ok();
    exec(&scratch, "web", "ip -4 addr").ok().omits("192.0.2.").omits("eth0");
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}
