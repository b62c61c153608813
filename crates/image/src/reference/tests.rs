//! Tests of the reference grammar, registries.conf and the resolver.

use super::*;

fn check(text: &str, canonical: &str, familiar: &str) {
    let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(reference.to_string(), canonical, "{text}");
    assert_eq!(reference.familiar(), familiar, "{text}");
    assert_eq!(Reference::parse(canonical).as_ref(), Ok(&reference), "canonical form of {text} parses to the same");
}

#[test]
fn reference_normalises_as_docker_does() {
    let d = format!("sha256:{}", "0a".repeat(32));
    check("alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20");
    check("user/app:1", "docker.io/user/app:1", "user/app:1");
    check("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("index.docker.io/user/app", "docker.io/user/app:latest", "user/app:latest");
    check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
    check("localhost/x", "localhost/x:latest", "localhost/x:latest");
    check("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest");
    check("quay.io/a/b/c:t", "quay.io/a/b/c:t", "quay.io/a/b/c:t");
    check("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1");
    check("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest");
    check("UPPER/x", "UPPER/x:latest", "UPPER/x:latest");
    check("a-b.c_d__e---f", "docker.io/library/a-b.c_d__e---f:latest", "a-b.c_d__e---f:latest");
    check(&format!("localhost:5000/x@{d}"), &format!("localhost:5000/x@{d}"), &format!("localhost:5000/x@{d}"));
    check(&format!("host:1/a/b:tag@{d}"), &format!("host:1/a/b:tag@{d}"), &format!("host:1/a/b:tag@{d}"));
    check(&format!("alpine@{d}"), &format!("docker.io/library/alpine@{d}"), &format!("alpine@{d}"));
}

#[test]
fn reference_malformed_is_refused() {
    let hex = "a".repeat(64);
    for bad in [
        "",
        ":",
        "@",
        "/",
        "a:",
        "a@",
        "a:b:c",
        ":a",
        "Alpine",
        "user/App",
        "a//b",
        "/a",
        "a/",
        "a b",
        "a\n",
        "a\0",
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        ".a",
        "a.",
        "a/_b",
        "host:x/a",
        "host:99999/a",
        "host:/a",
        "h_x.y/a",
        "-h.x/a",
        "[::1/a",
        "[zz]/a",
        "[::1]x/a",
        "http://x/a",
        "a@sha256:00",
        "a@md5:d41d8cd98f00b204e9800998ecf8427e",
        "a@b@c",
        "../a",
        "a/../b",
        "ä",
        "a:-b",
        "a:.b",
        "localhost:5000",
        "x.y/",
        &hex,
    ] {
        // `localhost:5000` is a name with a tag, as docker reads it.
        if bad == "localhost:5000" {
            assert_eq!(Reference::parse(bad).map(|r| r.familiar()), Ok("localhost:5000".to_owned()));
            continue;
        }
        assert!(Reference::parse(bad).is_err(), "{bad:?} was taken as {:?}", Reference::parse(bad));
    }
    assert_eq!(Reference::parse(&hex), Err(ReferenceError::LooksLikeId(hex.clone())));
    assert!(Reference::parse(&format!("{hex}:x")).is_ok(), "with a tag it cannot be mistaken for an id");
    assert!(matches!(Reference::parse("user/App"), Err(ReferenceError::UpperCase(_))));
}

#[test]
fn reference_limits_hold_on_both_sides() {
    let path = |n: usize| format!("q.io/{}", "a".repeat(n));
    assert!(Reference::parse(&path(255)).is_ok());
    assert!(matches!(Reference::parse(&path(256)), Err(ReferenceError::TooLong(_, _, 256, 255))));
    assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
    assert!(matches!(
        Reference::parse(&format!("a:{}", "t".repeat(129))),
        Err(ReferenceError::TooLong(_, _, 129, 128))
    ));
}

#[test]
fn reference_errors_are_short_and_escaped() {
    let hostile = format!("a\u{1b}[2J{}", "\n".repeat(10_000));
    let text = Reference::parse(&hostile).expect_err("hostile").to_string();
    assert!(text.len() < 400 && text.chars().all(|c| !c.is_control()), "{text:?}");
}

#[test]
fn repository_takes_no_tag() {
    assert_eq!(Reference::parse_repository("alpine").map(|r| r.repository()), Ok("docker.io/library/alpine".into()));
    assert!(matches!(Reference::parse_repository("alpine:1"), Err(ReferenceError::NotARepository(_))));
}

fn conf(text: &str) -> RegistriesConf {
    RegistriesConf::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn resolver(text: &str) -> Resolver {
    Resolver::from_conf(conf(text))
}

fn names(resolver: &Resolver, text: &str) -> Vec<String> {
    resolver.candidates(text).expect("candidates").iter().map(ToString::to_string).collect()
}

fn places(resolver: &Resolver, text: &str) -> Vec<(String, bool)> {
    let reference = Reference::parse(text).expect("reference");
    resolver.endpoints(&reference).expect("endpoints").iter().map(|e| (e.location(), e.insecure)).collect()
}

#[test]
fn candidates_without_any_file_are_docker_hub() {
    assert_eq!(names(&Resolver::default(), "alpine"), ["docker.io/library/alpine:latest"]);
    assert_eq!(names(&Resolver::default(), "u/a:1"), ["docker.io/u/a:1"]);
    assert_eq!(names(&Resolver::default(), "q.io/u/a:1"), ["q.io/u/a:1"]);
}

#[test]
fn candidates_follow_aliases_then_search_order() {
    let r = resolver(
        r#"
        unqualified-search-registries = ["registry.example.com", "docker.io"]
        [aliases]
        "tool" = "quay.io/org/tool"
        "gone" = ""
        "#,
    );
    assert_eq!(names(&r, "tool:2"), ["quay.io/org/tool:2"]);
    assert_eq!(names(&r, "app"), ["registry.example.com/app:latest", "docker.io/library/app:latest"]);
    assert_eq!(names(&r, "gone"), ["registry.example.com/gone:latest", "docker.io/library/gone:latest"]);
    assert_eq!(names(&r, "q.io/app"), ["q.io/app:latest"]);
    assert_eq!(names(&r, "localhost/app"), ["localhost/app:latest"]);
    let none = resolver("unqualified-search-registries = []");
    assert!(none.candidates("app").is_err(), "an empty list switches short names off");
}

#[test]
fn endpoints_take_the_longest_prefix_and_its_mirrors_in_order() {
    let r = resolver(
        r#"
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.local:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "second.local"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "internal.example.com/official"
        [[registry]]
        prefix = "bad.example.com"
        blocked = true
        "#,
    );
    assert_eq!(
        places(&r, "u/a"),
        [("mirror.local:5000/hub/u/a".to_owned(), true), ("docker.io/u/a".to_owned(), false)]
    );
    let digest = format!("u/a@sha256:{}", "0a".repeat(32));
    assert_eq!(places(&r, &digest).len(), 3);
    assert_eq!(places(&r, "alpine"), [("internal.example.com/official/alpine".to_owned(), false)]);
    assert_eq!(places(&r, "docker.io/libraryx/a")[0].0, "mirror.local:5000/hub/libraryx/a");
    assert!(r.endpoints(&Reference::parse("bad.example.com/x").expect("reference")).is_err());
    assert_eq!(places(&r, "bad.example.com.org/x"), [("bad.example.com.org/x".to_owned(), false)]);
}

#[test]
fn endpoints_match_wildcard_subdomains() {
    let r = resolver(
        r#"
        [[registry]]
        prefix = "*.example.com"
        location = "proxy.local/cache"
        [[registry]]
        prefix = "*.plain.org"
        insecure = true
        "#,
    );
    assert_eq!(places(&r, "a.b.example.com/x"), [("proxy.local/cache/x".to_owned(), false)]);
    assert_eq!(places(&r, "example.com/x"), [("example.com/x".to_owned(), false)]);
    assert_eq!(places(&r, "evil.net/a.example.com"), [("evil.net/a.example.com".to_owned(), false)]);
    assert_eq!(places(&r, "s.plain.org/x"), [("s.plain.org/x".to_owned(), true)]);
    assert_eq!(places(&r, "s.plain.orgs.net/x"), [("s.plain.orgs.net/x".to_owned(), false)]);
}

#[test]
fn registries_conf_malformed_is_refused() {
    for bad in [
        "unqualified-search-registries = 3",
        "[[registry]]\ninsecure = true",
        "[[registry]]\nprefix = \"a/*.b\"\nlocation = \"x\"",
        "[[registry]]\nlocation = \"https://x\"",
        "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\nlocation = \"\"",
        "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\nlocation = \"y\"\npull-from-mirror = \"maybe\"",
        "[registries.search]\nregistries = [\"docker.io\"]",
        "unqualified-search-registries = [\"a/b c\"]",
        "[aliases]\nx = \"no spaces allowed\"",
        "[[registry",
    ] {
        assert!(RegistriesConf::parse(bad).is_err(), "{bad}");
    }
    let huge = format!("# {}", "x".repeat(2 << 20));
    assert!(RegistriesConf::parse(&huge).is_err());
}

#[test]
fn resolver_reads_drop_ins_over_the_main_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    let main = dir.path().join("registries.conf");
    let drop_ins = dir.path().join("registries.conf.d");
    std::fs::create_dir(&drop_ins).expect("mkdir");
    std::fs::write(&main, "unqualified-search-registries = [\"one.io\"]\n[[registry]]\nlocation=\"r.io\"\n")
        .expect("write");
    std::fs::write(drop_ins.join("00-a.conf"), "[aliases]\n\"x\" = \"a.io/x\"\n").expect("write");
    std::fs::write(
        drop_ins.join("10-b.conf"),
        "[aliases]\n\"x\" = \"b.io/x\"\n[[registry]]\nlocation=\"r.io\"\ninsecure=true\n",
    )
    .expect("write");
    std::fs::write(drop_ins.join("ignored.txt"), "not toml [").expect("write");
    let paths = ResolverPaths { main: Some(main), drop_ins: vec![drop_ins.clone()] };
    let r = Resolver::load(&paths).expect("load");
    assert_eq!(names(&r, "x"), ["b.io/x:latest"]);
    assert_eq!(names(&r, "y"), ["one.io/y:latest"]);
    assert_eq!(places(&r, "r.io/x"), [("r.io/x".to_owned(), true)]);
    std::fs::write(drop_ins.join("20-c.conf"), "broken [").expect("write");
    let error = Resolver::load(&paths).expect_err("broken").to_string();
    assert!(error.contains("20-c.conf"), "{error}");
}

#[test]
fn resolver_without_files_is_the_default() {
    let dir = tempfile::tempdir().expect("tempdir");
    let paths = ResolverPaths { main: Some(dir.path().join("absent")), drop_ins: vec![dir.path().join("absent.d")] };
    assert_eq!(names(&Resolver::load(&paths).expect("load"), "a"), ["docker.io/library/a:latest"]);
}
