//! A set of keys with a capacity and least-recently-used eviction.

use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug)]
pub struct Lru {
    capacity: usize,
    /// The last use of each key, and the keys in that order.
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Lru {
    pub fn new(capacity: usize) -> Lru {
        Lru {
            capacity,
            used: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
        }
    }

    pub fn contains(&self, key: u64) -> bool {
        self.used.contains_key(&key)
    }

    pub fn len(&self) -> usize {
        self.used.len()
    }

    pub fn clear(&mut self) {
        self.used.clear();
        self.order.clear();
    }

    /// Marks `key` as used now, and adds it if it is new. Absent if nothing fits.
    pub fn touch(&mut self, key: u64) -> Option<Touched> {
        if self.capacity == 0 {
            return None;
        }
        self.clock += 1;
        let before = self.used.insert(key, self.clock);
        let mut evicted = None;
        if let Some(before) = before {
            self.order.remove(&before);
        } else if self.used.len() > self.capacity
            && let Some((used, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
            evicted = Some((used, oldest));
        }
        self.order.insert(self.clock, key);
        Some(Touched { key, before, evicted })
    }

    /// Takes back what was touched last.
    pub fn untouch(&mut self, touched: &Touched) {
        let Touched { key, before, evicted } = *touched;
        self.order.remove(&self.clock);
        self.clock -= 1;
        self.used.remove(&key);
        let restored = before.map(|used| (used, key)).into_iter().chain(evicted);
        for (used, key) in restored {
            self.used.insert(key, used);
            self.order.insert(used, key);
        }
    }
}

/// What a touch changed: when its key was used before, and what it evicted.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    key: u64,
    before: Option<u64>,
    evicted: Option<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_fits_into_no_room() {
        let mut lru = Lru::new(0);
        lru.touch(1);
        assert!(!lru.contains(1));
    }

    #[test]
    fn a_cleared_set_has_its_whole_room_again() {
        let mut lru = Lru::new(2);
        for key in 1..=3 {
            lru.touch(key);
        }
        assert_eq!(lru.len(), 2);
        lru.clear();
        assert_eq!((lru.len(), lru.contains(3)), (0, false));
        for key in 4..=5 {
            lru.touch(key);
        }
        assert!(lru.contains(4) && lru.contains(5));
    }

    proptest! {
        /// Against a list that is searched and shifted.
        #[test]
        fn it_holds_the_keys_used_last(capacity in 1_usize..6, keys in prop::collection::vec(0_u64..9, 0..60)) {
            let mut lru = Lru::new(capacity);
            let mut list: Vec<u64> = Vec::new();
            for key in keys {
                let touched = lru.touch(key).unwrap();
                // Taking it back and doing it again changes nothing.
                lru.untouch(&touched);
                for other in 0..9 {
                    prop_assert_eq!(lru.contains(other), list.contains(&other));
                }
                lru.touch(key);
                list.retain(|other| *other != key);
                list.push(key);
                if list.len() > capacity {
                    list.remove(0);
                }
                for other in 0..9 {
                    prop_assert_eq!(lru.contains(other), list.contains(&other));
                }
            }
        }
    }
}
