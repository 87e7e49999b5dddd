//! Hashes of prefixes.

/// The hash of each whole unit of `tokens` together with everything before it. Where two prefixes had the same 64 bits, one
/// would be taken for the other and a hit expected that no server gives; among 10^8 prefixes the odds are 1 to 4,000.
pub fn chain(tokens: &[u32], unit: usize) -> Vec<u64> {
    let mut before = START;
    tokens
        .chunks_exact(unit)
        .map(|tokens| {
            before = extended(before, tokens);
            before
        })
        .collect()
}

/// Where a chain begins.
pub(super) const START: u64 = 0x243f_6a88_85a3_08d3;

/// The hash of what `before` stands for, followed by `tokens`.
pub(super) fn extended(before: u64, tokens: &[u32]) -> u64 {
    tokens.iter().fold(before, |hash, token| {
        let mixed = (hash ^ u64::from(*token)).wrapping_mul(0x2545_f491_4f6c_dd1d);
        mixed ^ (mixed >> 29)
    })
}
