//! Lists of block ids: the contiguous spans that they consist of, and which blocks a client takes for its next request.

use std::ops::Range;

use super::flags::BlockAllocation;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: usize,
    pub count: usize,
}

/// The longest possible spans of the ids, in their order.
pub fn spans(ids: &[u64]) -> impl Iterator<Item = Span> {
    ids.chunk_by(|id, next| *next == id + 1).map(|span| Span {
        first: span[0] as usize,
        count: span.len(),
    })
}

/// Chooses the blocks of a client's requests. A request owns its blocks until it is released, after END_SESSION and the digests
/// of its blocks. A client has one request at a time, so all its blocks are free when the next one begins.
pub struct Allocator {
    free: Range<u64>,
    /// Blocks of one request.
    count: usize,
    /// `None`: the lowest blocks.
    random: Option<PythonRandom>,
}

impl Allocator {
    /// `free` has at least `count` blocks.
    pub fn new(kind: BlockAllocation, free: Range<u64>, count: usize) -> Allocator {
        let random = match kind {
            BlockAllocation::Sequential => None,
            // The same for every client, as in the reference.
            BlockAllocation::Random => Some(PythonRandom::new(&BigInt::from(0))),
        };
        Allocator { free, count, random }
    }

    /// The blocks of the next request, in the order of its tokens.
    pub fn next_blocks(&mut self) -> Vec<u64> {
        let Range { start, end } = self.free;
        match &mut self.random {
            None => (start..end).take(self.count).collect(),
            Some(random) => {
                let drawn = random.sample((end - start) as usize, self.count);
                drawn.into_iter().map(|index| start + index as u64).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_divided_into_the_longest_spans() {
        let span = |first, count| Span { first, count };
        let of = |ids: &[u64]| spans(ids).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[3, 4, 5, 6]), [span(3, 4)]);
        assert_eq!(of(&[3, 4, 2, 1, 8]), [span(3, 2), span(2, 1), span(1, 1), span(8, 1)]);
        assert_eq!(of(&[u64::from(u32::MAX), 0]), [span(u32::MAX as usize, 1), span(0, 1)]);
    }

    #[test]
    fn sequential_allocation_takes_the_lowest_blocks_each_time() {
        let mut allocator = Allocator::new(BlockAllocation::Sequential, 1..9, 3);
        assert_eq!(allocator.next_blocks(), [1, 2, 3]);
        assert_eq!(allocator.next_blocks(), [1, 2, 3]);
    }

    /// STORE and RETRIEVE of LMCache's own bench 0.5.7 with 16 blocks, four of them for a request.
    #[test]
    fn random_allocation_takes_the_blocks_of_the_reference() {
        let text = include_str!("../../tests/golden/server/reference-v0.5.7rc2-handle-random.json");
        let capture: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut allocator = Allocator::new(BlockAllocation::Random, 0..16, 4);
        let mut transfers = 0;
        for exchange in capture["exchanges"].as_array().unwrap() {
            if !["STORE", "RETRIEVE"].contains(&exchange["op_name"].as_str().unwrap()) {
                continue;
            }
            // Frames: request id, operation, key, instance, blocks. The blocks are one array of one-byte numbers in another.
            let frame = exchange["request"][4].as_str().unwrap();
            let bytes = (0..frame.len()).step_by(2);
            let bytes: Vec<u64> = bytes
                .map(|at| u64::from_str_radix(&frame[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(bytes[..2], [0x91, 0x94], "{frame}");
            assert_eq!(allocator.next_blocks(), bytes[2..], "transfer {transfers}");
            transfers += 1;
        }
        assert_eq!(transfers, 4);
    }

    #[test]
    fn random_blocks_are_different_free_blocks() {
        let mut allocator = Allocator::new(BlockAllocation::Random, 1..9, 8);
        let mut blocks = allocator.next_blocks();
        assert_ne!(blocks, allocator.next_blocks());
        blocks.sort_unstable();
        assert_eq!(blocks, (1..9).collect::<Vec<_>>());
    }
}
