//! A virtual machine of one processor and a little memory, in 64-bit mode: enough to run a few instructions by KVM.
//!
//! Not for guests: no devices, no interrupts. Allocates nothing, so a forked process may use it.
//!
//! *Source*: kernel documentation, virt/kvm/api.rst; asm/kvm.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

const GET_API_VERSION: libc::c_ulong = 0xae00;
const CREATE_VM: libc::c_ulong = 0xae01;
const GET_VCPU_MMAP_SIZE: libc::c_ulong = 0xae04;
const GET_SUPPORTED_CPUID: libc::c_ulong = 0xc008_ae05;
const CREATE_VCPU: libc::c_ulong = 0xae41;
const SET_USER_MEMORY_REGION: libc::c_ulong = 0x4020_ae46;
const SET_TSS_ADDR: libc::c_ulong = 0xae47;
const RUN: libc::c_ulong = 0xae80;
const SET_REGS: libc::c_ulong = 0x4090_ae82;
const GET_SREGS: libc::c_ulong = 0x8138_ae83;
const SET_SREGS: libc::c_ulong = 0x4138_ae84;
const SET_CPUID2: libc::c_ulong = 0x4008_ae90;

/// The one version since 2007.
const API_VERSION: libc::c_int = 12;
/// Three pages that older Intel processors need, where no memory is.
const TSS_ADDRESS: libc::c_ulong = 0xfffb_d000;
/// Page tables that map the first 2 MiB to themselves; the caller's code comes behind them.
const TABLES: [(usize, u64); 3] = [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)];
const TABLE_ROOT: u64 = 0x1000;
/// Where code may be loaded.
pub const CODE: u64 = 0x4000;
const MEMORY_BYTES: usize = 0x8000;
/// More than any processor has.
const MAX_CPUID_ENTRIES: u32 = 256;

const CR0_PE_MP_ET_NE_PG: u64 = 0x8000_0033;
const CR4_PAE_OSFXSR_OSXMMEXCPT: u64 = 0x620;
const EFER_LME_LMA: u64 = 0x500;

/// Why the processor stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By `hlt`.
    Halt,
    /// KVM does not know how to go on; its sub-error, 1 for an instruction that it cannot emulate.
    InternalError(u32),
    /// Another of the kernel's reasons, `KVM_EXIT_*`.
    Other(u32),
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sregs {
    cs: Segment,
    data: [Segment; 5],
    tr: Segment,
    ldt: Segment,
    tables: [[u64; 2]; 2],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// In the kernel's order: rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip, rflags.
type Regs = [u64; 18];
const RCX: usize = 2;
const RIP: usize = 16;
const RFLAGS: usize = 17;

#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest_address: u64,
    bytes: u64,
    host_address: u64,
}

#[repr(C)]
struct Cpuid {
    count: u32,
    padding: u32,
    entries: [[u32; 10]; MAX_CPUID_ENTRIES as usize],
}

/// The machine.
pub struct Processor {
    vcpu: OwnedFd,
    run: Mapping,
    memory: Mapping,
    // Held: the processor needs its machine.
    _machine: OwnedFd,
}

impl Processor {
    /// Makes the machine. `kvm` is `/dev/kvm`. *Errors*: the kernel's; `Unsupported` for a device of another interface.
    pub fn new(kvm: BorrowedFd<'_>) -> io::Result<Self> {
        if plain(kvm.as_raw_fd(), GET_API_VERSION, 0)? != API_VERSION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let run_bytes = usize::try_from(plain(kvm.as_raw_fd(), GET_VCPU_MMAP_SIZE, 0)?).unwrap_or(0);
        let machine = owned(plain(kvm.as_raw_fd(), CREATE_VM, 0)?);
        plain(machine.as_raw_fd(), SET_TSS_ADDR, TSS_ADDRESS)?;
        let memory = Mapping::new(MEMORY_BYTES, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let mut region = Region {
            slot: 0,
            flags: 0,
            guest_address: 0,
            bytes: MEMORY_BYTES as u64,
            host_address: memory.start.as_ptr() as u64,
        };
        // SAFETY: the region is the one this call reads; its memory stays mapped as long as the machine, being owned by
        // the same value, and is only touched by volatile-free copies while the processor stands still.
        unsafe { with_struct(machine.as_raw_fd(), SET_USER_MEMORY_REGION, &mut region) }?;
        let vcpu = owned(plain(machine.as_raw_fd(), CREATE_VCPU, 0)?);
        let run = Mapping::new(run_bytes, libc::MAP_SHARED, vcpu.as_raw_fd())?;
        let mut cpuid = Cpuid { count: MAX_CPUID_ENTRIES, padding: 0, entries: [[0; 10]; MAX_CPUID_ENTRIES as usize] };
        // SAFETY: `count` says how many entries there is room for.
        unsafe { with_struct(kvm.as_raw_fd(), GET_SUPPORTED_CPUID, &mut cpuid) }?;
        // SAFETY: `count` is now the number of entries that were written.
        unsafe { with_struct(vcpu.as_raw_fd(), SET_CPUID2, &mut cpuid) }?;
        let mut made = Self { vcpu, run, memory, _machine: machine };
        for (at, entry) in TABLES {
            made.memory.write(at, &entry.to_le_bytes())?;
        }
        made.enter_64_bit_mode()?;
        Ok(made)
    }

    fn enter_64_bit_mode(&mut self) -> io::Result<()> {
        let mut sregs = Sregs::default();
        // SAFETY: `Sregs` has the kernel's layout and every pattern of bits is valid for it.
        unsafe { with_struct(self.vcpu.as_raw_fd(), GET_SREGS, &mut sregs) }?;
        let flat = Segment { limit: u32::MAX, present: 1, s: 1, g: 1, ..Segment::default() };
        sregs.cs = Segment { selector: 8, kind: 0xb, l: 1, ..flat };
        sregs.data = [Segment { selector: 16, kind: 3, db: 1, ..flat }; 5];
        sregs.cr0 = CR0_PE_MP_ET_NE_PG;
        sregs.cr3 = TABLE_ROOT;
        sregs.cr4 = CR4_PAE_OSFXSR_OSXMMEXCPT;
        sregs.efer = EFER_LME_LMA;
        // SAFETY: as above.
        unsafe { with_struct(self.vcpu.as_raw_fd(), SET_SREGS, &mut sregs) }
    }

    /// Puts code at [`CODE`]. *Errors*: `InvalidInput` where it does not fit.
    pub fn load(&mut self, code: &[u8]) -> io::Result<()> {
        self.memory.write(CODE as usize, code)
    }

    /// Runs the loaded code in ring 0 from its start, with `count` in the register `rcx`, until it stops.
    ///
    /// May never return where the host's KVM is broken: for a process that somebody else watches.
    pub fn run(&mut self, count: u64) -> io::Result<Exit> {
        const REASON: usize = 8;
        const SUB_ERROR: usize = 32;
        let mut regs: Regs = [0; 18];
        (regs[RCX], regs[RIP], regs[RFLAGS]) = (count, CODE, 2);
        // SAFETY: `Regs` has the kernel's layout and every pattern of bits is valid for it.
        unsafe { with_struct(self.vcpu.as_raw_fd(), SET_REGS, &mut regs) }?;
        plain(self.vcpu.as_raw_fd(), RUN, 0)?;
        match self.run.read_u32(REASON)? {
            5 => Ok(Exit::Halt),
            17 => Ok(Exit::InternalError(self.run.read_u32(SUB_ERROR)?)),
            other => Ok(Exit::Other(other)),
        }
    }
}

/// Memory that was mapped for this value alone.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize, flags: libc::c_int, fd: RawFd) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    fn write(&mut self, at: usize, content: &[u8]) -> io::Result<()> {
        if at.checked_add(content.len()).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the range was just found inside the mapping, which no reference points into; the content is elsewhere,
        // since the mapping is handed to nobody.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), self.start.as_ptr().add(at), content.len()) };
        Ok(())
    }

    fn read_u32(&self, at: usize) -> io::Result<u32> {
        if at.checked_add(4).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: inside the mapping, as just found; unaligned is allowed; the kernel writes it only during a run.
        Ok(unsafe { self.start.as_ptr().add(at).cast::<u32>().read_unaligned() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no reference points into it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A call without a structure.
fn plain(fd: RawFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: the requests that come here take a number or nothing.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A call with a structure.
///
/// # Safety
///
/// `argument` has the layout and size that the request reads or writes, and what it says of memory is true.
unsafe fn with_struct<T>(fd: RawFd, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: the caller's duty; the structure lives over the call.
    let result = unsafe { libc::ioctl(fd, request, std::ptr::from_mut(argument)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

const _: () = assert!(size_of::<Segment>() == 24 && size_of::<Sregs>() == 312 && size_of::<Regs>() == 144);
