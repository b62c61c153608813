//! Answers of servers, kept for as long as they hold and as there is room.
//!
//! Two generations: what is used moves to the young one; when that is full, the old one is dropped whole and the young one
//! grows old. That is close to dropping the least recently used, without a list to keep.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::reply::Reply;

/// Most answers of one generation.
pub const ENTRIES_MAX: usize = 1024;
/// Most bytes of one generation.
pub const BYTES_MAX: usize = 256 << 10;
/// Most bytes of one answer that is kept.
pub const ENTRY_BYTES_MAX: usize = 16 << 10;
/// What an entry costs beside its bytes, about.
const OVERHEAD: usize = 96;

/// Answers by question.
#[derive(Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    entries: HashMap<Box<[u8]>, Kept>,
    bytes: usize,
}

#[derive(Clone)]
struct Kept {
    reply: Rc<Reply>,
    born: Instant,
}

impl Kept {
    fn size_bytes(&self, key: &[u8]) -> usize {
        OVERHEAD + key.len() + self.reply.size_bytes()
    }

    /// Its age in seconds, as long as it holds.
    fn age(&self, now: Instant) -> Option<u32> {
        let age = u32::try_from(now.saturating_duration_since(self.born).as_secs()).ok()?;
        (age < self.reply.lifetime).then_some(age)
    }
}

impl Generation {
    fn remove(&mut self, key: &[u8]) -> Option<(Box<[u8]>, Kept)> {
        let (key, kept) = self.entries.remove_entry(key)?;
        self.bytes -= kept.size_bytes(&key);
        Some((key, kept))
    }
}

impl Cache {
    /// The answer to a question and its age in seconds, where there is one that holds.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<(Rc<Reply>, u32)> {
        if let Some(kept) = self.young.entries.get(key) {
            if let Some(age) = kept.age(now) {
                return Some((kept.reply.clone(), age));
            }
            self.young.remove(key);
            return None;
        }
        let (key, kept) = self.old.remove(key)?;
        let age = kept.age(now)?;
        let reply = kept.reply.clone();
        self.insert(key, kept);
        Some((reply, age))
    }

    /// Keeps an answer that came now, where it may be kept.
    pub fn put(&mut self, key: &[u8], reply: &Rc<Reply>, now: Instant) {
        self.young.remove(key);
        self.old.remove(key);
        let kept = Kept { reply: reply.clone(), born: now };
        if reply.lifetime > 0 && kept.size_bytes(key) <= ENTRY_BYTES_MAX {
            self.insert(key.into(), kept);
        }
    }

    fn insert(&mut self, key: Box<[u8]>, kept: Kept) {
        let size = kept.size_bytes(&key);
        if self.young.entries.len() >= ENTRIES_MAX || self.young.bytes + size > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += size;
        self.young.entries.insert(key, kept);
    }

    /// How many answers there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.young.entries.len() + self.old.entries.len(), self.young.bytes + self.old.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply() -> Rc<Reply> {
        Rc::new(Reply::failure(b"\x01a\x00\x00\x01\x00\x01", 2))
    }

    #[test]
    fn answers_hold_for_their_time() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(b"k", &reply(), now);
        let age = |cache: &mut Cache, seconds| cache.get(b"k", now + Duration::from_secs(seconds)).map(|(_, age)| age);
        assert_eq!([0, 1, 2].map(|seconds| age(&mut cache, seconds)), [Some(0), Some(1), None]);
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(b"used", &reply(), now);
        for at in 0..10 * ENTRIES_MAX {
            cache.put(&at.to_be_bytes(), &reply(), now);
            assert!(cache.get(b"used", now).is_some());
            let (entries, bytes) = cache.size();
            assert!(entries <= 2 * ENTRIES_MAX && bytes <= 2 * BYTES_MAX, "{entries}, {bytes}");
        }
        assert!(cache.get(&0_usize.to_be_bytes(), now).is_none());
    }

    #[test]
    fn what_must_not_be_kept_is_not() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let mut never = Reply::failure(b"", 0);
        never.lifetime = 0;
        let never = Rc::new(never);
        cache.put(b"k", &never, now);
        let large = Rc::new(Reply::failure(&[0; ENTRY_BYTES_MAX], 0));
        cache.put(b"l", &large, now);
        assert_eq!(cache.size(), (0, 0));
    }
}
