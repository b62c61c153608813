//! Groups at their memory limit whose processes do little but read their own programs again. Owns the judgement; how often to look,
//! and what to do about it, is the caller's.
//!
//! Where there is no swap, a group whose memory is nearly all anonymous keeps a few pages of its programs. To take one of those away
//! counts as progress with the kernel, so it does not find the group out of memory, and the page is read again at once. On a fast
//! disk that passes; behind an emulated one it was seen to go on for minutes, 2 000 pages a second, of the 170 that were left.

use super::error::CgroupError;
use super::stat::{number, text};
use super::{Cgroup, file};

/// Part of the limit that must be memory which cannot be taken away.
const FIXED_PERCENT: u64 = 95;
/// How often all pages of files were read again between two looks.
const ROUNDS: u64 = 2;
/// Looks in a row that find it so. With a second between two the kernel has had its time.
const LOOKS: u32 = 5;

/// What a group's memory was like at one moment. Only v2 counts what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryLook {
    limit_bytes: u64,
    /// What cannot be taken away while nothing can be swapped.
    fixed_bytes: u64,
    file_pages: u64,
    /// Pages of files read again soon after they were taken away, since the group was made.
    refaults: u64,
    /// How often the limit was hit, since the group was made.
    hits: u64,
}

/// What looks in a row say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The limit was not hit since the last look: there is no need for the next one.
    None,
    /// It was hit: look again in a second.
    Perhaps,
    /// The group gets nowhere with the memory it has.
    Memory,
}

/// Looks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Thrash {
    last: Option<MemoryLook>,
    in_a_row: u32,
}

impl Thrash {
    /// Judges by one more look, which should be a second after the last.
    pub fn judge(&mut self, now: MemoryLook) -> Want {
        let Some(last) = self.last.replace(now) else { return Want::Perhaps };
        if now.hits <= last.hits {
            *self = Self::default();
            return Want::None;
        }
        let full = now.fixed_bytes >= now.limit_bytes / 100 * FIXED_PERCENT;
        let rereads = now.refaults.saturating_sub(last.refaults) >= now.file_pages.max(1) * ROUNDS;
        self.in_a_row = if full && rereads { self.in_a_row + 1 } else { 0 };
        if self.in_a_row < LOOKS {
            return Want::Perhaps;
        }
        self.in_a_row = 0;
        Want::Memory
    }
}

/// *Source*: cgroup-v2.rst, `memory.stat` and `memory.events`. None without a limit. Anonymous memory counts as fixed, which holds for
/// kernels without swap, as those of virtual machines are.
pub(super) fn look(group: &Cgroup) -> Result<Option<MemoryLook>, CgroupError> {
    let Some(dir) = group.v2_dir() else { return Ok(None) };
    let Some(limit_bytes) = number(&dir, "memory.max")? else { return Ok(None) };
    let stat = text(&dir, "memory.stat")?;
    let get = |key| file::keyed(&stat, key).unwrap_or(0);
    let used = number(&dir, "memory.current")?.unwrap_or(0);
    let file_bytes = get("file").saturating_sub(get("shmem"));
    let page = rustix::param::page_size() as u64;
    Ok(Some(MemoryLook {
        limit_bytes,
        fixed_bytes: used.saturating_sub(file_bytes).saturating_sub(get("slab_reclaimable")),
        file_pages: file_bytes / page,
        // Before Linux 5.9 one number for all kinds.
        refaults: file::keyed(&stat, "workingset_refault_file").unwrap_or_else(|| get("workingset_refault")),
        hits: file::keyed(&text(&dir, "memory.events")?, "max").unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A group of 48 MiB after `n` seconds of hitting its limit.
    fn at(n: u64, fixed_mib: u64, refaults_a_second: u64) -> MemoryLook {
        let (limit_bytes, fixed_bytes) = (48 * MIB, fixed_mib * MIB);
        MemoryLook { limit_bytes, fixed_bytes, file_pages: 170, refaults: n * refaults_a_second, hits: n * 1000 }
    }

    fn verdicts(looks: impl Iterator<Item = MemoryLook>) -> Vec<Want> {
        let mut thrash = Thrash::default();
        looks.map(|look| thrash.judge(look)).collect()
    }

    #[test]
    fn group_that_only_reads_its_programs_again_wants_memory_after_five_seconds() {
        let found = verdicts((0..12).map(|n| at(n, 47, 1900)));
        let when: Vec<_> = (0..12).filter(|n| found[*n] == Want::Memory).collect();
        assert_eq!(when, [5, 10]);
    }

    #[test]
    fn group_that_reads_much_or_holds_little_or_hits_no_limit_is_left_alone() {
        let never = |found: Vec<Want>| found.iter().all(|want| *want != Want::Memory);
        // Pages of files may come and go where there is room for them.
        assert!(never(verdicts((0..20).map(|n| at(n, 30, 50_000)))));
        // Full, and going on.
        assert!(never(verdicts((0..20).map(|n| at(n, 47, 100)))));
        // One good second in between.
        assert!(never(verdicts((0..20).map(|n| at(n, if n % 5 == 0 { 40 } else { 47 }, 1900)))));
        let same = verdicts((0..3).map(|_| at(7, 47, 1900)));
        assert_eq!(same, [Want::Perhaps, Want::None, Want::Perhaps]);
    }
}
