//! A set of keys with a capacity and least-recently-used eviction.

use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
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

    /// Marks `key` as used now, and adds it if it is new.
    pub fn touch(&mut self, key: u64) {
        if self.capacity == 0 {
            return;
        }
        self.clock += 1;
        if let Some(before) = self.used.insert(key, self.clock) {
            self.order.remove(&before);
        } else if self.used.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        self.order.insert(self.clock, key);
    }
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

    proptest! {
        /// Against a list that is searched and shifted.
        #[test]
        fn it_holds_the_keys_used_last(capacity in 1_usize..6, keys in prop::collection::vec(0_u64..9, 0..60)) {
            let mut lru = Lru::new(capacity);
            let mut list: Vec<u64> = Vec::new();
            for key in keys {
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
