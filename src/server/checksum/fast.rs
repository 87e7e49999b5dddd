//! The fast 128-bit checksum of a chunk. A GPU kernel (cuda/checksum.cu) computes the same function, so its definition is fixed:
//!
//! The bytes of the chunk, in the same order as for MD5, are divided into little-endian 64-bit words `w[0] .. w[n-1]`; the last
//! word is padded with zero bytes. All arithmetic is modulo 2^64.
//!
//! ```text
//! u = w[i] + (i + 1) * STEP            a = sum of lower(u) * upper(u) over all i
//! v = w[i] ^ (i + 1) * STRIDE          b = sum of lower(v) * upper(v) over all i
//!                                      c = sum of u over all i
//! lower, upper: the 32-bit halves, multiplied to 64 bits
//! low  = scramble(a + c * FIRST + bytes * STEP)              bytes: length of the chunk
//! high = scramble(b ^ rotate_left(c, 29) ^ rotate_left(low, 32))
//! scramble(x): x = (x ^ (x >> 33)) * FIRST;  x = (x ^ (x >> 29)) * SECOND;  x ^ (x >> 32)
//! digest = low, then high, each as 8 little-endian bytes
//! ```
//!
//! The products depend on each word and its position, so that moved words change the digest. The plain sum changes with every
//! word. A GPU can do two 32-bit multiplications per eight bytes at the speed of its memory, and a CPU does them in vectors.
//! Addition is commutative, so any number of lanes or threads may each sum any part of the words. It is not a cryptographic
//! hash: it detects corruption, not forgery.

/// 2^64 divided by the golden ratio, rounded to an odd number, so that its multiples are distinct.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// A second odd number, unrelated to the first.
pub const STRIDE: u64 = 0xd1b5_4a32_d192_ed03;
/// Odd multipliers with well mixed bits.
const FIRST: u64 = 0xd6e8_feb8_6659_fd93;
const SECOND: u64 = 0xbf58_476d_1ce4_e5b9;

/// The sums over the words of a chunk. The sums of its parts add up to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

impl Sums {
    /// The digest of a chunk of `bytes` bytes.
    pub fn digest(self, bytes: u64) -> [u8; 16] {
        let length = bytes.wrapping_mul(STEP);
        let low = scramble(self.a.wrapping_add(self.c.wrapping_mul(FIRST)).wrapping_add(length));
        let high = scramble(self.b ^ self.c.rotate_left(29) ^ low.rotate_left(32));
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&low.to_le_bytes());
        digest[8..].copy_from_slice(&high.to_le_bytes());
        digest
    }

    #[inline(always)]
    fn add(&mut self, word: u64, step: u64, stride: u64) {
        let u = word.wrapping_add(step);
        let v = word ^ stride;
        self.a = self.a.wrapping_add((u & LOWER) * (u >> 32));
        self.b = self.b.wrapping_add((v & LOWER) * (v >> 32));
        self.c = self.c.wrapping_add(u);
    }
}

const LOWER: u64 = 0xffff_ffff;

/// Computes the checksum of bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct FastHasher {
    sums: Sums,
    words: u64,
    /// The first `rest_bytes` bytes of an incomplete word.
    rest: [u8; 8],
    rest_bytes: usize,
}

impl FastHasher {
    pub fn new() -> FastHasher {
        FastHasher::default()
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.rest_bytes > 0 {
            let take = bytes.len().min(8 - self.rest_bytes);
            self.rest[self.rest_bytes..self.rest_bytes + take].copy_from_slice(&bytes[..take]);
            self.rest_bytes += take;
            bytes = &bytes[take..];
            if self.rest_bytes < 8 {
                return;
            }
            self.rest_bytes = 0;
            self.add_words(&self.rest.clone());
        }
        let whole = bytes.len() / 8 * 8;
        self.add_words(&bytes[..whole]);
        let rest = &bytes[whole..];
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_bytes = rest.len();
    }

    /// `bytes` must be whole words.
    fn add_words(&mut self, bytes: &[u8]) {
        let mut step = self.words.wrapping_mul(STEP);
        let mut stride = self.words.wrapping_mul(STRIDE);
        for word in bytes.chunks_exact(8) {
            step = step.wrapping_add(STEP);
            stride = stride.wrapping_add(STRIDE);
            let word = u64::from_le_bytes(word.try_into().expect("pieces of eight"));
            self.sums.add(word, step, stride);
        }
        self.words += (bytes.len() / 8) as u64;
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bytes = self.words * 8 + self.rest_bytes as u64;
        if self.rest_bytes > 0 {
            self.rest[self.rest_bytes..].fill(0);
            self.add_words(&self.rest.clone());
        }
        self.sums.digest(bytes)
    }
}

fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(FIRST);
    x = (x ^ (x >> 29)).wrapping_mul(SECOND);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 16] {
        let mut hasher = FastHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    fn hex(bytes: &[u8]) -> String {
        digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The definition of the module documentation, for bytes in one piece.
    fn by_definition(bytes: &[u8]) -> [u8; 16] {
        let halves = |x: u64| (x & 0xffff_ffff, x >> 32);
        let (mut a, mut b, mut c) = (0u64, 0u64, 0u64);
        for (i, piece) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            let (word, place) = (u64::from_le_bytes(word), i as u64 + 1);
            let u = word.wrapping_add(place.wrapping_mul(STEP));
            let v = word ^ place.wrapping_mul(STRIDE);
            a = a.wrapping_add(halves(u).0 * halves(u).1);
            b = b.wrapping_add(halves(v).0 * halves(v).1);
            c = c.wrapping_add(u);
        }
        let length = (bytes.len() as u64).wrapping_mul(STEP);
        let low = scramble(a.wrapping_add(c.wrapping_mul(FIRST)).wrapping_add(length));
        let high = scramble(b ^ c.rotate_left(29) ^ low.rotate_left(32));
        [low.to_le_bytes(), high.to_le_bytes()].concat().try_into().unwrap()
    }

    #[test]
    fn the_values_are_fixed() {
        let counting: Vec<u8> = (0..=255).collect();
        assert_eq!(hex(b""), "00000000000000000000000000000000");
        assert_eq!(hex(b"a"), "5ff28d84dd1e00c0d577572cf4f3ab71");
        assert_eq!(hex(&counting), "7d54260959374ae1e54370d4f158053c");
    }

    #[test]
    fn pieces_of_any_size_give_the_same_digest() {
        let bytes: Vec<u8> = (0..1003u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for piece in [1, 3, 7, 8, 9, 64, 1000] {
            let mut hasher = FastHasher::new();
            bytes.chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), by_definition(&bytes), "pieces of {piece}");
        }
    }

    #[test]
    fn flipped_bits_other_lengths_and_swapped_words_change_the_digest() {
        let mut bytes: Vec<u8> = (1..257u32).map(|n| n as u8).collect();
        let mut seen = HashSet::from([digest(&bytes)]);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(digest(&bytes)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert!(seen.insert(digest(&bytes[..length])), "length {length}");
            assert!(length == 0 || seen.insert(digest(&vec![0; length])), "{length} zeros");
        }
        for word in 0..31 {
            bytes.swap(word * 8, word * 8 + 8);
            assert!(seen.insert(digest(&bytes)), "words {word}");
            bytes.swap(word * 8, word * 8 + 8);
        }
    }

    /// A flipped input bit flips each output bit about half the time.
    #[test]
    fn changes_spread_over_all_bits() {
        let mut flips = [0u32; 128];
        let base = vec![0u8; 512];
        let want = u128::from_le_bytes(digest(&base));
        let trials = 512 * 8;
        for bit in 0..trials {
            let mut bytes = base.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = want ^ u128::from_le_bytes(digest(&bytes));
            for (place, count) in flips.iter_mut().enumerate() {
                *count += u32::from(changed >> place & 1 == 1);
            }
        }
        let (low, high) = (trials as u32 * 45 / 100, trials as u32 * 55 / 100);
        assert!(flips.iter().all(|count| (low..high).contains(count)), "{flips:?}");
    }
}
