//! CPython's `random.Random`: the same seed gives the same numbers, so that requests agree with the reference's. Must
//! never be used for anything but making requests.

use std::collections::HashSet;

use crate::python::big_int::BigInt;

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister MT19937 and the operations of CPython on it.
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; WORDS],
    index: usize,
}

impl PythonRandom {
    /// `Random(seed)`; the sign does not matter.
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

    /// In [0, 1), 53 bits.
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

    /// A number below `n`, which must be above 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let value = self.getrandbits(bits);
            if value < n {
                return value;
            }
        }
    }

    /// From `low` to below `high`.
    pub fn randrange(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// An index into `n` things.
    pub fn choice(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// One of the indices that `choices` draws into `n` things.
    pub fn choices_index(&mut self, n: usize) -> usize {
        (self.random() * n as f64).floor() as usize
    }

    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            things.swap(last, other);
        }
    }

    /// The indices of `sample(x, k)` with `n` things in x, in draw order; `k` is at most `n`.
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

/// Up to how many things CPython copies them all instead of remembering what it drew.
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
