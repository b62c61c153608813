//! Files that a virtual machine is made of: kernels and modules. They are the user's own, and may be broken.

use holm_vm::kernel::compression::Packing;
use holm_vm::kernel::elf::Elf;
use holm_vm::kernel::image::Image;
use holm_vm::kernel::module::ModInfo;

/// Of what is unpacked here; seeds are smaller.
const LIMIT_BYTES: usize = 1 << 20;

/// A kernel's file: recognised, unpacked within a limit, and what was unpacked recognised again.
pub fn guest_kernel(bytes: &[u8]) {
    let Ok(image) = Image::recognise(bytes) else { return };
    assert!(image.release().is_none_or(|release| release.bytes().all(|b| b.is_ascii_graphic())));
    let Image::BzImage(packed) = image else { return };
    if let Ok(file) = packed.unpack(LIMIT_BYTES) {
        assert!(file.len() <= LIMIT_BYTES);
        let _ = Image::recognise(&file).map(|inner| inner.release());
    }
}

/// A module's file, packed or not.
pub fn kernel_module(bytes: &[u8]) {
    let unpacked = Packing::recognise(bytes).map(|packing| packing.unpack(bytes, LIMIT_BYTES));
    let Ok(file) = unpacked.unwrap_or_else(|| Ok(bytes.to_vec())) else { return };
    assert!(file.len() <= LIMIT_BYTES.max(bytes.len()));
    if let Ok(elf) = Elf::parse(&file) {
        assert!(elf.notes().all(|note| note.name.len() + note.content.len() <= file.len()));
    }
    if let Ok(info) = ModInfo::parse(&file) {
        assert!(info.depends.iter().chain(&info.before).all(|name| !name.contains('-')));
    }
}

/// Plain ELF, and bzImages with it in every packing.
pub(crate) fn guest_kernel_seeds() -> Vec<Vec<u8>> {
    let file = elf(b"Linux version 6.1.0-9-x (me)");
    let packed = packed(&file).into_iter().map(|payload| bz_image(&payload));
    packed.chain([file.clone()]).collect()
}

/// Plain and in every packing.
pub(crate) fn kernel_module_seeds() -> Vec<Vec<u8>> {
    let file = elf(b"depends=a,b-c\0softdep=pre: x-y z post: w\0vermagic=6.1 SMP\0");
    packed(&file).into_iter().chain([file.clone()]).collect()
}

/// A small ELF file for x86-64: a note segment with the entry for hypervisors, `.modinfo`, and the names.
fn elf(content: &[u8]) -> Vec<u8> {
    const NOTE: &[u8] = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\0\x01";
    const NAMES: &[u8] = b"\0.modinfo\0";
    const SEGMENT: usize = 64;
    const SECTIONS: usize = SEGMENT + 56;
    const START: usize = SECTIONS + 2 * 64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(START, 0);
    // Machine, offsets of both tables, sizes and counts of their entries, which section holds names.
    for (at, byte) in [(18, 62), (32, SEGMENT), (40, SECTIONS), (54, 56), (56, 1), (58, 64), (60, 2), (62, 1)] {
        file[at] = u8::try_from(byte).expect("a byte");
    }
    file[SEGMENT] = 4;
    file[SECTIONS] = 1;
    // Where each part's offset and length are written.
    let parts = [(NOTE, SEGMENT + 8, SEGMENT + 32), (content, SECTIONS + 24, SECTIONS + 32)];
    for (part, offset, length) in parts.into_iter().chain([(NAMES, SECTIONS + 64 + 24, SECTIONS + 64 + 32)]) {
        let start = u16::try_from(file.len()).expect("a small file").to_le_bytes();
        file[offset..offset + 2].copy_from_slice(&start);
        file[length] = u8::try_from(part.len()).expect("a byte");
        file.extend(part);
    }
    file
}

/// As gzip, in an LZ4 block and a Zstandard block that hold it as it is, and something in XZ with the filter for code.
fn packed(file: &[u8]) -> Vec<Vec<u8>> {
    const XZ: &[u8] =
        b"\xfd7zXZ\x00\x00\x01i\x22\xde6\x02\x01\x04\x00!\x01\x08\x00\xd2\xb9t\xcb\x01\x00$\x7fELF\x02\x01\
        \x01 a kernel, as far as this goes\x00\x00\x00\x00\x16kd\x10\x00\x019%\xd6\xec\x06e\x90B\x99\x0d\
        \x01\x00\x00\x00\x00\x01YZ";
    let length = u32::try_from(file.len()).expect("a small file");
    let more = length - 15;
    let mut lz4 = b"\x02\x21\x4c\x18".to_vec();
    let mut block = vec![0xf0];
    block.resize(1 + usize::try_from(more / 255).expect("small"), 0xff);
    block.push(u8::try_from(more % 255).expect("a byte"));
    block.extend(file);
    lz4.extend(u32::try_from(block.len()).expect("small").to_le_bytes());
    lz4.extend(block);
    let mut zstd = b"\x28\xb5\x2f\xfd\xa0".to_vec();
    zstd.extend(length.to_le_bytes());
    zstd.extend(&((length << 3) | 1).to_le_bytes()[..3]);
    zstd.extend(file);
    let gzip = holm_kit::Layer::gzip(file).blob.bytes;
    [gzip, lz4, zstd, XZ.to_vec()].into_iter().map(|packed| [packed, length.to_le_bytes().to_vec()].concat()).collect()
}

/// A setup header, and the packed kernel right behind it.
fn bz_image(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    file[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).expect("small").to_le_bytes());
    file[0x300..0x30f].copy_from_slice(b"6.1.0-9-x (me)\0");
    file.extend(payload);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_they_are_meant_to_be() {
        for seed in guest_kernel_seeds() {
            let image = Image::recognise(&seed).expect("a kernel");
            assert_eq!(image.release().as_deref(), Some("6.1.0-9-x"));
            if let Image::BzImage(image) = image {
                assert!(Elf::is_elf(&image.unpack(LIMIT_BYTES).expect("a kernel inside")));
            }
        }
        let plain = kernel_module_seeds().pop().expect("a module");
        assert_eq!(ModInfo::parse(&plain).expect("a module").depends, ["a", "b_c"]);
    }
}
