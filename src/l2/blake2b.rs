//! BLAKE2b (RFC 7693) with an 8-byte digest and no key, with which LMCache hashes keys. Only this size is needed. Not for
//! input that an adversary chooses.

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const BLOCK_BYTES: usize = 128;
const DIGEST_BYTES: usize = 8;

/// The eight bytes of the digest.
pub fn digest8(input: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut state = IV;
    // Digest length, no key, fanout 1, depth 1.
    state[0] ^= 0x0101_0000 ^ DIGEST_BYTES as u64;
    // Every block but the last is full; no input is one empty block.
    let blocks = input.len().div_ceil(BLOCK_BYTES).max(1);
    for index in 0..blocks {
        let start = index * BLOCK_BYTES;
        let end = input.len().min(start + BLOCK_BYTES);
        let mut block = [0; BLOCK_BYTES];
        block[..end - start].copy_from_slice(&input[start..end]);
        compress(&mut state, &block, end as u64, index + 1 == blocks);
    }
    state[0].to_le_bytes()
}

fn compress(state: &mut [u64; 8], block: &[u8; BLOCK_BYTES], counted: u64, last: bool) {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of 8"));
    }
    let mut v = [0; 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&IV);
    v[12] ^= counted;
    if last {
        v[14] = !v[14];
    }
    for round in 0..12 {
        let s = &SIGMA[round % 10];
        let mut mix = |a: usize, b: usize, c: usize, d: usize, i: usize| {
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(words[s[i]]);
            v[d] = (v[d] ^ v[a]).rotate_right(32);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(24);
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(words[s[i + 1]]);
            v[d] = (v[d] ^ v[a]).rotate_right(16);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(63);
        };
        mix(0, 4, 8, 12, 0);
        mix(1, 5, 9, 13, 2);
        mix(2, 6, 10, 14, 4);
        mix(3, 7, 11, 15, 6);
        mix(0, 5, 10, 15, 8);
        mix(1, 6, 11, 12, 10);
        mix(2, 7, 8, 13, 12);
        mix(3, 4, 9, 14, 14);
    }
    for (index, word) in state.iter_mut().enumerate() {
        *word ^= v[index] ^ v[index + 8];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python's `hashlib.blake2b(x, digest_size=8)`.
    #[test]
    fn digests_are_pythons() {
        let cases = [
            (Vec::new(), "e4a6a0577479b2b4"),
            (b"abc".to_vec(), "d8bb14d833d59559"),
            (vec![b'x'; 128], "901ce374e8e12402"),
            (vec![b'x'; 129], "18de14b9d8eea5a3"),
            (vec![b'x'; 300], "12b539c1cad94615"),
        ];
        for (input, expected) in cases {
            let hex: String = digest8(&input).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{} bytes", input.len());
        }
    }
}
