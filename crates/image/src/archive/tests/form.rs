//! Archives made here, in the forms of old and new programs.

use super::*;

fn layers() -> (Vec<u8>, Vec<u8>) {
    (Tar::new().file("a", b"first").end(), Tar::new().file("b", b"second").end())
}

fn read(image: &Image, name: &str) -> Option<Vec<u8>> {
    image.layers.iter().rev().find_map(|layer| fs::read(layer.join(name)).ok())
}

#[test]
fn old_docker_archive_with_links_between_layers() {
    let (a, b) = layers();
    let config = config(&[&a, &b, &a]);
    let list = json!([{"Config": "abc.json", "RepoTags": ["one", "localhost:5000/two:3"],
        "Layers": ["x/layer.tar", "y/layer.tar", "z/layer.tar"]}]);
    let archive = Tar::new().folder("x", 0o755).file("x/VERSION", b"1.0").file("x/layer.tar", &a);
    let archive = archive.file("y/layer.tar", &gzip(&b)).symlink("z/layer.tar", "../x/layer.tar");
    let archive = add_json(archive.file("abc.json", &config), "manifest.json", &list).end();
    for archive in [archive.clone(), gzip(&archive), zstd::stream::encode_all(&archive[..], 1).unwrap()] {
        let scene = Scene::new();
        let images = scene.load(&archive).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].id, hash::sha256(&config));
        assert_eq!(images[0].names, ["docker.io/library/one:latest", "localhost:5000/two:3"]);
        assert_eq!(images[0].layers.len(), 2);
        assert_eq!(read(&images[0], "b").unwrap(), b"second");
        scene.assert_clean();
        let rows = history(&scene.store, &images[0]).unwrap();
        let shown: Vec<_> = rows.iter().map(|row| (row.created_by.as_deref(), row.size_bytes)).collect();
        // Three layers, but the history tells of two: the third has a row of its own.
        assert_eq!(shown, [(None, 5), (Some("two"), 6), (Some("none"), 0), (Some("one"), 5)]);
    }
}

#[test]
fn archive_folder_loads_like_its_tar() {
    let (a, b) = layers();
    let scene = Scene::new();
    let folder = scene.temp.path().join("archive");
    fs::create_dir_all(folder.join("x")).unwrap();
    fs::write(folder.join("x/layer.tar"), &a).unwrap();
    fs::write(folder.join("b.tar"), &b).unwrap();
    std::os::unix::fs::symlink("../x/layer.tar", folder.join("link.tar")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("evil.json")).unwrap();
    fs::write(folder.join("c.json"), config(&[&a, &b])).unwrap();
    let list = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["x/layer.tar", "b.tar"]}]);
    fs::write(folder.join("manifest.json"), list.to_string()).unwrap();
    let images = scene.load_folder(&folder).unwrap();
    assert!(images[0].names.is_empty());
    assert_eq!(read(&images[0], "a").unwrap(), b"first");
    let list = json!([{"Config": "evil.json", "RepoTags": null, "Layers": []}]);
    fs::write(folder.join("manifest.json"), list.to_string()).unwrap();
    assert!(matches!(scene.load_folder(&folder), Err(ArchiveError::Missing(_))));
}

#[test]
fn saved_archives_load_to_the_same_image() {
    let scene = Scene::new();
    let one = scene.import(NAME, Tar::new().file("bin/x", b"one"));
    let two = scene.import("localhost:5000/two:2", Tar::new().file("bin/x", b"two"));
    for format in [Format::DockerArchive, Format::OciArchive] {
        let archive = scene.save(&[NAME, "localhost:5000/two:2", NAME], format);
        let other = Scene::new();
        let loaded = other.load(&archive).unwrap();
        assert_eq!(loaded.len(), 2, "{format:?}");
        for (loaded, original) in loaded.iter().zip([&one, &two]) {
            assert_eq!((&loaded.id, &loaded.names), (&original.id, &original.names));
            assert_eq!((&loaded.manifest_digest, &loaded.config), (&original.manifest_digest, &original.config));
            assert_eq!(read(loaded, "bin/x"), read(original, "bin/x"));
        }
        other.assert_clean();
        // By id it has no name.
        let nameless = Scene::new().load(&scene.save(&[one.id.as_str()], format)).unwrap();
        assert!(nameless[0].names.is_empty());
    }
}

#[test]
fn oci_index_of_platforms_gives_this_machines_image() {
    let (a, b) = layers();
    let (mine, other) = (config(&[&a]), config(&[&b]));
    let manifest = |config: &[u8], layer: &[u8]| {
        json!({"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": hash::sha256(config), "size": config.len()}, "layers": [{"digest": hash::sha256(layer),
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len()}]})
        .to_string()
        .into_bytes()
    };
    let (mine_m, other_m) = (manifest(&mine, &a), manifest(&other, &b));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let entry = |bytes: &[u8], arch: &str| {
        json!({"mediaType": kind, "digest": hash::sha256(bytes),
        "size": bytes.len(), "platform": {"os": "linux", "architecture": arch}})
    };
    let index =
        json!({"schemaVersion": 2, "manifests": [entry(&other_m, "s390x"), entry(&mine_m, names::architecture())]});
    let index = index.to_string().into_bytes();
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": hash::sha256(&index), "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "quay.io/a/b:1"}}]});
    let mut tar = Tar::new().file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    for blob in [&index, &mine_m, &other_m, &mine, &other, &a, &b] {
        tar = tar.file(&content::blob_path(&hash::sha256(blob)), blob);
    }
    let scene = Scene::new();
    let images = scene.load(&add_json(tar, "index.json", &top).end()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((&images[0].id, images[0].names[0].as_str()), (&hash::sha256(&mine), "quay.io/a/b:1"));
    scene.assert_clean();
    // The other platform's layer was unpacked on the way and thrown away.
    assert!(!scene.store.has_layer(&hash::sha256(&b)));
}

#[test]
fn broken_archives_are_refused_and_leave_nothing() {
    let (a, b) = layers();
    let good = config(&[&a]);
    let list =
        |config: &str, tags: Value, layers: Value| json!([{"Config": config, "RepoTags": tags, "Layers": layers}]);
    let base = || Tar::new().file("a.tar", &a).file("b.tar", &b).file("c.json", &good);
    let cases = [
        (add_json(base(), "manifest.json", &list("c.json", json!(["x"]), json!(["b.tar"]))), "diff id"),
        (add_json(base(), "manifest.json", &list("c.json", json!(["x"]), json!(["a.tar", "b.tar"]))), "lists 2 layers"),
        (
            add_json(base(), "manifest.json", &list("c.json", json!(["x"]), json!(["gone.tar"]))),
            "cannot find `gone.tar`",
        ),
        (
            add_json(base(), "manifest.json", &list("gone.json", json!(["x"]), json!(["a.tar"]))),
            "cannot find `gone.json`",
        ),
        (add_json(base(), "manifest.json", &list("c.json", json!(["UPPER\nCASE"]), json!(["a.tar"]))), r"UPPER\nCASE"),
        (add_json(base(), "manifest.json", &json!({"not": "a list"})), "manifest.json"),
        (add_json(base(), "manifest.json", &json!([])), "cannot find an image"),
        (base(), "neither"),
        (base().symlink("manifest.json", "manifest.json"), "neither"),
        (add_json(base(), "index.json", &json!({"schemaVersion": 2, "manifests": []})), "cannot find an image for"),
        (base().file("../x", b""), "tar stream"),
    ];
    for (tar, text) in cases {
        let scene = Scene::new();
        let error = scene.load(&tar.end()).unwrap_err();
        assert!(error.to_string().contains(text), "{error} / {text}");
        assert!(scene.store.list().unwrap().is_empty());
        scene.assert_clean();
        assert_eq!(fs::read_dir(scene.temp.path().join("data/layers")).unwrap().count(), 3, "{text}");
    }
    let scene = Scene::new();
    assert!(scene.load(b"not a tar at all, but long enough to be read as one").is_err());
    let whole = add_json(base(), "manifest.json", &list("c.json", json!(["x"]), json!(["a.tar"]))).end();
    assert!(scene.load(&gzip(&whole)[..200]).is_err());
    scene.assert_clean();
}

#[test]
fn imported_root_has_its_configuration_and_history() {
    let scene = Scene::new();
    let image = scene.import(NAME, Tar::new().file("bin/x", b"abc"));
    let run = image.config.config.as_ref().unwrap();
    assert_eq!(run.cmd.as_deref().unwrap(), ["/bin/x"]);
    assert_eq!(run.env.as_deref().unwrap(), ["A=b"]);
    assert_eq!((image.config.os.as_str(), image.config.architecture.as_str()), ("linux", names::architecture()));
    let rows = history(&scene.store, &image).unwrap();
    assert_eq!((rows.len(), rows[0].size_bytes, rows[0].comment.as_deref()), (1, 3, Some("Imported from -")));
    assert_eq!(scene.store.resolve(NAME).unwrap(), image);
    let bad = ImportOptions { changes: vec!["RUN x".to_owned()], ..ImportOptions::default() };
    assert!(import(&scene.store, &mut &b""[..], &bad, &Silent).is_err());
    assert!(import(&scene.store, &mut &b"garbage"[..], &ImportOptions::default(), &Silent).is_err());
    scene.assert_clean();
}

#[test]
fn committed_layer_lies_on_its_parent() {
    let scene = Scene::new();
    let parent = scene.import(NAME, Tar::new().file("bin/x", b"abc").file("gone", b""));
    let upper = scene.temp.path().join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/new"), "new").unwrap();
    let device = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, upper.join("gone"), device, rustix::fs::Mode::empty(), 0).unwrap();
    let step = holm_spec::oci::image::History { created_by: Some("sh".to_owned()), ..Default::default() };
    let name = "docker.io/library/two:latest";
    let image = scene.store.commit(&parent, &upper, None, parent.config.clone(), step, Some(name)).unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[0], parent.layers[0]);
    assert_eq!(fs::read(image.layers[1].join("etc/new")).unwrap(), b"new");
    assert_eq!(history(&scene.store, &image).unwrap().len(), 2);
    assert_eq!(image.config.rootfs.diff_ids.len(), 2);
    // And it survives a journey.
    let loaded = Scene::new().load(&scene.save(&[name], Format::DockerArchive)).unwrap();
    assert_eq!(loaded[0].id, image.id);
    scene.assert_clean();
}
