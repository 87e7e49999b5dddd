//! Classifies a loaded object by its stamps. The kinds of damage are told apart because they have different causes: a torn
//! object the writer, a stale one a cache, swapped blocks the device, a wrong key the index.

use super::stamp::{self, BLOCK_BYTES, Block, Stamp};

/// The verdict on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Intact blocks of different writes in one object, or several kinds of damage at once.
    Torn {
        good_blocks: usize,
        blocks: usize,
    },
    /// Complete and of this key, but written with another seed, in another round, or as an object of another size.
    Stale {
        seed: u64,
        round: u64,
        object_bytes: u64,
    },
    /// Blocks of this object at wrong offsets.
    Swapped {
        blocks: usize,
    },
    /// Good up to here, then zeros.
    Truncated {
        good_bytes: usize,
    },
    /// A complete object of another key.
    WrongKey {
        key: [u8; 16],
    },
    /// Some blocks have a stamp but another checksum; all others are good.
    Corrupt {
        blocks: usize,
    },
    /// No stamp in any block: not written by this tool.
    Foreign,
}

impl Verdict {
    /// One word for counting and for scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Torn { .. } => "torn",
            Verdict::Stale { .. } => "stale",
            Verdict::Swapped { .. } => "swapped",
            Verdict::Truncated { .. } => "truncated",
            Verdict::WrongKey { .. } => "wrong_key",
            Verdict::Corrupt { .. } => "corrupt",
            Verdict::Foreign => "foreign",
        }
    }

    /// The end of a sentence about the object.
    pub fn describe(&self) -> String {
        match self {
            Verdict::Good => "holds what was stored".to_owned(),
            Verdict::Torn { good_blocks, blocks } => {
                format!("is torn: only {good_blocks} of its {blocks} 4 KiB blocks belong to this write")
            }
            Verdict::Stale {
                seed,
                round,
                object_bytes,
            } => format!(
                "is stale: it was written with seed {seed} in round {} as an object of {object_bytes} bytes",
                round.saturating_add(1)
            ),
            Verdict::Swapped { blocks } => format!("has {blocks} 4 KiB blocks at the wrong place"),
            Verdict::Truncated { good_bytes } => format!("is truncated: nothing follows after {good_bytes} bytes"),
            Verdict::WrongKey { key } => format!("holds the object of key index {}", u128::from_be_bytes(*key)),
            Verdict::Corrupt { blocks } => format!("is corrupt: the checksum of {blocks} 4 KiB blocks is wrong"),
            Verdict::Foreign => "carries no stamp: it was not written by lmcache-bench".to_owned(),
        }
    }
}

/// How many blocks of each kind an object has.
#[derive(Default)]
struct BlockCounts {
    blocks: usize,
    good: usize,
    /// Good blocks before the first that is not.
    leading_good: usize,
    zero: usize,
    foreign: usize,
    corrupt: usize,
    swapped: usize,
    stale: usize,
    wrong_key: usize,
    /// The last block of another write, and whether all such blocks are of the same one.
    other: Option<(Stamp, u64)>,
    others_differ: bool,
}

impl BlockCounts {
    fn take(object: &[u8], expected: Stamp) -> BlockCounts {
        let mut counts = BlockCounts::default();
        for (index, block) in object.chunks(BLOCK_BYTES).enumerate() {
            counts.blocks += 1;
            match stamp::read_block(block) {
                Block::Zero => counts.zero += 1,
                Block::Foreign => counts.foreign += 1,
                Block::Corrupt => counts.corrupt += 1,
                Block::Intact {
                    stamp,
                    offset,
                    object_bytes,
                } => {
                    let in_place = offset == (index * BLOCK_BYTES) as u64;
                    let same_size = object_bytes == object.len() as u64;
                    if stamp == expected && same_size && in_place {
                        counts.good += 1;
                        counts.leading_good += usize::from(counts.good == index + 1);
                    } else if stamp == expected && same_size {
                        counts.swapped += 1;
                    } else {
                        counts.note_other(stamp, object_bytes, stamp.key == expected.key);
                    }
                }
            }
        }
        counts
    }

    fn note_other(&mut self, stamp: Stamp, object_bytes: u64, same_key: bool) {
        if same_key {
            self.stale += 1;
        } else {
            self.wrong_key += 1;
        }
        self.others_differ |= self.other.is_some_and(|other| other != (stamp, object_bytes));
        self.other = Some((stamp, object_bytes));
    }

    fn verdict(&self) -> Verdict {
        if self.good == self.blocks {
            return Verdict::Good;
        }
        let torn = Verdict::Torn {
            good_blocks: self.good,
            blocks: self.blocks,
        };
        if let (Some((stamp, object_bytes)), false) = (self.other, self.others_differ) {
            if self.stale == self.blocks {
                return Verdict::Stale {
                    seed: stamp.seed,
                    round: stamp.round,
                    object_bytes,
                };
            }
            if self.wrong_key == self.blocks {
                return Verdict::WrongKey { key: stamp.key };
            }
        }
        if self.swapped > 0 && self.swapped + self.good == self.blocks {
            return Verdict::Swapped { blocks: self.swapped };
        }
        if self.leading_good == self.good && self.zero + self.good == self.blocks {
            return Verdict::Truncated {
                good_bytes: self.good * BLOCK_BYTES,
            };
        }
        if self.foreign == self.blocks {
            return Verdict::Foreign;
        }
        if self.corrupt > 0 && self.corrupt + self.good == self.blocks {
            return Verdict::Corrupt { blocks: self.corrupt };
        }
        torn
    }
}

/// Checks one loaded object against what was stored under its key.
pub fn check(object: &[u8], expected: Stamp) -> Verdict {
    BlockCounts::take(object, expected).verdict()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Stamp = Stamp {
        seed: 1,
        key: [1; 16],
        round: 4,
    };
    const BLOCKS: usize = 6;

    fn object_of(stamp: Stamp) -> Vec<u8> {
        let mut object = vec![0_u8; BLOCKS * BLOCK_BYTES];
        stamp::fill(&mut object, stamp);
        object
    }

    fn splice(whole: &mut [u8], other: &[u8], blocks: std::ops::Range<usize>) {
        let bytes = blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES;
        whole[bytes.clone()].copy_from_slice(&other[bytes]);
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let good = object_of(EXPECTED);
        assert_eq!(check(&good, EXPECTED), Verdict::Good);

        let older = Stamp { round: 3, ..EXPECTED };
        let stale = Verdict::Stale {
            seed: 1,
            round: 3,
            object_bytes: (BLOCKS * BLOCK_BYTES) as u64,
        };
        assert_eq!(check(&object_of(older), EXPECTED), stale);
        let other_seed = Stamp { seed: 2, ..EXPECTED };
        assert_eq!(check(&object_of(other_seed), EXPECTED).name(), "stale");

        let stranger = Stamp {
            key: 17_u128.to_be_bytes(),
            ..EXPECTED
        };
        let wrong_key = check(&object_of(stranger), EXPECTED);
        assert_eq!(
            wrong_key,
            Verdict::WrongKey {
                key: 17_u128.to_be_bytes()
            }
        );
        assert!(wrong_key.describe().ends_with("key index 17"));

        let mut torn = good.clone();
        splice(&mut torn, &object_of(older), 2..6);
        assert_eq!(
            check(&torn, EXPECTED),
            Verdict::Torn {
                good_blocks: 2,
                blocks: BLOCKS
            }
        );

        let mut swapped = good.clone();
        let (head, tail) = swapped.split_at_mut(4 * BLOCK_BYTES);
        head[..BLOCK_BYTES].swap_with_slice(&mut tail[..BLOCK_BYTES]);
        assert_eq!(check(&swapped, EXPECTED), Verdict::Swapped { blocks: 2 });

        let mut truncated = good.clone();
        truncated[3 * BLOCK_BYTES..].fill(0);
        assert_eq!(
            check(&truncated, EXPECTED),
            Verdict::Truncated {
                good_bytes: 3 * BLOCK_BYTES
            }
        );

        let mut corrupt = good.clone();
        corrupt[BLOCK_BYTES + 100] ^= 1;
        assert_eq!(check(&corrupt, EXPECTED), Verdict::Corrupt { blocks: 1 });

        assert_eq!(check(&vec![7; BLOCKS * BLOCK_BYTES], EXPECTED), Verdict::Foreign);
    }

    #[test]
    fn blocks_of_two_strangers_are_torn_not_one_wrong_key() {
        let mut mixed = object_of(Stamp {
            key: [8; 16],
            ..EXPECTED
        });
        splice(
            &mut mixed,
            &object_of(Stamp {
                key: [9; 16],
                ..EXPECTED
            }),
            0..1,
        );
        assert_eq!(check(&mixed, EXPECTED).name(), "torn");
    }

    #[test]
    fn an_object_of_another_size_is_stale() {
        let mut longer = vec![0_u8; 2 * BLOCKS * BLOCK_BYTES];
        stamp::fill(&mut longer, EXPECTED);
        assert_eq!(check(&longer[..BLOCKS * BLOCK_BYTES], EXPECTED).name(), "stale");
    }
}
