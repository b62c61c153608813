//! The default network and networks of one's own: reach each other by name, reach out, be reached by published ports.

use holm_kit::{BUSYBOX, HOST_V4, NetHost, OUTSIDE_V4, Scratch};

/// A container that answers HTTP with its name.
fn web(scratch: &Scratch, name: &str, options: &[&str]) {
    let script = format!("mkdir -p /www && echo I am {name} > /www/index.html && exec httpd -f -p 80 -h /www");
    let mut all = vec!["--stop-timeout", "1"];
    all.extend(options);
    scratch.detached(name, &all, &["sh", "-c", &script]);
}

#[test]
fn a_container_has_an_address_names_and_a_way_out() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let shown = scratch.sh("ip -4 addr show eth0; ip route; cat /etc/hosts /etc/resolv.conf").ok();
    let shown = shown.mentions("inet 10.77.0.2/16").mentions("default via 10.77.0.1");
    shown.mentions("10.77.0.2\t").mentions("nameserver 10.77.0.1");
    let mut server = host.outside_command("busybox", ["nc", "-lk", "-p", "7000", "-e", "echo", "outside"]).start();
    holm_kit::wait_until("the outside listens", std::time::Duration::from_secs(5), || {
        scratch.sh(&format!("nc -w 1 {OUTSIDE_V4} 7000 < /dev/null")).run().text() == "outside"
    });
    assert!(server.is_running());
    drop(server);
    drop(scratch);
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
    let ask = |network: &str, what: &str| {
        let url = format!("http://{what}/");
        scratch.run(["--rm", "--network", network, BUSYBOX, "wget", "-q", "-T", "2", "-O", "-", &url]).run()
    };
    let short = scratch.inspect("one", "{{.Id}}")[..12].to_owned();
    for name in ["one", "first", "ONE", &short] {
        ask("blue", name).ok().says("I am one");
    }
    ask("red", "two").ok().says("I am two");
    assert_ne!(ask("red", "one").exit_code(), 0, "a name of another network");
    let address = scratch.inspect("one", "{{.NetworkSettings.Networks.blue.IPAddress}}");
    assert_ne!(ask("red", &address).exit_code(), 0, "an address of another network");
    ask("blue", &address).ok().says("I am one");
    scratch.holm(["rm", "-f", "one", "two"]).ok();
    host.assert_clean();
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_a_taken_one_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "web", &["-p", "8080:80"]);
    let curl = |url: &str| ["-s".to_owned(), "-m".into(), "3".into(), url.to_owned()];
    host.outside_command("curl", curl(&format!("http://{HOST_V4}:8080/"))).ok().says("I am web");
    host.command("curl", curl(&format!("http://{HOST_V4}:8080/"))).ok().says("I am web");
    host.command("curl", curl("http://127.0.0.1:8080/")).ok().says("I am web");
    host.command("curl", curl("http://[::1]:8080/")).ok().says("I am web");
    scratch.sh(&format!("wget -q -T 2 -O - http://{HOST_V4}:8080/")).ok().says("I am web");
    let taken = scratch.run(["--rm", "-p", "8080:80", BUSYBOX, "true"]).fails(125);
    taken.complains("cannot publish port 8080/tcp").complains("container `web` has it");
    scratch.holm(["rm", "-f", "web"]).ok();
    host.assert_clean();
}
