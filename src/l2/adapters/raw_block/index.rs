//! The index in memory: which object lies in which slot, slots being written, free slots, locks.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// An object that a checkpoint may name: its bytes are in the slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub slot: u64,
    pub object_bytes: u64,
    /// The tensor fields of the checkpoint's entry, as JSON without its braces; none for objects of this process, which are
    /// plain bytes.
    pub described: Option<Box<str>>,
    pub locks: u64,
}

/// The answer to a store that needs a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    Slot(u64),
    AlreadyThere,
    /// Another task is writing this key.
    BeingWritten,
    Full,
}

#[derive(Debug, Default)]
pub struct Index {
    /// By form R of the key.
    entries: HashMap<String, Entry>,
    writing: HashSet<String>,
    /// The last one is taken first.
    free: Vec<u64>,
    /// Free slots between recovered entries; taken from the end.
    holes: Vec<Range<u64>>,
    next_slot: u64,
    max_slots: u64,
}

impl Index {
    pub fn new(max_slots: u64) -> Index {
        Index {
            max_slots,
            ..Index::default()
        }
    }

    /// The index of a checkpoint. Unused slots below `next_slot` become free.
    pub fn recovered(max_slots: u64, next_slot: u64, entries: HashMap<String, Entry>) -> Index {
        let mut used: Vec<u64> = entries.values().map(|entry| entry.slot).collect();
        used.sort_unstable();
        let mut begin = 0;
        let mut holes = Vec::new();
        for end in used.into_iter().chain([next_slot]) {
            if begin < end {
                holes.push(begin..end);
            }
            begin = end + 1;
        }
        Index {
            entries,
            holes,
            next_slot,
            max_slots,
            ..Index::default()
        }
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// In the order of their slots.
    pub fn entries(&self) -> Vec<(&String, &Entry)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.slot);
        entries
    }

    pub fn next_slot(&self) -> u64 {
        self.next_slot
    }

    /// Reserves a slot for a key that will be written.
    pub fn reserve(&mut self, name: &str) -> Reservation {
        if self.entries.contains_key(name) {
            return Reservation::AlreadyThere;
        }
        if self.writing.contains(name) {
            return Reservation::BeingWritten;
        }
        let slot = match self.free.pop().or_else(|| self.take_hole()) {
            Some(slot) => slot,
            None if self.next_slot < self.max_slots => {
                self.next_slot += 1;
                self.next_slot - 1
            }
            None => return Reservation::Full,
        };
        self.writing.insert(name.to_owned());
        Reservation::Slot(slot)
    }

    fn take_hole(&mut self) -> Option<u64> {
        let last = self.holes.last_mut()?;
        let slot = last.next_back();
        if last.is_empty() {
            self.holes.pop();
        }
        slot
    }

    /// The key was written to its slot.
    pub fn commit(&mut self, name: String, slot: u64, object_bytes: u64) {
        self.writing.remove(&name);
        let entry = Entry {
            slot,
            object_bytes,
            described: None,
            locks: 0,
        };
        self.entries.insert(name, entry);
    }

    /// The key could not be written.
    pub fn give_up(&mut self, name: &str, slot: u64) {
        self.writing.remove(name);
        self.free.push(slot);
    }

    /// Removes an entry whose slot holds something else.
    pub fn forget(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.free.push(entry.slot);
        }
    }

    /// Takes a lock, as every hit of a lookup does.
    pub fn lock(&mut self, name: &str) -> bool {
        let entry = self.entries.get_mut(name);
        entry.map(|entry| entry.locks += 1).is_some()
    }

    pub fn unlock(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.locks = entry.locks.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_in_lmcaches_order() {
        let entry = |slot| Entry {
            slot,
            object_bytes: 1,
            described: None,
            locks: 0,
        };
        let entries = HashMap::from([("b".to_owned(), entry(1)), ("e".to_owned(), entry(4))]);
        let mut index = Index::recovered(7, 5, entries);
        // The highest recovered hole first, then the most recently freed one, then fresh slots.
        assert_eq!(index.reserve("x"), Reservation::Slot(3));
        assert_eq!(index.reserve("x"), Reservation::BeingWritten);
        index.give_up("x", 3);
        index.forget("e");
        let taken: Vec<_> = ["p", "q", "r", "s", "t", "u", "v"]
            .map(|name| index.reserve(name))
            .to_vec();
        let slots = [4, 3, 2, 0, 5, 6].map(Reservation::Slot);
        assert_eq!(taken[..6], slots);
        assert_eq!(taken[6], Reservation::Full);
        assert_eq!(index.reserve("b"), Reservation::AlreadyThere);
    }

    /// A claim of slots costs nothing.
    #[test]
    fn slots_that_a_checkpoint_claims_are_not_counted_out() {
        let most = u64::MAX - 1;
        let mut index = Index::recovered(most, most, HashMap::new());
        assert_eq!(index.holes.len(), 1);
        assert_eq!(index.reserve("a"), Reservation::Slot(most - 1));
        assert_eq!(
            Index::recovered(1, 0, HashMap::new()).reserve("a"),
            Reservation::Slot(0)
        );
    }

    #[test]
    fn only_committed_keys_are_found_and_locks_are_counted() {
        let mut index = Index::new(2);
        assert_eq!(index.reserve("a"), Reservation::Slot(0));
        assert!(!index.lock("a") && index.entries().is_empty());
        index.commit("a".to_owned(), 0, 10);
        assert!(index.lock("a") && index.lock("a"));
        index.unlock("a");
        assert_eq!(index.get("a").unwrap().locks, 1);
        index.unlock("a");
        index.unlock("a");
        assert_eq!((index.get("a").unwrap().locks, index.next_slot()), (0, 1));
    }
}
