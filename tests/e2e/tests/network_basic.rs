//! The default network and networks of one's own: reach each other by name, reach out, be reached by published ports.

use std::time::Duration;

use holm_kit::{BUSYBOX, HOST_V4, HOST_V6, NetHost, OUTSIDE_V4, OUTSIDE_V6, Output, Scratch, wait_until};

/// Writes a request. Busybox' own `wget` is a static program whose resolver ends at an address.
pub const GET: &str = r#"printf 'GET / HTTP/1.0\r\n\r\n'"#;

/// A container that answers HTTP with its name, in both families.
pub fn web(scratch: &Scratch, name: &str, options: &[&str]) {
    let script = format!("mkdir -p /www && echo I am {name} > /www/index.html && exec httpd -f -p 80 -h /www");
    let mut all = vec!["--stop-timeout", "0"];
    all.extend(options);
    scratch.detached(name, &all, &["sh", "-c", &script]);
    wait_until("the server listens", Duration::from_secs(10), || {
        scratch.holm(["exec", name, "sh", "-c", &format!("{GET} | nc -w 1 127.0.0.1 80")]).run().stdout.contains("I am")
    });
}

/// What the host's own client gets.
pub fn get(host: &NetHost, url: &str) -> Output {
    host.command("curl", ["-g", "-s", "-m", "5", url]).run()
}

/// What a container of one run gets from `place`, a host and a port.
pub fn ask(scratch: &Scratch, network: &str, place: &str) -> Output {
    let script = format!("{GET} | nc -w 3 {place}");
    scratch.run(["--rm", "--network", network, BUSYBOX, "sh", "-c", &script]).run()
}

/// Starts a server outside, and waits for it.
pub fn serve_outside(host: &NetHost, scratch: &Scratch) -> holm_kit::Running {
    let folder = scratch.make_folder("outside");
    std::fs::write(folder.join("index.html"), "outside\n").expect("write a page");
    let args = ["httpd", "-f", "-p", "7000", "-h", folder.to_str().expect("a path")];
    let server = host.outside_command("busybox", args).start();
    wait_until("the outside listens", Duration::from_secs(10), || {
        get(host, &format!("http://{OUTSIDE_V4}:7000/")).stdout == "outside\n"
    });
    server
}

#[test]
fn a_container_has_an_address_names_and_a_way_out() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let _server = serve_outside(&host, &scratch);
    let shown = scratch.sh("ip -4 addr show eth0; ip route; cat /etc/hosts /etc/resolv.conf").ok();
    let shown = shown.mentions("inet 10.77.0.2/16").mentions("default via 10.77.0.1");
    shown.mentions("10.77.0.2\t").mentions("nameserver 10.77.0.1");
    let out = ask(&scratch, "bridge", &format!("{OUTSIDE_V4} 7000"));
    assert!(out.stdout.contains("outside"), "{out}");
    host.assert_clean();
}

#[test]
fn containers_of_one_network_reach_each_other_by_name_and_others_not_at_all() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    for name in ["blue", "red"] {
        scratch.holm(["network", "create", name]).ok();
    }
    web(&scratch, "one", &["--network", "blue", "--network-alias", "first"]);
    web(&scratch, "two", &["--network", "red"]);
    let short = scratch.inspect("one", "{{.Id}}")[..12].to_owned();
    for name in ["one", "first", "ONE", &short] {
        let output = ask(&scratch, "blue", &format!("{name} 80"));
        assert!(output.stdout.contains("I am one"), "{name}: {output}");
    }
    assert!(ask(&scratch, "red", "two 80").stdout.contains("I am two"));
    let address = scratch.inspect("one", "{{.NetworkSettings.Networks.blue.IPAddress}}");
    for place in ["one", &address] {
        let output = ask(&scratch, "red", &format!("{place} 80"));
        assert!(output.exit_code() != 0 && output.stdout.is_empty(), "{place}: {output}");
    }
    assert!(ask(&scratch, "blue", &format!("{address} 80")).stdout.contains("I am one"));
    scratch.holm(["rm", "-f", "one", "two"]).ok();
    host.assert_clean();
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_a_taken_one_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "web", &["-p", "8080:80"]);
    let outside = |address: &str| {
        let url = format!("http://{address}:8080/");
        host.outside_command("curl", ["-g", "-s", "-m", "5", &url]).run()
    };
    outside(HOST_V4).ok().says("I am web");
    outside(&format!("[{HOST_V6}]")).ok().says("I am web");
    for address in [HOST_V4, "127.0.0.1", "[::1]"] {
        get(&host, &format!("http://{address}:8080/")).ok().says("I am web");
    }
    let hairpin = ask(&scratch, "bridge", &format!("{HOST_V4} 8080"));
    assert!(hairpin.stdout.contains("I am web"), "{hairpin}");
    let own = scratch.holm(["exec", "web", "sh", "-c", &format!("{GET} | nc -w 3 {HOST_V4} 8080")]).ok();
    assert!(own.stdout.contains("I am web"), "to itself by the host's address: {own}");
    let taken = scratch.run(["--rm", "-p", "8080:80", BUSYBOX, "true"]).fails(125);
    taken.complains("cannot publish port 8080/tcp").complains("container `web` has it");
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn a_client_from_outside_keeps_its_address() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "web", &["-p", "8081:80"]);
    // A connection that says nothing stays open.
    let silent = format!("exec 3<>/dev/tcp/{HOST_V4}/8081; read -r -u 3 _");
    let mut silent = host.outside_command("bash", ["-c", &silent]).start();
    let seen = || scratch.holm(["exec", "web", "netstat", "-tn"]).ok().stdout;
    wait_until("the server sees the client", Duration::from_secs(10), || seen().contains("ESTABLISHED"));
    assert!(seen().contains(&format!("{OUTSIDE_V4}:")), "{}", seen());
    assert!(silent.is_running());
    drop(silent);
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn a_port_can_be_open_to_some_only() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let near = format!("8082:80,from={OUTSIDE_V4}/32");
    web(
        &scratch,
        "web",
        &[
            "-p",
            &near,
            "-p",
            "8083:80,from=198.51.100.0/24",
            "-p",
            "8084:80,interface=other0",
            "-p",
            "127.0.0.1:8085:80",
        ],
    );
    let outside =
        |port: &str| host.outside_command("curl", ["-s", "-m", "2", &format!("http://{HOST_V4}:{port}/")]).run();
    outside("8082").ok().says("I am web");
    // Whoever looks after the host still reads its rules.
    host.command("nft", ["list", "ruleset"]).ok().mentions("allowed4");
    for closed in ["8083", "8084", "8085"] {
        let output = outside(closed);
        assert!(output.exit_code() != 0 && output.stdout.is_empty(), "{closed}: {output}");
    }
    for port in ["8082", "8083", "8084", "8085"] {
        get(&host, &format!("http://127.0.0.1:{port}/")).ok().says("I am web");
    }
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}

#[test]
fn udp_ports_and_ipv6_work_as_tcp_and_ipv4_do() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let _server = serve_outside(&host, &scratch);
    scratch.holm(["network", "create", "--ipv6", "dual"]).ok();
    web(&scratch, "web", &["--network", "dual", "-p", "8086:80"]);
    let v6 = scratch.inspect("web", "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}");
    let inside = ask(&scratch, "dual", &format!("{v6} 80"));
    assert!(inside.stdout.contains("I am web"), "{inside}");
    let outside = host.outside_command("curl", ["-g", "-s", "-m", "5", &format!("http://[{HOST_V6}]:8086/")]).ok();
    outside.says("I am web");
    let out = scratch.run(["--rm", "--network", "dual", BUSYBOX, "ping", "-c", "1", "-W", "5", OUTSIDE_V6]).ok();
    drop(out);
    let forge = format!("{}:/forge:ro", crate::probe::built("forge").display());
    let echo = ["--network", "dual", "-p", "5300:5300/udp", "--stop-timeout", "0", "-v", &forge];
    scratch.detached("echo", &echo, &["/forge", "echo", "5300"]);
    for address in [HOST_V4, "127.0.0.1", "::1"] {
        wait_until("UDP is answered", Duration::from_secs(20), || {
            let script = format!("exec 3<>/dev/udp/{address}/5300; echo ping >&3; timeout 2 head -n 1 <&3");
            host.command("bash", ["-c", &script]).run().stdout == "ping\n"
        });
    }
    scratch.holm(["rm", "-f", "web", "echo"]).ok();
    host.assert_clean();
}
