//! Every entry point that takes bytes from strangers, as functions of bytes: what `fuzz/` runs for hours and
//! its own test for seconds. They return nothing: they must only not panic, not hang and not grow.

mod guest_kernel;

use std::io::Read;

use holm_image::document::{parse_config, parse_manifest};
use holm_image::reference::Reference;
use holm_spec::digest::Algorithm;

pub use guest_kernel::{guest_kernel, kernel_module};

/// An entry point by name, with a well-formed input to start from.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: [Target; 16] = [
    ("reference", reference, reference_seeds),
    ("manifest", manifest, manifest_seeds),
    ("config", config, config_seeds),
    ("layer", layer, layer_seeds),
    ("seccomp_profile", seccomp_profile, seccomp_seeds),
    ("template", template, template_seeds),
    ("www_authenticate", www_authenticate, www_authenticate_seeds),
    ("registries_conf", registries_conf, registries_conf_seeds),
    ("dns_query", dns_query, dns_query_seeds),
    ("dns_upstream_answer", dns_upstream_answer, dns_upstream_answer_seeds),
    ("cni_config", cni_config, cni_config_seeds),
    ("cni_result", cni_result, cni_result_seeds),
    ("disk_image", disk_image, disk_image_seeds),
    ("guest_kernel", guest_kernel, guest_kernel::guest_kernel_seeds),
    ("kernel_module", kernel_module, guest_kernel::kernel_module_seeds),
    ("guest_channel", guest_channel, guest_channel_seeds),
];

/// An image reference; what parses is written back and parses to the same.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = Reference::parse(text) {
        let again = Reference::parse(&parsed.to_string()).expect("a reference written by ourselves");
        assert_eq!(parsed, again);
    }
}

/// A manifest or index.
pub fn manifest(bytes: &[u8]) {
    let _ = parse_manifest(bytes, None);
}

/// An image configuration.
pub fn config(bytes: &[u8]) {
    let _ = parse_config(bytes);
}

/// A layer, unpacked into a folder beside which nothing may appear.
pub fn layer(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("make a folder");
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("make a folder");
    let mut stream = bytes.take(1 << 20);
    let _ = holm_image::layer::unpack(&mut stream, "application/vnd.oci.image.layer.v1.tar", Algorithm::Sha256, &root);
    let beside = std::fs::read_dir(folder.path()).expect("list a folder").count();
    assert_eq!(beside, 1, "something was made outside the root");
}

/// A seccomp profile, compiled where it parses.
pub fn seccomp_profile(bytes: &[u8]) {
    if let Ok(profile) = holm_container::seccomp::load_profile(bytes, &["CAP_CHOWN"], (6, 1)) {
        let _ = holm_container::seccomp::compile(&profile, holm_container::seccomp::Arch::native());
    }
}

/// A `--format` template, applied where it parses.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = holm_cli::format::template::Template::parse(text) {
        let value = serde_json::json!({ "Name": "/x", "List": ["a", "b"], "Map": { "k": "v" }, "Yes": true, "N": 7 });
        let _ = parsed.render(&value);
    }
}

/// The header by which a registry says how to log in.
pub fn www_authenticate(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = holm_image::registry::parse_challenges(text);
    }
}

/// A `registries.conf`.
pub fn registries_conf(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = holm_image::reference::RegistriesConf::parse(text);
    }
}

/// A configuration of CNI plugins, and one of Holm's own plugin.
pub fn cni_config(bytes: &[u8]) {
    if let Ok(list) = holm_network::cni::read_config(bytes) {
        let file = |plugin: &serde_json::Map<String, serde_json::Value>| plugin["type"].as_str().map(str::to_owned);
        assert!(list.plugins.iter().all(|p| file(p).is_some_and(|name| !name.is_empty() && !name.contains('/'))));
    }
    let _ = holm_network::cni::plugin::Conf::read(bytes);
}

/// What a CNI plugin says.
pub fn cni_result(bytes: &[u8]) {
    let _ = holm_network::cni::read_result(bytes);
}

/// A message from a container to the name server; no answer is longer than its sender takes, or answers an answer.
pub fn dns_query(bytes: &[u8]) {
    use holm_network::dns::{Catalog, answer_alone, query::Query, wire::UDP_MAX};
    thread_local!(static CATALOG: Catalog = dns_catalog());
    let mut out = [0; UDP_MAX];
    let limit = Query::parse(bytes).map_or(UDP_MAX, |query| query.udp_limit());
    let (network, client) = ("net".parse().expect("a name"), "10.8.0.2".parse().expect("an address"));
    let answer = CATALOG.with(|catalog| answer_alone(catalog, &network, client, bytes, &mut out[..limit]));
    assert!(answer.is_none_or(|length| (12..=limit).contains(&length) && bytes[2] & 0x80 == 0 && out[2] & 0x80 != 0));
}

fn dns_catalog() -> holm_network::dns::Catalog {
    use holm_network::dns::{Catalog, NetworkNames};
    let network: holm_spec::Name = "net".parse().expect("a name");
    let mut catalog = Catalog::new();
    let subnets = vec!["10.8.0.0/24".parse().expect("a subnet")];
    let names = NetworkNames { internal: false, search: Some("holm.test".to_owned()), subnets };
    catalog.set_network(&network, &names);
    for last in 2..=60 {
        catalog.put(&dns_endpoint(&network, last));
    }
    catalog
}

/// A message from a server to which a question was sent; what is passed on fits whom it is for and is read the same again.
pub fn dns_upstream_answer(bytes: &[u8]) {
    use holm_network::dns::reply::{Received, Recipient, Reply, TTL_MAX};
    let question = b"\x03www\x07example\x00\x00\x01\x00\x01";
    let Received::Reply(reply) = Reply::parse(bytes, 0x1234, question) else { return };
    assert!(reply.lifetime <= TTL_MAX && reply.size_bytes() <= 512 + 2 * bytes.len());
    for (edns, limit) in [(None, 512), (Some(true), 1232), (Some(false), 65_535)] {
        let mut out = vec![0; limit];
        let to = Recipient { id: 0x1234, flags: 0x0100, question, edns, limit };
        let length = reply.write(9, &to, &mut out);
        assert!(length <= limit);
        let again = Reply::parse(&out[..length], 0x1234, question);
        assert!(matches!(again, Received::Truncated | Received::Reply(_)), "what we pass on we can read");
    }
}

fn dns_endpoint(network: &holm_spec::Name, last: u8) -> holm_spec::network::Endpoint {
    let value = serde_json::json!({
        "container": format!("{last:064x}"), "name": format!("c{last}"), "network": network, "aliases": ["web"],
        "link": "eth0", "mac": "02:00:00:00:00:01", "addresses": [format!("10.8.0.{last}/24")],
    });
    serde_json::from_value(value).expect("an endpoint")
}

/// What the guest of a virtual machine sends to its monitor. Whatever it is, only so much waits, and what is passed on is told.
pub fn guest_channel(bytes: &[u8]) {
    use holm_spec::guest::{INITIAL_CREDIT, ToGuest, stream};
    let mut mux = holm_vm::monitor::mux::Mux::new(true);
    for request in guest_requests() {
        mux.ask(&request).expect("a request that can be passed on");
    }
    mux.ask(&ToGuest::Stats { id: 9 }).expect("a request that can be passed on");
    for piece in bytes.chunks(1000) {
        if mux.feed(piece).is_err() {
            return;
        }
        for number in [stream(1, 1), stream(1, 2), 401] {
            let waits = mux.to_write(number).len();
            assert!(waits <= INITIAL_CREDIT as usize, "more than it had credit for");
            mux.wrote(number, waits / 2);
        }
        mux.read(4, &bytes[..mux.room(4).min(bytes.len())]);
        mux.sent(mux.outgoing().len());
        while let Some(told) = mux.next_told() {
            serde_json::to_vec(&told).expect("what can be told again");
        }
    }
}

fn guest_requests() -> Vec<holm_spec::guest::ToGuest> {
    let run = serde_json::json!({
        "ask": "run", "id": 1, "run": {
            "spec": { "ociVersion": "1.2.0" }, "identity": { "unprivileged": {}, "keep_home": false }, "init": false,
            "stdin": true, "seccomp": { "choice": "default" },
        },
    });
    let tar = serde_json::json!({
        "ask": "tar-out", "id": 2, "stream": 401, "path": "/x", "follow": false, "one_mount": false,
    });
    [run, tar].map(|value| serde_json::from_value(value).expect("a request")).to_vec()
}

fn guest_channel_seeds() -> Vec<Vec<u8>> {
    use holm_spec::guest::{Kind, ToHost, encode};
    let mut bytes = Vec::new();
    let message = |message: &ToHost, out: &mut Vec<u8>| {
        encode(Kind::Message, 0, &serde_json::to_vec(message).expect("write JSON"), out);
    };
    message(&ToHost::Started { id: 1, pid: 7 }, &mut bytes);
    encode(Kind::Data, 5, b"output", &mut bytes);
    encode(Kind::Credit, 4, &100u32.to_le_bytes(), &mut bytes);
    encode(Kind::Data, 401, &[b't'; 3000], &mut bytes);
    message(&ToHost::OutOfMemory, &mut bytes);
    message(&ToHost::Stats { id: 9, stats: holm_spec::guest::Stats::default() }, &mut bytes);
    encode(Kind::End, 401, &[], &mut bytes);
    message(&ToHost::Done { id: 2, warnings: vec!["slow".to_owned()] }, &mut bytes);
    message(&ToHost::Exited { process: 1, code: 3, oom: false }, &mut bytes);
    vec![bytes]
}

fn cni_config_seeds() -> Vec<Vec<u8>> {
    let bridge = serde_json::json!({
        "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "capabilities": { "ips": true },
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.1.0.0/16", "rangeStart": "10.1.1.0" }]] },
    });
    let list = serde_json::json!({
        "cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "net", "disableCheck": true, "plugins": [bridge],
    });
    let own = serde_json::json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "holm", "bridge": "cni7", "mtu": 1400, "ipMasq": true,
        "ipam": { "subnet": "10.20.0.0/16", "rangeStart": "10.20.1.0", "rangeEnd": "10.20.1.255", "gateway": "10.20.0.1",
                  "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "fd00::/8", "gw": "fd00::1" }] },
        "runtimeConfig": { "portMappings": [{ "hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "::" }],
                           "ips": ["10.20.1.7/16"], "mac": "02:00:00:00:00:01" },
        "cni.dev/valid-attachments": [{ "containerID": "a", "ifname": "eth0" }],
    });
    [list, own].map(|value| value.to_string().into_bytes()).to_vec()
}

fn cni_result_seeds() -> Vec<Vec<u8>> {
    let value = serde_json::json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "cni0" }, { "name": "eth0", "mac": "02:00:00:00:00:09", "sandbox": "/proc/1/fd/3" }],
        "ips": [{ "address": "10.1.0.9/16", "gateway": "10.1.0.1", "interface": 1 }, { "address": "fd00::9/64" }],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "dns": { "nameservers": ["10.1.0.1"], "domain": "a", "search": ["b.test"], "options": ["ndots:2"] },
    });
    vec![value.to_string().into_bytes()]
}

fn dns_query_seeds() -> Vec<Vec<u8>> {
    let message = |name: &[u8], kind: u8, options: &[u8]| {
        let additional = u8::from(!options.is_empty());
        let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
        [&head[..], name, &[0, 0, kind, 0, 1], options].concat()
    };
    let options = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x04\x00\x0a\x00\x00";
    vec![
        message(b"\x03web", 1, b""),
        message(b"\x02c7\x03net", 28, options),
        message(b"\x03web\x04holm\x04test", 255, options),
        message(b"\x017\x010\x018\x0210\x07in-addr\x04arpa", 12, options),
        message(b"\x03www\x07example", 16, b""),
    ]
}

fn dns_upstream_answer_seeds() -> Vec<Vec<u8>> {
    let head = |code: u8, counts: [u8; 3]| {
        [0x12, 0x34, 0x81, 0x80 | code, 0, 1, 0, counts[0], 0, counts[1], 0, counts[2]].to_vec()
    };
    let question = b"\x03www\x07example\x00\x00\x01\x00\x01";
    let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x10";
    let address = b"\xc0\x29\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc0\x00\x02\x01";
    let options = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";
    let authority =
        b"\x00\x00\x06\x00\x01\x00\x00\x0e\x10\x00\x16\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\
        \x00\x00\x04\x00\x00\x00\x05";
    vec![
        [&head(0, [2, 0, 1])[..], question, alias, address, options].concat(),
        [&head(3, [0, 1, 1])[..], question, authority, options].concat(),
        [&head(2, [0, 0, 0])[..], question].concat(),
    ]
}

fn www_authenticate_seeds() -> Vec<Vec<u8>> {
    let bearer = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
    [bearer, r#"Basic realm="x", Bearer realm="y""#].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn registries_conf_seeds() -> Vec<Vec<u8>> {
    let text = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nprefix = \"*.example.com\"\n\
        location = \"mirror:5000\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"other\"\n[aliases]\na = \"b/c\"\n";
    vec![text.as_bytes().to_vec()]
}

fn reference_seeds() -> Vec<Vec<u8>> {
    let digest = "a".repeat(64);
    let long = format!("registry.example:5000/team/app:v1@sha256:{digest}");
    ["alpine", "user/app:1", "localhost:5000/x", "[::1]:5000/y:z", &long].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let image = holm_kit::Image::busybox();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [image.manifest().descriptor()] });
    vec![image.manifest().bytes, index.to_string().into_bytes()]
}

fn config_seeds() -> Vec<Vec<u8>> {
    let check = serde_json::json!({ "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000_u64 });
    let image = holm_kit::Image::new([holm_kit::Layer::plain(b"tar")]).set("Healthcheck", check);
    let image = image.set("User", "1:2".into()).set("Volumes", serde_json::json!({ "/v": {} }));
    vec![image.config_blob().bytes]
}

fn layer_seeds() -> Vec<Vec<u8>> {
    use holm_kit::{Entry, Layer, Tar};
    let tar = Tar::new()
        .with(Entry::folder("a").mode(0o1777))
        .with(Entry::file("a/b", "hello").owner(1, 2).xattr("user.x", "y"))
        .with(Entry::symlink("a/c", "../b"))
        .with(Entry::hardlink("d", "a/b"))
        .with(Entry::file("n".repeat(150), "long"))
        .with(Entry::other("l", b'L', "m".repeat(120)))
        .with(Entry::file("short", "x").pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0"))
        .with(Entry::file("a/.wh.gone", ""))
        .with(Entry::file("a/.wh..wh..opq", ""))
        .with(Entry::device("null", 1, 3))
        .with(Entry::fifo("pipe"))
        .finish();
    vec![Layer::gzip(&tar).blob.bytes, tar]
}

fn seccomp_seeds() -> Vec<Vec<u8>> {
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["read", "write"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_CHOWN"], "minKernel": "4.8" },
              "args": [{ "index": 0, "value": 2_114_060_288_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
        ],
    });
    vec![serde_json::to_vec(&profile).expect("write JSON")]
}

fn template_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "{{.Name}} {{json .Map}}",
        "{{range $i, $v := .List}}{{$i}}={{$v}}{{else}}none{{end}}",
        "{{if and .Yes (eq .N 7)}}{{printf \"%-10s|%q|%d\" .Name .Name .N}}{{else if .No}}x{{end}}",
        "{{with .Map}}{{.k | upper}}{{end}}{{index .List 1}}{{len .List}}{{- join .List \"+\" -}}",
        "table {{.Name}}\\t{{.N}}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The start of a disk image that a user brings. One that is taken as qcow2 names no other file.
pub fn disk_image(bytes: &[u8]) {
    use holm_vm::disk::image::{Format, parse};
    if let Ok(found) = parse(bytes, bytes.len() as u64) {
        assert!(found.size_bytes > 0);
        let is_qcow2 = bytes.starts_with(b"QFI\xfb");
        assert_eq!(found.format, if is_qcow2 { Format::Qcow2 } else { Format::Raw });
        assert!(!is_qcow2 || bytes[8..20] == [0; 12], "it has a backing file");
    }
}

fn disk_image_seeds() -> Vec<Vec<u8>> {
    // Version 3, clusters of 64 KiB, 1 GiB; a table of features as its extension.
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[23] = 16;
    head[28] = 0x40;
    head[103] = 104;
    head[104..112].copy_from_slice(&[0x68, 0x03, 0xf8, 0x57, 0, 0, 0, 48]);
    vec![head, b"# Disk DescriptorFile\nversion=1".to_vec()]
}
