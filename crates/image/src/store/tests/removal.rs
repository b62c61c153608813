//! What may be deleted, and when.

use super::*;

#[test]
fn last_name_takes_the_image_and_its_content() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    scene.store.tag(NAME, "docker.io/library/two:1").unwrap();
    let removed = scene.store.untag_or_remove(NAME, false, &unused).unwrap();
    assert_eq!(removed, [Removed::Untagged(NAME.to_owned())]);
    assert_eq!(scene.store.list().unwrap().len(), 1);
    let removed = scene.store.untag_or_remove("docker.io/library/two:1", false, &unused).unwrap();
    assert_eq!(removed, [Removed::Untagged("docker.io/library/two:1".to_owned()), Removed::Deleted(image.id)]);
    assert!(scene.store.list().unwrap().is_empty());
    for empty in ["images/blobs/sha256", "images/records", "images/trash", "layers/trash", "layers/locks"] {
        assert_eq!(scene.count(empty), 0, "{empty}");
    }
    assert_eq!(scene.count("layers"), 3);
}

#[test]
fn shared_layers_stay_for_the_other_image() {
    let scene = Scene::new();
    let shared = || layer(Tar::new().file("shared", b""));
    let one = scene.manifest(&[shared(), layer(Tar::new().file("one", b""))], "1");
    let two = scene.manifest(&[shared(), layer(Tar::new().file("two", b""))], "2");
    let one = scene.store.add_image(&one, media_type::OCI_MANIFEST, Some(NAME)).unwrap();
    let two = scene.store.add_image(&two, media_type::OCI_MANIFEST, None).unwrap();
    scene.store.untag_or_remove(NAME, false, &unused).unwrap();
    assert!(two.layers.iter().all(|folder| folder.is_dir()));
    assert!(!one.layers[1].exists());
    let (manifest, _) = scene.store.read_manifest(&two.manifest_digest).unwrap();
    assert!(manifest.layers.iter().all(|layer| scene.store.has_blob(&layer.digest)));
}

#[test]
fn image_by_id_with_several_names_needs_force() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    scene.store.tag(NAME, "docker.io/library/two:1").unwrap();
    let error = scene.store.untag_or_remove(image.id.as_str(), false, &unused).unwrap_err();
    assert!(matches!(error, StoreError::SeveralNames { count: 2, .. }));
    assert_eq!(scene.store.untag_or_remove(image.id.as_str(), true, &unused).unwrap().len(), 3);
    assert!(matches!(scene.store.untag_or_remove(NAME, true, &unused), Err(StoreError::NotFound(_))));
}

#[test]
fn used_image_is_never_deleted() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    let used = |id: &Digest| *id == image.id;
    for reference in [NAME, image.id.as_str()] {
        assert!(matches!(scene.store.untag_or_remove(reference, false, &used), Err(StoreError::InUse(_))));
    }
    assert!(matches!(scene.store.untag_or_remove(image.id.as_str(), true, &used), Err(StoreError::InUse(_))));
    assert_eq!(scene.store.untag_or_remove(NAME, true, &used).unwrap(), [Removed::Untagged(NAME.to_owned())]);
    assert!(scene.store.prune(true, &used).unwrap().removed.is_empty());
    assert_eq!(fs::read(scene.store.resolve(image.id.as_str()).unwrap().layers[0].join("label")).unwrap(), b"x");
    assert_eq!(scene.store.prune(false, &unused).unwrap().removed, [Removed::Deleted(image.id.clone())]);
}

#[test]
fn container_started_during_removal_keeps_its_layers() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    // The removal asked first; then the container was recorded.
    let asked = std::cell::Cell::new(0);
    let used = |_: &Digest| asked.replace(asked.get() + 1) > 0;
    scene.store.untag_or_remove(NAME, false, &used).unwrap();
    assert!(image.layers[0].join("label").exists());
    scene.store.prune(false, &unused).unwrap();
    assert!(!image.layers[0].exists());
}

#[test]
fn pinned_content_stays_until_the_pin_is_dropped() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    let pin = scene.store.pin().unwrap();
    scene.store.untag_or_remove(NAME, false, &unused).unwrap();
    assert!(matches!(scene.store.resolve(NAME), Err(StoreError::NotFound(_))));
    assert!(image.layers[0].join("label").exists());
    std::thread::scope(|scope| {
        let prune = scope.spawn(|| scene.store.prune(false, &unused).unwrap());
        assert!(!prune.is_finished());
        drop(pin);
        assert!(prune.join().unwrap().reclaimed_bytes > 0);
    });
    assert!(!image.layers[0].exists());
}

#[test]
fn prune_takes_nameless_images_or_all_unused_ones() {
    let scene = Scene::new();
    let nameless = scene.image("nameless", None);
    let kept = scene.image("kept", Some(NAME));
    let report = scene.store.prune(false, &unused).unwrap();
    assert_eq!(report.removed, [Removed::Deleted(nameless.id)]);
    assert!(report.reclaimed_bytes > 0);
    assert_eq!(scene.store.prune(false, &unused).unwrap(), PruneReport::default());
    let report = scene.store.prune(true, &unused).unwrap();
    assert_eq!(report.removed, [Removed::Untagged(NAME.to_owned()), Removed::Deleted(kept.id)]);
}

#[test]
fn leftovers_of_killed_processes_are_swept() {
    let scene = Scene::new();
    let image = scene.image("x", Some(NAME));
    let data = scene.data();
    fs::write(data.join("images/partial/sha256-half"), "half").unwrap();
    fs::write(data.join("images/index.123.tmp"), "half").unwrap();
    fs::write(data.join("images/records/gone.json"), "half").unwrap();
    fs::create_dir_all(data.join("layers/partial/new-1-1/fs/a/b")).unwrap();
    fs::create_dir_all(data.join("layers/trash/x/fs")).unwrap();
    fs::create_dir_all(data.join("layers").join("0".repeat(64)).join("fs")).unwrap();
    fs::write(data.join("images/trash/y"), "old").unwrap();
    scene.store.put_blob(b"of a pull that was killed").unwrap();
    scene.store.prune(false, &unused).unwrap();
    for empty in ["images/partial", "images/trash", "layers/partial", "layers/trash", "layers/locks"] {
        assert_eq!(scene.count(empty), 0, "{empty}");
    }
    assert_eq!(scene.count("layers"), 4);
    assert_eq!(scene.count("images/blobs/sha256"), 3);
    assert_eq!(scene.count("images/records"), 1);
    assert!(!data.join("images/index.123.tmp").exists());
    assert_eq!(scene.store.resolve(NAME).unwrap(), image);
}

#[test]
fn removed_layer_may_hold_read_only_and_deep_folders() {
    let scene = Scene::new();
    let deep = "d/".repeat(400);
    let tar = Tar::new().folder("ro", 0o555).file("ro/x", b"").pax(&[("path", deep.as_bytes())]).folder("d", 0o0);
    let manifest = scene.manifest(&[layer(tar)], "x");
    scene.store.add_image(&manifest, media_type::OCI_MANIFEST, Some(NAME)).unwrap();
    scene.store.untag_or_remove(NAME, false, &unused).unwrap();
    assert_eq!(scene.count("layers"), 3);
}
