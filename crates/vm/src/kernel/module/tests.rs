use super::*;
use crate::kernel::image::tests::{Section, elf};

fn module(info: &str) -> Vec<u8> {
    elf(62, &[Section { name: ".modinfo", content: info.replace('|', "\0").as_bytes() }], &[])
}

fn tree(files: &[(&str, Vec<u8>)], built_in: Option<&str>) -> (tempfile::TempDir, ModuleTree) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join("kernel").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    if let Some(text) = built_in {
        fs::write(folder.path().join("modules.builtin"), text).unwrap();
    }
    let tree = ModuleTree::open(folder.path()).unwrap();
    (folder, tree)
}

fn names(tree: &ModuleTree, wanted: &[&'static str]) -> Vec<String> {
    let wanted: Vec<Wanted> = wanted.iter().map(|name| needed(name)).collect();
    tree.resolve(&wanted, Some("6.1")).unwrap().into_iter().map(|module| module.name).collect()
}

#[test]
fn modules_come_after_those_they_need_and_once() {
    let files = [
        ("drivers/virtio/virtio_ring.ko", module("depends=")),
        ("drivers/virtio/virtio.ko", module("depends=virtio_ring|vermagic=6.1 SMP")),
        ("net/virtio-net.ko", module("license=GPL|depends=virtio-ring,virtio")),
        ("fs/erofs.ko", module("softdep=pre: crypto-crc32c missing post: late|depends=libx")),
        ("lib/libx.ko", module("depends=erofs")),
        ("crypto/crc32c_generic.ko", module("depends=")),
        ("late.ko", module("depends=")),
        ("deep.txt", vec![]),
    ];
    let (_folder, tree) = tree(&files, None);
    let order = names(&tree, &["virtio_net", "virtio", "erofs", "built_in_perhaps"]);
    assert_eq!(order, ["virtio_ring", "virtio", "virtio_net", "crc32c_generic", "libx", "erofs"]);
}

#[test]
fn packed_modules_are_unpacked() {
    let plain = module("depends=");
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let (_folder, tree) = tree(&[("a.ko.gz", gzip), ("b/c-d.ko.zst", zstd)], None);
    let modules = tree.resolve(&[needed("a"), needed("c_d")], None).unwrap();
    assert!(modules.iter().all(|module| module.bytes == plain));
    assert_eq!(modules.len(), 2);
}

#[test]
fn missing_module_is_an_error_where_it_is_needed_and_not_built_in() {
    let (_folder, tree) = tree(&[("a.ko", module("depends=gone"))], Some("kernel/fs/ext4.ko\nkernel/lib/x-y.ko\n"));
    assert_eq!(names(&tree, &["ext4", "x_y"]), [""; 0]);
    assert_eq!(tree.resolve(&[welcome("nowhere")], None).unwrap(), []);
    for name in ["nowhere", "a"] {
        let error = tree.resolve(&[needed(name)], None).unwrap_err();
        assert!(matches!(error, Error::NoModule { .. }) && error.hint().is_some(), "{error}");
    }
}

#[test]
fn module_of_another_kernel_is_refused() {
    let (_folder, tree) = tree(&[("a.ko", module("vermagic=6.2-x SMP preempt"))], None);
    let error = tree.resolve(&[needed("a")], Some("6.1")).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "it was built for kernel 6.2-x, this one is 6.1");
    assert!(tree.resolve(&[needed("a")], None).is_ok());
}

#[test]
fn damaged_module_is_named() {
    let cut = module("depends=")[..100].to_vec();
    for bytes in [vec![], b"\x7fELF".to_vec(), cut, elf(62, &[], &[]), b"\x1f\x8b\x08\0".to_vec()] {
        let (_folder, tree) = tree(&[("a.ko", bytes)], None);
        let error = tree.resolve(&[needed("a")], None).unwrap_err();
        assert!(matches!(&error, Error::Module { path, .. } if path.ends_with("kernel/a.ko")), "{error}");
    }
}
