//! Kernels for arm64: recognised, so that the error names them. They boot without unpacking once Holm runs there.
//!
//! *Source*: kernel documentation, arch/arm64/booting.rst.

/// Whether the file is an arm64 `Image`, or one in the EFI wrapper that unpacks itself.
pub(super) fn is_image(bytes: &[u8]) -> bool {
    let magic = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    magic(0x38, b"ARM\x64") || (magic(0, b"MZ") && magic(4, b"zimg"))
}

/// `e_machine` of ELF files for it.
pub(super) const ELF_MACHINE: u16 = 183;
