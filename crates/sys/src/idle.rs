//! Waiting for events in as little memory as a process can: for a supervisor that sleeps for days.
//!
//! A page of the program that was touched counts for this process for as long as it stays mapped, and the kernel maps
//! sixteen at a time. So the program's own pages are dropped as the last thing before sleeping, from the very function
//! that sleeps: what is left is the one window around it, the stack and what the heap holds. Whatever runs next comes
//! back from the page cache.

use std::io;
use std::sync::OnceLock;

use rustix::event::PollFd;

use crate::arch::syscall5;

/// Program segments beyond these are left alone; a static program has two that count.
const MAX_RANGES: usize = 4;

type Ranges = [(usize, usize); MAX_RANGES];

/// Waits as `poll` does, with the program's clean pages dropped. `None` waits for ever. Returns the number of descriptors
/// that are ready.
pub fn poll_in_little_memory(fds: &mut [PollFd<'_>], timeout: Option<std::time::Duration>) -> io::Result<usize> {
    static RANGES: OnceLock<Ranges> = OnceLock::new();
    let ranges = *RANGES.get_or_init(clean_ranges);
    let time = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the ranges are whole segments of the running program that were never writable, so their pages are clean and
    // are read again when touched; PollFd has the layout of the kernel's pollfd (rustix documents it); the descriptors
    // and the time live over the call.
    let result = unsafe { drop_and_poll(&ranges, fds.as_mut_ptr().cast(), fds.len(), time) };
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL)))
}

/// # Safety
///
/// `ranges` name clean, file-backed pages; `fds` and `time` are valid for the call.
#[inline(never)]
unsafe fn drop_and_poll(ranges: &Ranges, fds: *mut libc::pollfd, count: usize, time: *const libc::timespec) -> isize {
    const DONTNEED: usize = libc::MADV_DONTNEED as usize;
    for (start, length) in ranges {
        if *length != 0 {
            // SAFETY: the caller's duty. A refusal leaves the pages where they are, which costs memory and nothing else.
            let _ = unsafe { syscall5(libc::SYS_madvise as usize, *start, *length, DONTNEED, 0, 0) };
        }
    }
    // The kernel counts the remaining time down in place, so it gets a copy.
    // SAFETY: a non-null time is valid, as the caller promises.
    let mut left = unsafe { time.as_ref() }.copied();
    let left = left.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the caller's duty; a null signal mask leaves the mask as it is.
    unsafe { syscall5(libc::SYS_ppoll as usize, fds as usize, count, left as usize, 0, 0) }
}

/// The loaded segments of this program that were never writable, from its own program headers.
fn clean_ranges() -> Ranges {
    const PAGE: usize = 4096;
    let mut ranges = [(0, 0); MAX_RANGES];
    // SAFETY: reads two values that the kernel put on the first stack.
    let (headers, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    let headers = headers as *const libc::Elf64_Phdr;
    if headers.is_null() {
        return ranges;
    }
    // SAFETY: the kernel tells address and number of the program headers, which are loaded and never change.
    let headers = unsafe { std::slice::from_raw_parts(headers, usize::try_from(count).unwrap_or(0)) };
    let own = std::ptr::from_ref(headers).cast::<u8>() as usize;
    // The offset between linked and loaded addresses; 0 for a program with fixed addresses.
    let base = headers.iter().find(|h| h.p_type == libc::PT_PHDR).map_or(0, |h| own.wrapping_sub(h.p_vaddr as usize));
    let clean = headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0);
    for (range, header) in ranges.iter_mut().zip(clean) {
        let start = base.wrapping_add(header.p_vaddr as usize);
        let (from, to) = (start & !(PAGE - 1), (start + header.p_memsz as usize) & !(PAGE - 1));
        *range = (from, to.saturating_sub(from));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;

    #[test]
    fn waiting_reports_what_is_ready_and_leaves_the_program_whole() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let brief = Some(std::time::Duration::from_millis(1));
        assert_eq!(poll_in_little_memory(&mut [PollFd::new(&read, PollFlags::IN)], brief).unwrap(), 0);
        rustix::io::write(&write, b"x").unwrap();
        let mut fds = [PollFd::new(&read, PollFlags::IN)];
        assert_eq!(poll_in_little_memory(&mut fds, None).unwrap(), 1);
        assert!(fds[0].revents().contains(PollFlags::IN));
    }

    #[test]
    fn clean_segments_are_found_and_hold_this_function() {
        let here = clean_ranges as *const () as usize;
        assert!(clean_ranges().iter().any(|(start, length)| (*start..start + length).contains(&here)));
    }
}
