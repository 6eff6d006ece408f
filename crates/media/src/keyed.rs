//! A few things by key, where mostly the one is wanted that was wanted last: what is kept for each
//! stream of a call, packet by packet.

/// Things in the order they were added.
#[derive(Clone, Debug)]
pub struct Keyed<K, T> {
    /// Apart from what they stand for, so that looking through all of them is quick.
    keys: Vec<K>,
    things: Vec<T>,
    /// Which was found last.
    last: usize,
}

impl<K, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Self { keys: Vec::new(), things: Vec::new(), last: 0 }
    }
}

impl<K: PartialEq, T> Keyed<K, T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Finds where the thing of a key is.
    pub fn find(&mut self, key: &K) -> Option<usize> {
        if self.keys.get(self.last) != Some(key) {
            self.last = self.keys.iter().position(|known| known == key)?;
        }
        Some(self.last)
    }

    /// The thing of a key.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        self.find(key).map(|at| &mut self.things[at])
    }

    /// Finds where the thing of a key is, which is made if there are fewer than `most`; `None` if
    /// there is no room.
    pub fn find_or_add(&mut self, key: K, most: usize, make: impl FnOnce() -> T) -> Option<usize> {
        if self.find(&key).is_none() {
            if self.things.len() >= most {
                return None;
            }
            self.last = self.things.len();
            self.keys.push(key);
            self.things.push(make());
        }
        Some(self.last)
    }

    /// The thing of a key, as [`Keyed::find_or_add`] finds it.
    pub fn get_or_add(&mut self, key: K, most: usize, make: impl FnOnce() -> T) -> Option<&mut T> {
        self.find_or_add(key, most, make).map(|at| &mut self.things[at])
    }

    /// The thing that was found `at`.
    ///
    /// # Panics
    /// If none was.
    pub fn at(&mut self, at: usize) -> &mut T {
        &mut self.things[at]
    }

    /// Keys and things, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.keys.iter().zip(&self.things)
    }

    /// Things, in the order they were added.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.things.iter()
    }

    /// Things to be changed, in the order they were added.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.things.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_and_no_more_than_there_may_be() {
        let mut keyed = Keyed::default();
        for (key, want) in [(7, Some(1)), (9, Some(1)), (7, Some(2)), (7, Some(3)), (8, None)] {
            let count = keyed.get_or_add(key, 2, || 0);
            let count = count.map(|count| {
                *count += 1;
                *count
            });
            assert_eq!(count, want, "{key}");
        }
        assert_eq!((keyed.len(), keyed.find(&9), keyed.find(&8)), (2, Some(1), None));
        assert_eq!(keyed.get_mut(&7), Some(&mut 3));
        assert!(keyed.iter().eq([(&7, &3), (&9, &1)]));
    }
}
