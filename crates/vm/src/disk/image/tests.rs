//! Images as `qemu-img` makes them, and as an attacker would.

use std::process::Command;

use holm_kit::{has_command, requires};

use super::*;

/// The header of a plain qcow2 of version 3.
fn header() -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[23] = 16;
    head[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
    head[103] = 104;
    head
}

fn with(offset: usize, bytes: &[u8]) -> Result<DiskImage, ImageError> {
    let mut head = header();
    head[offset..offset + bytes.len()].copy_from_slice(bytes);
    parse(&head, 1 << 20)
}

#[test]
fn parse_of_a_plain_qcow2_gives_the_guests_size() {
    assert_eq!(parse(&header(), 1 << 20), Ok(DiskImage { format: Format::Qcow2, size_bytes: 1 << 30 }));
}

#[test]
fn parse_of_what_names_another_file_is_refused() {
    assert_eq!(with(8, &[0, 0, 0, 0, 0, 0, 1, 0]), Err(ImageError::BackingFile));
    assert_eq!(with(16, &[0, 0, 0, 9]), Err(ImageError::BackingFile));
    assert_eq!(with(104, &[0xe2, 0x79, 0x2a, 0xca]), Err(ImageError::BackingFile));
    assert_eq!(with(72, &[0, 0, 0, 0, 0, 0, 0, 4]), Err(ImageError::DataFile));
    assert_eq!(with(104, b"DATA"), Err(ImageError::DataFile));
    // Behind another extension, of 3 bytes filled up to 8.
    let behind = [&b"\x68\x03\xf8\x57\0\0\0\x03abc\0\0\0\0\0"[..], b"DATA"].concat();
    assert_eq!(with(104, &behind), Err(ImageError::DataFile));
}

#[test]
fn parse_of_a_malformed_header_is_refused() {
    assert_eq!(with(7, &[4]), Err(ImageError::Version(4)));
    assert_eq!(with(35, &[2]), Err(ImageError::Encrypted));
    assert_eq!(with(79, &[2]), Err(ImageError::Damaged));
    assert_eq!(with(72, &[0x80]), Err(ImageError::Features(1 << 63)));
    for (offset, bytes) in [(23, &[8][..]), (23, &[22]), (24, &[0x80]), (24, &[0; 8]), (100, &[0xff; 4]), (103, &[96])]
    {
        assert!(matches!(with(offset, bytes), Err(ImageError::Malformed(_))), "{offset} {bytes:?}");
    }
    assert!(matches!(with(104, &[0xff; 8]), Err(ImageError::Malformed(_))));
    for length in 4..112 {
        assert!(parse(&header()[..length], length as u64).is_err(), "{length}");
    }
}

#[test]
fn parse_of_other_formats_names_them() {
    assert_eq!(parse(&[], 0), Err(ImageError::Empty));
    assert_eq!(parse(b"KDMV1234", 8), Err(ImageError::Format("a VMDK")));
    assert_eq!(parse(b"\x28\xb5\x2f\xfd12345", 9), Err(ImageError::Packed("zstd")));
    assert_eq!(parse(&[0; 512], 1 << 40), Ok(DiskImage { format: Format::Raw, size_bytes: 1 << 40 }));
}

#[test]
fn inspect_of_what_qemu_img_makes_agrees_with_it() {
    requires!(has_command("qemu-img"), "needs qemu-utils");
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name);
        let mut command = Command::new("qemu-img");
        command.current_dir(folder.path()).args(["create", "-q"]).args(arguments).arg(&path);
        let arguments: &[&str] = if name == "over" { &[] } else { &["3G"] };
        assert!(command.args(arguments).status().unwrap().success(), "{name}");
        inspect(&mut File::open(path).unwrap())
    };
    let size_bytes = 3 << 30;
    assert_eq!(made("raw", &["-f", "raw"]).unwrap(), DiskImage { format: Format::Raw, size_bytes });
    for options in ["compat=0.10", "compat=1.1,extended_l2=on", "cluster_size=2M", "compression_type=zstd"] {
        let found = made("plain", &["-f", "qcow2", "-o", options]).unwrap();
        assert_eq!(found, DiskImage { format: Format::Qcow2, size_bytes });
    }
    let refused = |result| match result {
        Err(DiskError::Image(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(made("over", &["-f", "qcow2", "-b", "raw", "-F", "raw"])), ImageError::BackingFile);
    assert_eq!(refused(made("apart", &["-f", "qcow2", "-o", "data_file=data"])), ImageError::DataFile);
    assert_eq!(refused(made("vmdk", &["-f", "vmdk"])), ImageError::Format("a VMDK"));
    assert_eq!(refused(made("vdi", &["-f", "vdi"])), ImageError::Format("a VDI"));
}
