//! Finding, adding and naming images.

use super::*;

#[test]
fn image_is_found_by_name_digest_and_id() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    scene.image("y", Some("localhost:5000/y:1"));
    let by_digest = format!("docker.io/library/one@{}", image.manifest_digest);
    let by_both = format!("docker.io/library/one:latest@{}", image.manifest_digest);
    for reference in [
        NAME,
        &by_digest,
        &by_both,
        image.id.as_str(),
        image.id.hex(),
        &image.id.hex()[..12],
        &format!("sha256:{}", &image.id.hex()[..12]),
        image.manifest_digest.as_str(),
    ] {
        assert_eq!(scene.store.resolve(reference).unwrap(), image, "{reference}");
    }
    let elsewhere = format!("docker.io/library/two@{}", image.manifest_digest);
    for reference in ["docker.io/library/two:latest", "a", "", "zz", "0123456789abcdef", &elsewhere] {
        assert!(matches!(scene.store.resolve(reference), Err(StoreError::NotFound(_))), "{reference}");
    }
    assert_eq!(image.names, [NAME]);
    assert_eq!(image.created.as_deref(), Some("2020-01-02T03:04:05Z"));
    assert_eq!(image.size_bytes, 1);
    assert_eq!(fs::read(image.layers[0].join("label")).unwrap(), b"x");
}

#[test]
fn ambiguous_prefix_is_an_error() {
    let scene = Scene::new();
    let mut firsts = std::collections::HashMap::<String, u32>::new();
    let mut n = 0;
    let prefix = loop {
        let image = scene.image(&n.to_string(), None);
        let prefix = image.id.hex()[..2].to_owned();
        let seen = firsts.entry(prefix.clone()).or_default();
        *seen += 1;
        if *seen == 2 {
            break prefix;
        }
        n += 1;
    };
    assert!(matches!(scene.store.resolve(&prefix), Err(StoreError::Ambiguous { count: 2, .. })));
}

#[test]
fn name_moves_and_the_old_image_stays_nameless() {
    let scene = Scene::new();
    let old = scene.image("old", Some(NAME));
    let new = scene.image("new", Some(NAME));
    assert_eq!(scene.store.resolve(NAME).unwrap().id, new.id);
    let old = scene.store.resolve(old.id.as_str()).unwrap();
    assert!(old.names.is_empty());
    assert_eq!(scene.store.list().unwrap().len(), 2);
    // Named again, it has one entry only.
    scene.store.tag(old.id.as_str(), "docker.io/library/two:1").unwrap();
    scene.store.tag(old.id.as_str(), "docker.io/library/two:2").unwrap();
    scene.store.tag("docker.io/library/two:1", "docker.io/library/two:1").unwrap();
    let names = scene.store.resolve(old.id.as_str()).unwrap().names;
    assert_eq!(names, ["docker.io/library/two:1", "docker.io/library/two:2"]);
    assert_eq!(scene.store.list().unwrap().len(), 2);
}

#[test]
fn same_image_added_twice_is_one_image() {
    let scene = Scene::new();
    let first = scene.image("x", None);
    let second = scene.image("x", None);
    assert_eq!(first, second);
    scene.image("x", Some(NAME));
    assert_eq!(scene.store.list().unwrap().len(), 1);
    assert_eq!(scene.store.read_index().unwrap().manifests.len(), 1);
}

#[test]
fn layer_that_occurs_twice_is_kept_topmost() {
    let scene = Scene::new();
    let [a, b] = ["a", "b"].map(|name| layer(Tar::new().file(name, b"")));
    let again = Layer { blob: a.blob.clone(), diff_id: a.diff_id.clone() };
    let expected = [&b, &a].map(|layer| scene.store.layer_path(&layer.diff_id).join("fs"));
    let manifest = scene.manifest(&[a, b, again], "x");
    let image = scene.store.add_image(&manifest, media_type::OCI_MANIFEST, None).unwrap();
    assert_eq!(image.layers, expected);
}

#[test]
fn incomplete_or_contradicting_images_are_refused() {
    let scene = Scene::new();
    let manifest = scene.manifest(&[layer(Tar::new().file("x", b""))], "x");
    let add = |text: &str| scene.store.add_image(text.as_bytes(), media_type::OCI_MANIFEST, Some(NAME));
    let text = String::from_utf8(manifest.clone()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let layer_digest = value["layers"][0]["digest"].as_str().unwrap();

    let missing = text.replace(layer_digest, hash::sha256(b"missing").as_str());
    assert!(matches!(add(&missing), Err(StoreError::BlobMissing(_))));
    let mut fewer = value.clone();
    fewer["layers"] = json!([]);
    assert!(matches!(add(&fewer.to_string()), Err(StoreError::LayerCount { layers: 0, diff_ids: 1, .. })));
    let mut no_config = value.clone();
    no_config["config"]["digest"] = json!(hash::sha256(b"missing"));
    assert!(matches!(add(&no_config.to_string()), Err(StoreError::BlobMissing(_))));
    assert!(matches!(add("{}"), Err(StoreError::Document { .. })));
    let index = json!({"schemaVersion": 2, "manifests": []}).to_string();
    let kind = media_type::OCI_INDEX;
    assert!(matches!(scene.store.add_image(index.as_bytes(), kind, None), Err(StoreError::NotManifest(_))));
    fs::remove_dir_all(scene.data().join("layers").join(layer_dir(&scene))).unwrap();
    assert!(matches!(add(&text), Err(StoreError::LayerMissing(_))));
    assert!(scene.store.list().unwrap().is_empty());
}

fn layer_dir(scene: &Scene) -> String {
    let names = file::names(&scene.data().join("layers")).unwrap();
    names.into_iter().find(|name| name.len() == 64).unwrap()
}

#[test]
fn names_that_could_fool_somebody_are_refused() {
    let scene = Scene::new();
    scene.image("x", Some(NAME));
    let digest = hash::sha256(b"x").to_string();
    for name in ["", "a b", "a\nb", "a\x1b[31m", "caf\u{e9}", &"a".repeat(513), &digest] {
        assert!(matches!(scene.store.tag(NAME, name), Err(StoreError::BadName { .. })), "{name:?}");
    }
}

#[test]
fn parallel_taggers_lose_nothing() {
    let scene = Scene::new();
    scene.image("x", Some(NAME));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let store = &scene.store;
            scope.spawn(move || {
                for m in 0..5 {
                    store.tag(NAME, &format!("docker.io/library/t{n}:{m}")).unwrap();
                }
            });
        }
    });
    assert_eq!(scene.store.resolve(NAME).unwrap().names.len(), 41);
}

#[test]
fn entries_of_other_tools_are_left_alone() {
    let scene = Scene::new();
    let digest = scene.store.put_blob(b"{}").unwrap();
    let foreign = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 2,
        "annotations": {"org.opencontainers.image.ref.name": "foreign"}});
    let index = json!({"schemaVersion": 2, "manifests": [foreign]}).to_string();
    fs::write(scene.store.index_path(), index).unwrap();
    scene.image("x", Some(NAME));
    assert_eq!(scene.store.list().unwrap().len(), 1);
    scene.store.prune(true, &unused).unwrap();
    assert_eq!(scene.store.read_index().unwrap().manifests.len(), 1);
    assert!(scene.store.has_blob(&digest));
}
