//! What is run to judge KVM on x86-64. Runs in a forked process: nothing here allocates.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use holm_sys::kvm::{Exit, Processor};

use super::watch::Finding;

/// `xorps xmm0, xmm0; hlt`: what kernels do, and what KVM's emulator does not know.
const VECTOR: [u8; 4] = [0x0f, 0x57, 0xc0, 0xf4];
/// `again: dec rcx; jnz again; hlt`.
const LOOP: [u8; 6] = [0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4];
const SHORT: u64 = 1_000;
const LONG: u64 = 11_000;
/// Above it a round of the loop is emulated: hardware takes less than 1 ns, emulated hardware some 10 ns.
const LIMIT_NS: u64 = 50;
/// A process may be held up for longer than a whole run takes; not every time.
const TRIES: usize = 3;

/// Judges the device.
pub(super) fn examine(kvm: BorrowedFd<'_>) -> Finding {
    run(kvm).unwrap_or_else(|error| Finding::Refused(error.raw_os_error().unwrap_or(0)))
}

fn run(kvm: BorrowedFd<'_>) -> io::Result<Finding> {
    let mut processor = Processor::new(kvm)?;
    processor.load(&VECTOR)?;
    match processor.run(0)? {
        Exit::Halt => {}
        Exit::InternalError(sub_error) => return Ok(Finding::InternalError(sub_error)),
        Exit::Other(reason) => return Ok(Finding::Stopped(reason)),
    }
    processor.load(&LOOP)?;
    // The first entry costs what no later one does.
    processor.run(SHORT)?;
    let mut least = u64::MAX;
    for _ in 0..TRIES {
        let (short, long) = (timed(&mut processor, SHORT)?, timed(&mut processor, LONG)?);
        least = least.min(long.saturating_sub(short) / (LONG - SHORT));
        if least <= LIMIT_NS {
            return Ok(Finding::Works);
        }
    }
    Ok(Finding::Slow(u32::try_from(least).unwrap_or(u32::MAX)))
}

fn timed(processor: &mut Processor, count: u64) -> io::Result<u64> {
    let start = Instant::now();
    processor.run(count)?;
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
