//! Places with numbers that are not mistaken for one another after reuse.

/// A number of something in a [`Slab`]: its place and how often that was used.
pub type Key = u64;

/// Values by number.
pub struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Adds a value made from its number.
    pub fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let (generation, value) = &mut self.places[at as usize];
        // 24 bits are enough to outlast what is still on its way, and leave room for the kind in a poll token.
        *generation = generation.wrapping_add(1) & 0x00ff_ffff;
        let key = u64::from(*generation) << 32 | u64::from(at);
        *value = Some(make(key));
        key
    }

    fn place(&self, key: Key) -> Option<usize> {
        let at = usize::try_from(key & u64::from(u32::MAX)).ok()?;
        self.places.get(at).filter(|(generation, _)| u64::from(*generation) == key >> 32).map(|_| at)
    }

    /// The value of a number.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let at = self.place(key)?;
        self.places[at].1.as_mut()
    }

    /// Takes the value of a number out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let at = self.place(key)?;
        let value = self.places[at].1.take()?;
        self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        Some(value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(at, (generation, value))| {
            let at = u64::try_from(at).ok()?;
            Some((u64::from(*generation) << 32 | at, value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_gone_find_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(|_| 'b');
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(), [(second, 'b')]);
    }
}
