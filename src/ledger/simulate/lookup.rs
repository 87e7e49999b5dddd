//! What a cache server counts of one prompt, or of many.

use std::ops::AddAssign;

/// What one prompt was for a cache server, in chunks. Such a server is asked for all whole chunks, also for those that HBM has;
/// whether they are then loaded is another question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    pub asked: u64,
    /// The prefix that DRAM alone could serve, and what the disk added behind it.
    pub found_l1: u64,
    pub found_l2: u64,
    /// Moved to the engine, from the chunk on in which the tokens of HBM end. None of those found behind another prefix.
    pub loaded: u64,
    /// Of those found, the ones that had to be read from disk.
    pub read_l2: u64,
    /// Written to DRAM: those that were computed, and `read_l2`.
    pub written_l1: u64,
    pub evicted_l1: u64,
    pub written_l2: u64,
    pub evicted_l2: u64,
}

impl AddAssign for Lookup {
    fn add_assign(&mut self, other: Lookup) {
        self.asked += other.asked;
        self.found_l1 += other.found_l1;
        self.found_l2 += other.found_l2;
        self.loaded += other.loaded;
        self.read_l2 += other.read_l2;
        self.written_l1 += other.written_l1;
        self.evicted_l1 += other.evicted_l1;
        self.written_l2 += other.written_l2;
        self.evicted_l2 += other.evicted_l2;
    }
}
