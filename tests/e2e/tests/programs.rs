//! Real programs, start to finish: redis and nginx, from a Debian root, through a real registry, used by real clients.

use std::net::TcpListener;
use std::time::Duration;

use holm_kit::{Debian, Holm, Leaks, Registry, Scratch, debian_image, wait_until};

fn free_port() -> String {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string()
}

/// A scratch that trusts and is logged in to a registry which has the system under `name`.
fn pulled(system: &Debian) -> (Registry, Scratch, String) {
    let registry = Registry::secure();
    let scratch = Scratch::new();
    registry.push_layout(&debian_image(system), "test", &format!("real/{}:1", system.name));
    registry.trust(&scratch);
    scratch.holm(["login", "-u", Registry::USER, "-p", Registry::PASSWORD, &registry.host()]).ok();
    let reference = registry.reference(&format!("real/{}:1", system.name));
    scratch.holm(["pull", "-q", &reference]).limit(Duration::from_secs(180)).ok();
    (registry, scratch, reference)
}

#[test]
fn redis_from_a_registry_serves_redis_cli_and_stops_cleanly() {
    let system = Debian { name: "redis", packages: "redis-server", entrypoint: &["redis-server"] };
    let (_registry, scratch, image) = pulled(&system);
    let leaks = Leaks::before(&scratch);
    let port = free_port();
    let options = [
        "-d",
        "--name",
        "redis",
        "--network",
        "host",
        "--user",
        "redis",
        "--memory",
        "256m",
        "-v",
        "db:/var/lib/redis",
    ];
    let command = ["--port", &port, "--bind", "127.0.0.1", "--dir", "/var/lib/redis", "--appendonly", "yes"];
    scratch.run(options).arg(&image).args(command).ok();
    let cli = |args: &[&str]| Holm::program("redis-cli").args(["-p", &port]).args(args);
    wait_until("redis answers", Duration::from_secs(20), || cli(&["ping"]).run().text() == "PONG");
    cli(&["set", "island", "holm"]).ok().says("OK");
    scratch.holm(["exec", "redis", "redis-cli", "-p", &port, "get", "island"]).ok().says("holm");
    let output = scratch.holm(["stop", "-t", "20", "redis"]).ok();
    assert!(output.elapsed < Duration::from_secs(10), "{output}");
    assert_eq!(scratch.inspect("redis", "{{.State.ExitCode}}"), "0");
    scratch.holm(["logs", "redis"]).ok().mentions("bye bye");
    scratch.holm(["start", "redis"]).ok();
    wait_until("redis answers again", Duration::from_secs(20), || cli(&["get", "island"]).run().text() == "holm");
    scratch.holm(["rm", "-f", "redis"]).ok();
    scratch.holm(["volume", "rm", "db"]).ok();
    leaks.assert_none();
}

#[test]
fn nginx_from_a_registry_serves_curl_and_stops_cleanly() {
    let system = Debian { name: "nginx", packages: "nginx-light", entrypoint: &["nginx", "-g", "daemon off;"] };
    let (_registry, scratch, image) = pulled(&system);
    let leaks = Leaks::before(&scratch);
    let port = free_port();
    let site =
        format!("server {{ listen 127.0.0.1:{port}; root /srv; error_log /dev/stderr; access_log /dev/stdout; }}");
    let config = scratch.write("site.conf", site);
    let page = scratch.make_folder("www");
    std::fs::write(page.join("index.html"), "from an island\n").unwrap();
    let mounts =
        [format!("{}:/etc/nginx/sites-enabled/default:ro", config.display()), format!("{}:/srv:ro", page.display())];
    let options = ["-d", "--name", "web", "--network", "host", "-v", &mounts[0], "-v", &mounts[1], &image];
    scratch.run(options).ok();
    let url = format!("http://127.0.0.1:{port}/");
    let curl = || Holm::program("curl").args(["-sf", &url]).run();
    wait_until("nginx answers", Duration::from_secs(20), || curl().text() == "from an island");
    scratch.holm(["logs", "web"]).ok().mentions("GET / HTTP/1.1");
    scratch.holm(["top", "web"]).ok().mentions("nginx");
    scratch.holm(["stop", "web"]).ok();
    assert_eq!(scratch.inspect("web", "{{.State.ExitCode}}"), "0");
    assert!(!curl().status.success());
    scratch.holm(["rm", "web"]).ok();
    leaks.assert_none();
}
