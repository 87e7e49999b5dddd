//! The payload of benchmark objects: every 4 KiB block names its object, round and offset, and has a checksum over all of
//! itself. Several GiB/s on one core, so that every load can be checked.
//!
//! Block layout, little endian (docs/formats.md): magic 8, seed 8, key hash 16, round 8, offset 8, object size 8,
//! checksum 8, then pseudo-random filler that differs in every block, so that compression or deduplication in a device gains
//! nothing.

/// Every block of an object but the last has this size.
pub const BLOCK_BYTES: usize = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"LMCBv001");
const HEADER_WORDS: usize = 8;
const CHECKSUM_WORD: usize = 7;
const HEADER_BYTES: usize = HEADER_WORDS * 8;
/// Odd constants with well-mixed bits (from the digits of the golden ratio and of pi).
const MIX: [u64; 4] = [
    0x9E37_79B9_7F4A_7C15,
    0xC2B2_AE3D_27D4_EB4F,
    0x2436_A88F_4D8F_9D31,
    0x1319_8A2E_0370_7345,
];

/// Identifies an object's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub seed: u64,
    pub key: [u8; 16],
    pub round: u64,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Not a stamp: not written by this tool.
    Foreign,
    /// All zero: not written, or cut off.
    Zero,
    /// It has a stamp, but the checksum does not match.
    Corrupt,
    /// The checksum matches.
    Intact {
        stamp: Stamp,
        offset: u64,
        object_bytes: u64,
    },
}

fn word(bytes: &[u8], index: usize) -> u64 {
    let start = index * 8;
    u64::from_le_bytes(bytes[start..start + 8].try_into().expect("eight bytes"))
}

fn header(stamp: Stamp, offset: u64, object_bytes: u64) -> [u64; HEADER_WORDS] {
    let (low, high) = stamp.key.split_at(8);
    let key = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("eight bytes"));
    [
        MAGIC,
        stamp.seed,
        key(low),
        key(high),
        stamp.round,
        offset,
        object_bytes,
        0,
    ]
}

/// Four independent multiply chains, so that the multiplier's latency is hidden. Each step is a bijection of the chain's
/// state, so any change inside one word changes the result.
struct Digest([u64; 4]);

impl Digest {
    fn new() -> Digest {
        Digest(MIX)
    }

    #[inline(always)]
    fn add(&mut self, words: [u64; 4]) {
        for ((state, word), mix) in self.0.iter_mut().zip(words).zip(MIX) {
            *state = (*state ^ word).wrapping_mul(mix).rotate_left(29);
        }
    }

    fn finish(&self) -> u64 {
        let mut sum = 0_u64;
        for (state, mix) in self.0.iter().zip(MIX) {
            sum = (sum ^ (state ^ (state >> 31)).wrapping_mul(mix)).rotate_left(17);
        }
        sum ^ (sum >> 32)
    }
}

/// Filler words of one block: a counter times an odd constant, folded. The start differs in every block.
struct Filler(u64);

impl Filler {
    fn new(header: &[u64; HEADER_WORDS]) -> Filler {
        let mut digest = Digest::new();
        digest.add([header[1], header[2], header[3], header[4]]);
        digest.add([header[5], header[6], 0, 0]);
        Filler(digest.finish())
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(MIX[0]);
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(MIX[1]);
        folded ^ (folded >> 29)
    }
}

/// Stamps a whole object. Its length must be a multiple of 32 and at least the header (benchmark objects are whole KiB).
pub fn fill(object: &mut [u8], stamp: Stamp) {
    let object_bytes = object.len() as u64;
    let mut offset = 0_u64;
    for block in object.chunks_mut(BLOCK_BYTES) {
        fill_block(block, header(stamp, offset, object_bytes));
        offset += BLOCK_BYTES as u64;
    }
}

fn fill_block(block: &mut [u8], mut header: [u64; HEADER_WORDS]) {
    let mut filler = Filler::new(&header);
    let mut digest = Digest::new();
    digest.add([header[0], header[1], header[2], header[3]]);
    digest.add([header[4], header[5], header[6], 0]);
    let (head, body) = block.split_at_mut(HEADER_BYTES);
    for group in body.chunks_exact_mut(32) {
        let words = [filler.next(), filler.next(), filler.next(), filler.next()];
        digest.add(words);
        for (place, word) in group.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    header[CHECKSUM_WORD] = digest.finish();
    for (place, word) in head.chunks_exact_mut(8).zip(header) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// Reads one block. All returned values are covered by the checksum.
pub fn read_block(block: &[u8]) -> Block {
    if block.len() < HEADER_BYTES || word(block, 0) != MAGIC {
        return if block.iter().all(|&byte| byte == 0) {
            Block::Zero
        } else {
            Block::Foreign
        };
    }
    let mut digest = Digest::new();
    digest.add([word(block, 0), word(block, 1), word(block, 2), word(block, 3)]);
    digest.add([word(block, 4), word(block, 5), word(block, 6), 0]);
    for group in block[HEADER_BYTES..].chunks_exact(32) {
        digest.add([word(group, 0), word(group, 1), word(group, 2), word(group, 3)]);
    }
    if digest.finish() != word(block, CHECKSUM_WORD) {
        return Block::Corrupt;
    }
    let mut key = [0_u8; 16];
    key.copy_from_slice(&block[16..32]);
    Block::Intact {
        stamp: Stamp {
            seed: word(block, 1),
            key,
            round: word(block, 4),
        },
        offset: word(block, 5),
        object_bytes: word(block, 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAMP: Stamp = Stamp {
        seed: 7,
        key: [3; 16],
        round: 2,
    };

    #[test]
    fn a_block_says_what_it_is() {
        let mut object = vec![0_u8; 2 * BLOCK_BYTES + 1024];
        fill(&mut object, STAMP);
        for (index, block) in object.chunks(BLOCK_BYTES).enumerate() {
            let expected = Block::Intact {
                stamp: STAMP,
                offset: (index * BLOCK_BYTES) as u64,
                object_bytes: 9216,
            };
            assert_eq!(read_block(block), expected);
        }
        assert_eq!(read_block(&[0; 4096]), Block::Zero);
        assert_eq!(read_block(&[5; 4096]), Block::Foreign);
    }

    #[test]
    fn the_format_does_not_drift() {
        // docs/formats.md promises it: files of an earlier release must still verify.
        let mut block = vec![0_u8; BLOCK_BYTES];
        fill(&mut block, STAMP);
        assert_eq!(&block[..8], b"LMCBv001");
        assert_eq!(word(&block, CHECKSUM_WORD), 1_695_068_846_734_875_795);
        assert_eq!(word(&block, HEADER_WORDS), 4_143_708_148_993_330_351);
    }

    #[test]
    fn blocks_do_not_repeat() {
        let mut object = vec![0_u8; 64 * BLOCK_BYTES];
        fill(&mut object, STAMP);
        let mut words: Vec<u64> = (0..object.len() / 8).map(|index| word(&object, index)).collect();
        words.sort_unstable();
        let distinct = {
            words.dedup();
            words.len()
        };
        // Only header fields repeat from block to block.
        assert!(distinct > 64 * (BLOCK_BYTES / 8 - HEADER_WORDS), "{distinct}");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_seen(byte in 8_usize..BLOCK_BYTES, bit in 0_u8..8, seed: u64, round: u64) {
            let stamp = Stamp { seed, key: [9; 16], round };
            let mut block = vec![0_u8; BLOCK_BYTES];
            fill(&mut block, stamp);
            block[byte] ^= 1 << bit;
            prop_assert_eq!(read_block(&block), Block::Corrupt);
        }

        #[test]
        fn swapped_words_are_seen(left in 1_usize..512, right in 1_usize..512) {
            prop_assume!(left != right);
            let mut block = vec![0_u8; BLOCK_BYTES];
            fill(&mut block, STAMP);
            prop_assume!(word(&block, left) != word(&block, right));
            let (a, b) = (left.min(right) * 8, left.max(right) * 8);
            let (head, tail) = block.split_at_mut(b);
            head[a..a + 8].swap_with_slice(&mut tail[..8]);
            prop_assert_eq!(read_block(&block), Block::Corrupt);
        }
    }
}
