//! 128-bit digests of chunks: MD5, as the server computes it, and a fast checksum.

use std::fmt;

use md5::{Digest as _, Md5};

pub mod fast;

use fast::FastHasher;

/// The digest function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Md5,
    Fast,
}

/// The digest of a chunk, displayed as lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

/// The state of a digest that is being computed.
pub enum Hasher {
    Md5(Md5),
    Fast(FastHasher),
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Md5 => "md5",
            Kind::Fast => "fast",
        }
    }

    pub fn hasher(self) -> Hasher {
        match self {
            Kind::Md5 => Hasher::Md5(Md5::new()),
            Kind::Fast => Hasher::Fast(FastHasher::new()),
        }
    }
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Md5(md5) => md5.update(bytes),
            Hasher::Fast(fast) => fast.update(bytes),
        }
    }

    /// As `update`, with each bfloat16 value converted to float32, whose upper half it is. The server hashes bfloat16 this way.
    /// `bytes` must be whole values.
    pub fn update_widened(&mut self, bytes: &[u8]) {
        let mut wide = [0u8; 4096];
        for piece in bytes.chunks(wide.len() / 2) {
            for (to, from) in wide.chunks_exact_mut(4).zip(piece.chunks_exact(2)) {
                to[2..].copy_from_slice(from);
            }
            self.update(&wide[..piece.len() * 2]);
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Hasher::Md5(md5) => Digest(md5.finalize().into()),
            Hasher::Fast(fast) => Digest(fast.finish()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn md5(update: impl FnOnce(&mut Hasher)) -> String {
        let mut hasher = Kind::Md5.hasher();
        update(&mut hasher);
        hasher.finish().to_string()
    }

    #[test]
    fn md5_gives_the_value_of_rfc_1321() {
        assert_eq!(md5(|hasher| hasher.update(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn widening_puts_each_value_into_the_upper_half() {
        let narrow: Vec<u8> = (0..6000u32).map(|n| n as u8).collect();
        let wide: Vec<u8> = narrow.chunks(2).flat_map(|value| [0, 0, value[0], value[1]]).collect();
        assert_eq!(
            md5(|hasher| hasher.update_widened(&narrow)),
            md5(|hasher| hasher.update(&wide))
        );
    }
}
