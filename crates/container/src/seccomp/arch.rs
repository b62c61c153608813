//! The architectures a filter tells apart, and their system call tables.

#[path = "table/aarch64.rs"]
mod aarch64;
#[path = "table/arm.rs"]
mod arm;
#[path = "table/x32.rs"]
mod x32;
#[path = "table/x86.rs"]
mod x86;
#[path = "table/x86_64.rs"]
mod x86_64;

/// Set in the numbers of x32 calls, which otherwise come under the architecture of x86_64.
pub const X32_BIT: u32 = 0x4000_0000;

/// A system call interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arch {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

impl Arch {
    /// All.
    pub const ALL: [Arch; 5] = [Arch::X86_64, Arch::X32, Arch::X86, Arch::Aarch64, Arch::Arm];

    /// The one that this program is built for.
    pub const fn native() -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
    }

    /// `AUDIT_ARCH_*`. *Source*: linux/audit.h.
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// Name and number of each call, sorted by name.
    pub fn table(self) -> &'static [(&'static str, u32)] {
        match self {
            Arch::X86_64 => x86_64::TABLE,
            Arch::X32 => x32::TABLE,
            Arch::X86 => x86::TABLE,
            Arch::Aarch64 => aarch64::TABLE,
            Arch::Arm => arm::TABLE,
        }
    }

    /// What is added to a number of the table.
    pub fn number_base(self) -> u32 {
        if self == Arch::X32 { X32_BIT } else { 0 }
    }

    /// Whether arguments have 64 bits. On the others only the low half is compared.
    pub fn has_wide_arguments(self) -> bool {
        // x32 calls arrive with whole registers.
        matches!(self, Arch::X86_64 | Arch::X32 | Arch::Aarch64)
    }

    /// Those that may run on the same machine.
    pub fn runs_beside(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 => &[Arch::X86, Arch::X32],
            Arch::Aarch64 => &[Arch::Arm],
            _ => &[],
        }
    }

    /// By `SCMP_ARCH_*` name. `Ok(None)` is one that cannot run on any machine that Holm is built for.
    pub fn from_oci(name: &str) -> Option<Option<Arch>> {
        const FOREIGN: [&str; 16] = [
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
            "PARISC",
            "PARISC64",
            "RISCV64",
            "LOONGARCH64",
            "M68K",
        ];
        let name = name.strip_prefix("SCMP_ARCH_")?;
        match name {
            "X86_64" => Some(Some(Arch::X86_64)),
            "X32" => Some(Some(Arch::X32)),
            "X86" => Some(Some(Arch::X86)),
            "AARCH64" => Some(Some(Arch::Aarch64)),
            "ARM" => Some(Some(Arch::Arm)),
            "NATIVE" => Some(Some(Arch::native())),
            other => FOREIGN.contains(&other).then_some(None),
        }
    }

    /// The `SCMP_ARCH_*` name.
    pub fn oci_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::X32 => "SCMP_ARCH_X32",
            Arch::X86 => "SCMP_ARCH_X86",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
            Arch::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The name in `arches` conditions of Docker's profiles, which is Go's name of it.
    pub fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X32 => "x32",
            Arch::X86 => "x86",
            Arch::Aarch64 => "arm64",
            Arch::Arm => "arm",
        }
    }
}
