//! CPython's `random.Random`: the same seed gives the same numbers, so that generated requests equal the reference's. Not
//! for anything else: it is slow, and its sequence is fixed by CPython (Modules/_randommodule.c, Lib/random.py).

use std::collections::HashSet;

use ring::digest::{SHA512, digest};

use crate::python::big_int::BigInt;

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister MT19937, with CPython's methods.
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; WORDS],
    index: usize,
}

impl PythonRandom {
    /// `Random(seed)`; the sign of the seed is ignored, as in CPython.
    pub fn new(seed: &BigInt) -> PythonRandom {
        let key = match seed.magnitude() {
            [] => &[0],
            words => words,
        };
        PythonRandom {
            state: init_by_array(key),
            index: WORDS,
        }
    }

    /// `Random(text)`: the seed is the text's bytes with their SHA-512 behind them, as one big-endian number.
    pub fn of_text(text: &str) -> PythonRandom {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend_from_slice(digest(&SHA512, text.as_bytes()).as_ref());
        PythonRandom::new(&BigInt::from_bytes(&bytes))
    }

    fn word(&mut self) -> u32 {
        if self.index == WORDS {
            twist(&mut self.state);
            self.index = 0;
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A float in [0, 1) with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let high = self.word() >> 5;
        let low = self.word() >> 6;
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `bits` random bits, at most 64.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        let mut value = 0;
        for at in (0..bits).step_by(32) {
            let wanted = (bits - at).min(32);
            value |= u64::from(self.word() >> (32 - wanted)) << at;
        }
        value
    }

    /// A number below `n`, which is above 0 (`_randbelow`).
    pub fn below(&mut self, n: u64) -> u64 {
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let value = self.getrandbits(bits);
            if value < n {
                return value;
            }
        }
    }

    /// A number from `low` to `high - 1`.
    pub fn randrange(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// The index that `choice` picks from `n` items.
    pub fn choice(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// One of the indices that `choices` picks from `n` items.
    pub fn choices_index(&mut self, n: usize) -> usize {
        (self.random() * n as f64).floor() as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }

    /// The indices that `sample(items, k)` picks from `n` items, in the order drawn; `k` is at most `n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        if n <= sample_set_threshold(k) {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|drawn| {
                    let at = self.below((n - drawn) as u64) as usize;
                    let taken = pool[at];
                    pool[at] = pool[n - drawn - 1];
                    taken
                })
                .collect();
        }
        let mut taken = HashSet::with_capacity(k);
        let mut result = Vec::with_capacity(k);
        while result.len() < k {
            let at = self.below(n as u64) as usize;
            if taken.insert(at) {
                result.push(at);
            }
        }
        result
    }
}

/// Up to this many items CPython samples from a copy of the list; above, it remembers the indices drawn in a set.
fn sample_set_threshold(k: usize) -> usize {
    let mut power = 1;
    while power < k.saturating_mul(3) {
        power *= 4;
    }
    if k > 5 { 21 + power } else { 21 }
}

fn init_genrand(seed: u32) -> [u32; WORDS] {
    let mut state = [0; WORDS];
    state[0] = seed;
    for at in 1..WORDS {
        let previous = state[at - 1];
        state[at] = (previous ^ (previous >> 30))
            .wrapping_mul(1_812_433_253)
            .wrapping_add(at as u32);
    }
    state
}

fn init_by_array(key: &[u32]) -> [u32; WORDS] {
    let mut state = init_genrand(19_650_218);
    let (mut i, mut j) = (1, 0);
    let mixed = |state: &[u32; WORDS], i: usize, factor: u32| {
        let previous = state[i - 1];
        state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(factor)
    };
    for _ in 0..WORDS.max(key.len()) {
        state[i] = mixed(&state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
        i += 1;
        j = (j + 1) % key.len();
        if i == WORDS {
            state[0] = state[WORDS - 1];
            i = 1;
        }
    }
    for _ in 1..WORDS {
        state[i] = mixed(&state, i, 1_566_083_941).wrapping_sub(i as u32);
        i += 1;
        if i == WORDS {
            state[0] = state[WORDS - 1];
            i = 1;
        }
    }
    state[0] = 0x8000_0000;
    state
}

fn twist(state: &mut [u32; WORDS]) {
    for at in 0..WORDS {
        let y = (state[at] & 0x8000_0000) | (state[(at + 1) % WORDS] & 0x7fff_ffff);
        let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
        state[at] = state[(at + SHIFT) % WORDS] ^ (y >> 1) ^ odd;
    }
}

#[cfg(test)]
mod tests;
