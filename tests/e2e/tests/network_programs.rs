//! Real programs on networks: web servers and a database found by name from two networks, and bytes in bulk by every way.

use std::time::Duration;

use holm_kit::{
    HOST_V4, HOST_V6, Holm, Image, NetHost, Output, Scratch, busybox_layer, has_command, installed_layer, requires,
    wait_until,
};

const IMAGE: &str = "localhost/programs:test";

/// Roots with an image of busybox and these programs of this machine.
fn scratch_with(host: &NetHost, programs: &[&str]) -> Scratch {
    let scratch = Scratch::on(host);
    let image = Image::new([busybox_layer(), installed_layer(programs)]);
    let archive = scratch.write("programs.tar", image.docker_archive(IMAGE));
    scratch.holm(["load", "-q", "-i"]).arg(archive).ok();
    scratch
}

fn start(scratch: &Scratch, name: &str, options: &[&str], command: &[&str]) {
    scratch.run(["-d", "--stop-timeout", "0", "--name", name]).args(options).arg(IMAGE).args(command).ok();
}

fn exec(scratch: &Scratch, name: &str, command: &[&str]) -> Output {
    scratch.holm(["exec", name]).args(command).run()
}

/// A real nginx that says who it is, in both families.
fn web(scratch: &Scratch, name: &str, network: &str) {
    let config = format!(
        "daemon off; user root; pid /tmp/pid; error_log /dev/stderr; events {{}} http {{ access_log off; \
         client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3; uwsgi_temp_path /tmp/4; \
         scgi_temp_path /tmp/5; server {{ listen 80; listen [::]:80; return 200 \"I am {name} to $remote_addr\\n\"; }} }}"
    );
    let mount = format!("{}:/nginx.conf:ro", scratch.write(&format!("{name}.conf"), config).display());
    let command = ["/usr/sbin/nginx", "-e", "stderr", "-c", "/nginx.conf"];
    start(scratch, name, &["--network", network, "-v", &mount], &command);
}

fn database(scratch: &Scratch, name: &str, network: &str) {
    let command =
        ["/usr/bin/redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--dir", "/tmp"];
    start(scratch, name, &["--network", network], &command);
}

fn redis(scratch: &Scratch, client: &str, server: &str, words: &[&str]) -> Output {
    exec(scratch, client, &[&["timeout", "3", "/usr/bin/redis-cli", "-h", server], words].concat())
}

fn curl(scratch: &Scratch, client: &str, family: &str, server: &str) -> Output {
    exec(scratch, client, &["/usr/bin/curl", "-s", "-m", "3", family, &format!("http://{server}/")])
}

#[test]
fn two_web_servers_and_a_database_client_on_two_networks_meet_by_name() {
    let needed = ["nginx", "redis-server", "redis-cli", "curl"];
    requires!(needed.iter().all(|name| has_command(name)), "needs {needed:?}: run tools/setup.sh test");
    let host = NetHost::new();
    let programs = ["/usr/sbin/nginx", "/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/bin/curl"];
    let scratch = scratch_with(&host, &programs);
    for (name, v4, v6) in [("front", "10.21.0.0/24", "fd21::/64"), ("back", "10.22.0.0/24", "fd22::/64")] {
        scratch.holm(["network", "create", "--ipv6", "--subnet", v4, "--subnet", v6, name]).ok();
        web(&scratch, &format!("web-{name}"), name);
        start(&scratch, &format!("only-{name}"), &["--network", name], &["sleep", "100000"]);
    }
    // Its own client asks for IPv6 only where a name has no IPv4.
    scratch.holm(["network", "create", "--ipv6", "--subnet", "fd23::/64", "six"]).ok();
    database(&scratch, "db", "back");
    database(&scratch, "db6", "six");
    start(&scratch, "both", &["--network", "front", "--network", "back", "--network", "six"], &["sleep", "100000"]);

    for server in ["db", "db6"] {
        wait_until("the database answers", Duration::from_secs(20), || {
            redis(&scratch, "both", server, &["ping"]).text() == "PONG"
        });
        redis(&scratch, "both", server, &["set", "island", server]).ok().says("OK");
        redis(&scratch, "both", server, &["get", "island"]).ok().says(server);
    }
    redis(&scratch, "both", "db", &["client", "info"]).ok().mentions(" addr=10.22.0.");
    redis(&scratch, "both", "db6", &["client", "info"]).ok().mentions(" addr=[fd23::");
    for (server, v4, v6) in [("web-front", "10.21.0.", "fd21::"), ("web-back", "10.22.0.", "fd22::")] {
        for (family, client) in [("-4", v4), ("-6", v6)] {
            wait_until("the web server answers", Duration::from_secs(20), || {
                curl(&scratch, "both", family, server).stdout.starts_with(&format!("I am {server} to {client}"))
            });
        }
    }

    let address = |name: &str, network: &str, family: &str| {
        scratch.inspect(name, &format!("{{{{.NetworkSettings.Networks.{network}.{family}}}}}"))
    };
    for (client, own, other, network) in
        [("only-front", "web-front", "web-back", "back"), ("only-back", "web-back", "web-front", "front")]
    {
        let v4 = address(other, network, "IPAddress");
        let v6 = format!("[{}]", address(other, network, "GlobalIPv6Address"));
        for (family, place) in [("-4", other), ("-6", other), ("-4", &v4), ("-6", &v6)] {
            curl(&scratch, client, family, own).ok().mentions(own);
            let output = curl(&scratch, client, family, place);
            assert!(output.exit_code() != 0 && output.stdout.is_empty(), "{client} reached {place}: {output}");
        }
    }
    redis(&scratch, "only-back", "db", &["ping"]).ok().says("PONG");
    for place in ["db", &address("db", "back", "IPAddress"), &address("db", "back", "GlobalIPv6Address")] {
        let output = redis(&scratch, "only-front", place, &["ping"]);
        assert!(output.exit_code() != 0 && output.stdout.is_empty(), "the other network reached {place}: {output}");
    }
    let all = ["rm", "-f", "web-front", "web-back", "only-front", "only-back", "db", "db6", "both"];
    scratch.holm(all).ok();
    host.assert_clean();
}

const IPERF: &str = "/usr/bin/iperf3";
const MIB: u64 = 1024 * 1024;

/// A client of iperf3 and its server exchange bytes in bulk, in the family that was asked for.
#[track_caller]
fn transfers(client: Holm, v4: bool) {
    let output = client.args(["-J", "-n", "64M"]).run();
    let report = output.json();
    let (start, end) = (&report["start"]["connected"][0], &report["end"]);
    assert!(output.exit_code() == 0 && report["error"].is_null(), "{output}");
    let remote = start["remote_host"].as_str().unwrap_or_default();
    assert_eq!(remote.contains('.') && !remote.starts_with("::ffff:"), v4, "not the family asked for: {remote}");
    let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap_or_default();
    // Its server stops counting when the client says that it has sent all, whatever is then still on the way.
    assert!(bytes("sum_sent") >= 64 * MIB && bytes("sum_received") >= 32 * MIB, "{output}");
}

/// As much of it by datagrams, of which any may be lost, but not all.
#[track_caller]
fn arrives(client: Holm) {
    let output = client.args(["-J", "-u", "-b", "200M", "-n", "8M"]).run();
    let report = output.json();
    let sum = &report["end"]["sum"];
    let count = |name: &str| sum[name].as_u64().unwrap_or_default();
    assert!(output.exit_code() == 0 && report["error"].is_null(), "{output}");
    assert!(count("packets") > 0 && count("lost_packets") < count("packets"), "{output}");
}

/// Two containers by name in both families, and from outside by a published port.
fn bulk(isolation: &str) {
    requires!(has_command("iperf3"), "needs iperf3: run tools/setup.sh test");
    let host = NetHost::new();
    let scratch = scratch_with(&host, &[IPERF]);
    let option = format!("isolation={isolation}");
    scratch.holm(["network", "create", "--ipv6", "-o", &option, "net"]).ok();
    let ports = ["--network", "net", "-p", "5201:5201", "-p", "5201:5201/udp"];
    start(&scratch, "server", &ports, &[IPERF, "-s", "--forceflush"]);
    start(&scratch, "client", &["--network", "net"], &["sleep", "100000"]);
    wait_until("iperf3 listens", Duration::from_secs(20), || {
        scratch.holm(["logs", "server"]).run().stdout.contains("Server listening on 5201")
    });
    for family in ["-4", "-6"] {
        let client = || scratch.holm(["exec", "client", IPERF, "-c", "server", family]);
        transfers(client(), family == "-4");
        transfers(client().arg("-R"), family == "-4");
        arrives(client());
    }
    for address in [HOST_V4, HOST_V6] {
        let client = || host.outside_command("iperf3", ["-c", address]);
        transfers(client(), address == HOST_V4);
        transfers(client().arg("-R"), address == HOST_V4);
        arrives(client());
    }
    scratch.holm(["rm", "-f", "server", "client"]).ok();
    host.assert_clean();
}

#[test]
fn iperf3_transfers_between_containers_and_through_a_published_port() {
    bulk("l2");
}

#[test]
fn iperf3_transfers_where_every_packet_crosses_the_firewall() {
    bulk("routed");
}
