use super::*;
use crate::kernel::compression::Packing;

pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) content: &'a [u8],
}

/// A small ELF file: header, one note segment, section headers, names, contents.
pub(crate) fn elf(machine: u16, sections: &[Section<'_>], notes: &[u8]) -> Vec<u8> {
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut contents = notes.to_vec();
    let count = sections.len() + 2;
    let start = 64 + 56 + 64 * count;
    let mut headers = vec![0; 64];
    let mut header = |name: usize, offset: usize, length: usize| {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&u32::try_from(name).unwrap().to_le_bytes());
        bytes[4] = 1;
        bytes[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        bytes[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        headers.extend(bytes);
    };
    for section in sections {
        let name = names.len();
        names.extend(section.name.bytes().chain([0]));
        header(name, start + contents.len(), section.content.len());
        contents.extend(section.content);
    }
    header(1, start + contents.len(), names.len());
    contents.extend(names);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32] = 64;
    file[40] = 64 + 56;
    file[54] = 56;
    file[56] = 1;
    file[58] = 64;
    file[60] = u8::try_from(count).unwrap();
    file[62] = u8::try_from(count - 1).unwrap();
    let mut segment = [0; 56];
    segment[0] = 4;
    segment[8..16].copy_from_slice(&(start as u64).to_le_bytes());
    segment[32..40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
    file.extend(segment);
    file.extend(headers);
    file.extend(contents);
    file
}

const PVH: &[u8] = b"\x06\0\0\0\x05\0\0\0\x02\0\0\0Linux\0\0\0hello\0\0\0\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\0\x01";

fn vmlinux() -> Vec<u8> {
    let text = b"Linux version %s Linux version 6.1.0-9-x (me) #1";
    elf(62, &[Section { name: ".rodata", content: text }], PVH)
}

/// A bzImage with that payload: four sectors of set-up code, then some of the protected-mode code.
fn bz_image(payload: &[u8]) -> Vec<u8> {
    const CODE: usize = 100;
    let mut file = vec![0; 5 * 512 + CODE];
    file[0x1f1] = 4;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    file[0x300..0x30f].copy_from_slice(b"6.1.0-9-x (me)\0");
    file[0x248..0x24c].copy_from_slice(&u32::try_from(CODE).unwrap().to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend(payload);
    file
}

fn bootable(file: &[u8]) -> Result<Bootable, Fault> {
    Image::recognise(file)?.bootable()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = zstd::encode_all(bytes, 3).unwrap();
    packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    packed
}

#[test]
fn bz_image_is_unpacked_to_its_elf_file() {
    let release = Some("6.1.0-9-x".to_owned());
    let expected = Bootable { vmlinux: Some(vmlinux()), release: release.clone() };
    assert_eq!(bootable(&bz_image(&packed(&vmlinux()))), Ok(expected));
    assert_eq!(bootable(&vmlinux()), Ok(Bootable { vmlinux: None, release }));
}

#[test]
fn bz_image_boots_as_it_is_where_unpacking_helps_nobody() {
    let without_pvh = elf(62, &[], &PVH[..24]);
    for payload in [&b"BZh91AY"[..], b"\x89LZO\0", b"?", &packed(&without_pvh)] {
        let as_it_is = Bootable { vmlinux: None, release: Some("6.1.0-9-x".to_owned()) };
        assert_eq!(bootable(&bz_image(payload)), Ok(as_it_is));
    }
    let mut old = bz_image(&packed(&vmlinux()));
    old[0x206] = 7;
    old[0x207] = 2;
    assert!(bootable(&old).unwrap().vmlinux.is_none());
}

#[test]
fn what_no_machine_boots_is_refused_with_the_reason() {
    let mut arm = vec![0; 64];
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    assert_eq!(bootable(&arm), Err(Fault::Architecture("aarch64")));
    assert_eq!(bootable(b"MZ\0\0zimg"), Err(Fault::Architecture("aarch64")));
    assert_eq!(bootable(&elf(183, &[], PVH)), Err(Fault::Architecture("aarch64")));
    assert_eq!(bootable(&elf(3, &[], PVH)), Err(Fault::Architecture("another processor")));
    assert_eq!(bootable(&elf(62, &[], &[])), Err(Fault::NoPvh));
    assert_eq!(bootable(b""), Err(Fault::NotAKernel));
    assert_eq!(bootable(b"#!/bin/sh"), Err(Fault::NotAKernel));
    assert!(matches!(bootable(b"\x7fELF"), Err(Fault::Damaged(_))));
    let arm_inside = bz_image(&packed(&elf(183, &[], PVH)));
    assert_eq!(bootable(&arm_inside), Err(Fault::Architecture("aarch64")));
}

#[test]
fn every_cut_of_a_kernel_is_an_error_or_a_kernel() {
    for file in [bz_image(&packed(&vmlinux())), vmlinux()] {
        for length in 0..file.len() {
            let cut = bootable(&file[..length]);
            assert!(cut.as_ref().is_ok_and(|b| b.vmlinux.is_none()) || cut.is_err(), "{length}: {cut:?}");
        }
    }
}

#[test]
fn notes_and_sections_outside_the_file_are_not_there() {
    let mut file = vmlinux();
    assert_eq!(Elf::parse(&file).unwrap().notes().count(), 2);
    assert!(Elf::parse(&file).unwrap().section(".rodata").is_some());
    file[64 + 32..64 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(Elf::parse(&file).unwrap().notes().count(), 0);
    let header = 64 + 56 + 64;
    file[header + 24..header + 32].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Elf::parse(&file).unwrap().section(".rodata").is_none());
    file[54] = 1;
    assert!(Elf::parse(&file).is_err());
    assert_eq!(Packing::recognise(&file), None);
}
