//! Blobs and layers on their way in: verification, resuming, waiting, kills and full disks.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fixture::Fields;

fn writer(store: &Store, bytes: &[u8]) -> BlobWriter {
    match store.ingest(&hash::sha256(bytes), bytes.len() as u64).unwrap() {
        Ingest::Writer(writer) => writer,
        Ingest::AlreadyThere => panic!("already there"),
    }
}

#[test]
fn folders_are_private_and_opening_again_keeps_them() {
    let scene = Scene::new();
    for folder in ["", "images", "images/blobs/sha256", "layers"] {
        let mode = fs::metadata(scene.data().join(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
    scene.image("x", Some(NAME));
    let again = Store::open(&scene.data()).unwrap();
    assert_eq!(again.list().unwrap().len(), 1);
}

#[test]
fn blob_comes_back_and_is_stored_once() {
    let scene = Scene::new();
    let digest = scene.store.put_blob(b"content").unwrap();
    assert!(scene.store.has_blob(&digest));
    assert_eq!(scene.store.read_blob(&digest, 7).unwrap(), b"content");
    assert!(matches!(scene.store.read_blob(&digest, 6), Err(StoreError::BlobTooLarge { size_bytes: 7, .. })));
    assert!(matches!(scene.store.ingest(&digest, 7).unwrap(), Ingest::AlreadyThere));
    assert_eq!(scene.count("images/partial"), 0);
}

#[test]
fn damaged_blob_is_noticed_when_read() {
    let scene = Scene::new();
    let digest = scene.store.put_blob(b"content").unwrap();
    fs::write(scene.store.blob_path(&digest), b"CONTENT").unwrap();
    assert!(matches!(scene.store.read_blob(&digest, 100), Err(StoreError::DigestMismatch { .. })));
}

#[test]
fn broken_download_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let bytes = vec![7; 300_000];
    let mut first = writer(&scene.store, &bytes);
    first.write_all(&bytes[..299_999]).unwrap();
    drop(first);
    let mut second = writer(&scene.store, &bytes);
    assert_eq!(second.offset(), 299_999);
    second.write_all(&bytes[299_999..]).unwrap();
    second.commit().unwrap();
    assert_eq!(scene.store.read_blob(&hash::sha256(&bytes), 300_000).unwrap(), bytes);
    assert_eq!(scene.count("images/partial"), 0);
}

#[test]
fn damaged_rest_of_a_download_is_noticed_and_thrown_away() {
    let scene = Scene::new();
    let mut first = writer(&scene.store, b"0123456789");
    first.write_all(b"01X").unwrap();
    drop(first);
    let mut second = writer(&scene.store, b"0123456789");
    second.write_all(b"3456789").unwrap();
    assert!(matches!(second.commit(), Err(StoreError::DigestMismatch { .. })));
    let mut third = writer(&scene.store, b"0123456789");
    assert_eq!(third.offset(), 0);
    third.write_all(b"0123456789").unwrap();
    third.commit().unwrap();
}

#[test]
fn blob_of_another_size_is_refused() {
    let scene = Scene::new();
    let mut short = writer(&scene.store, b"0123456789");
    short.write_all(b"012").unwrap();
    assert!(short.write_all(b"3456789A").is_err());
    assert!(matches!(short.commit(), Err(StoreError::SizeMismatch { actual_bytes: 3, expected_bytes: 10, .. })));
    assert!(!scene.store.has_blob(&hash::sha256(b"0123456789")));
    // A partial file that is longer than the blob is of no use.
    let name = format!("sha256-{}", hash::sha256(b"0123456789").hex());
    fs::write(scene.data().join("images/partial").join(name), [0; 20]).unwrap();
    assert_eq!(writer(&scene.store, b"0123456789").offset(), 0);
}

#[test]
fn second_download_of_one_blob_waits_and_finds_it() {
    let scene = Scene::new();
    let bytes = vec![1; 100_000];
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match scene.store.ingest(&hash::sha256(&bytes), 100_000).unwrap() {
                Ingest::AlreadyThere => {}
                Ingest::Writer(mut writer) => {
                    assert_eq!(writer.offset(), 0);
                    for piece in bytes.chunks(1000) {
                        writer.write_all(piece).unwrap();
                    }
                    writer.commit().unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(written.into_inner(), 1);
}

/// Counts what is read of it.
struct Counted<'a>(&'a [u8], &'a AtomicUsize);

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
}

#[test]
fn layer_unpacked_by_many_at_once_is_read_once() {
    let scene = Scene::new();
    let layer = layer(Tar::new().file("big", &vec![5; 2_000_000]));
    let read = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut stream = Counted(&layer.blob, &read);
                scene.store.unpack_layer(&layer.diff_id, media_type::OCI_LAYER_GZIP, &mut stream).unwrap();
            });
        }
    });
    assert_eq!(read.into_inner(), layer.blob.len());
    assert!(scene.store.has_layer(&layer.diff_id));
    assert_eq!(scene.count("layers/partial"), 0);
}

#[test]
fn layer_with_another_diff_id_leaves_nothing() {
    let scene = Scene::new();
    let good = layer(Tar::new().file("x", b"good"));
    let evil = layer(Tar::new().file("x", b"evil"));
    let error = scene.store.unpack_layer(&good.diff_id, "", &mut &evil.blob[..]).unwrap_err();
    assert!(matches!(error, StoreError::DiffIdMismatch { .. }), "{error}");
    let broken = &good.blob[..good.blob.len() - 12];
    assert!(matches!(scene.store.unpack_layer(&good.diff_id, "", &mut &broken[..]), Err(StoreError::Layer { .. })));
    assert!(!scene.store.has_layer(&good.diff_id));
    assert_eq!(scene.count("layers/partial"), 0);
    scene.store.unpack_layer(&good.diff_id, "", &mut &good.blob[..]).unwrap();
}

#[test]
fn half_unpacked_layer_of_a_killed_process_is_replaced() {
    let scene = Scene::new();
    let layer = layer(Tar::new().file("x", b"right"));
    let partial = scene.data().join("layers/partial").join(layer.diff_id.hex());
    fs::create_dir_all(partial.join("fs/deep/er")).unwrap();
    fs::write(partial.join("fs/x"), "half").unwrap();
    fs::write(partial.join("layer.json"), "{").unwrap();
    // And one that a sloppy program left under the final name, without its marker.
    fs::create_dir_all(scene.data().join("layers").join(layer.diff_id.hex()).join("fs")).unwrap();
    assert!(!scene.store.has_layer(&layer.diff_id));
    scene.store.unpack_layer(&layer.diff_id, "", &mut &layer.blob[..]).unwrap();
    let root = scene.store.layer_path(&layer.diff_id).join("fs");
    assert_eq!(fs::read(root.join("x")).unwrap(), b"right");
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
    assert_eq!(scene.count("layers/partial"), 0);
}

#[test]
fn sha512_layers_are_verified_too() {
    let scene = Scene::new();
    let tar = Tar::new().file("x", b"").end();
    let mut hasher = hash::Hasher::new(holm_spec::digest::Algorithm::Sha512);
    hasher.update(&tar);
    let diff_id = hasher.finish();
    scene.store.unpack_layer(&diff_id, "", &mut &tar[..]).unwrap();
    assert!(scene.store.has_layer(&diff_id));
}

/// A small file system that goes away with its scene.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let temp = TempDir::new().unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        match rustix::mount::mount(
            "tmpfs",
            temp.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        ) {
            Ok(()) => Some(Self(temp)),
            Err(e) => {
                eprintln!("skipped: mounting a tmpfs needs privilege: {e}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn full_disk_is_a_clear_error_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let store = Store::open(&disk.0.path().join("data")).unwrap();
    let layer = layer(Tar::new().file("etc/big", &vec![5; 4_000_000]));
    let error = store.unpack_layer(&layer.diff_id, "", &mut &layer.blob[..]).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    assert!(text.contains("cannot write `etc/big`: No space left on device"), "{text}");
    assert_eq!(fs::read_dir(disk.0.path().join("data/layers/partial")).unwrap().count(), 0);

    let bytes = vec![3; 4_000_000];
    let mut writer = writer(&store, &bytes);
    assert_eq!(writer.write_all(&bytes).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(writer.offset(), 0);
    drop(writer);
    // There is room again for what fits.
    store.put_blob(&vec![3; 1_000_000]).unwrap();
    let small = super::layer(Tar::new().header(Fields { name: b"x", ..Fields::default() }));
    store.unpack_layer(&small.diff_id, "", &mut &small.blob[..]).unwrap();
}
