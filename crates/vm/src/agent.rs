//! The agent's program, which is `/init` in a guest's first file system. Made by this crate's build script from `crates/guest`.

/// A static ELF program for this architecture.
pub const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_is_a_static_program() {
        assert_eq!(&AGENT[..4], b"\x7fELF");
        // *Source*: elf.h: e_phoff at 32, e_phentsize at 54, e_phnum at 56, PT_INTERP 3.
        let short = |at: usize| usize::from(u16::from_le_bytes([AGENT[at], AGENT[at + 1]]));
        let headers = usize::try_from(u64::from_le_bytes(AGENT[32..40].try_into().unwrap())).unwrap();
        for n in 0..short(56) {
            let header = &AGENT[headers + n * short(54)..];
            assert_ne!(header[..4], [3, 0, 0, 0], "it wants an interpreter");
        }
    }
}
