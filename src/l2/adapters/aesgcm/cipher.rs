//! LMCache's `aesgcm` format: a version byte, 12 random bytes, the ciphertext and its 16-byte tag (docs/formats.md). The key
//! of each cache salt is derived from one master key. Keys are never shown.

use std::collections::HashMap;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + NONCE_LEN;
const TAG_BYTES: usize = 16;
/// What encryption adds to an object.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;
const INFO_PREFIX: &[u8] = b"lmcache-l2-aesgcm-v1";

struct KeyBytes(usize);

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// The keys of all salts so far.
pub struct Keys {
    master: hkdf::Prk,
    key_bytes: usize,
    by_salt: HashMap<String, LessSafeKey>,
    random: SystemRandom,
}

impl Keys {
    pub fn new(master_key: &[u8], key_bytes: usize) -> Keys {
        Keys {
            // HKDF without a salt uses zeros, and an empty salt is padded with zeros.
            master: Salt::new(HKDF_SHA256, &[]).extract(master_key),
            key_bytes,
            by_salt: HashMap::new(),
            random: SystemRandom::new(),
        }
    }

    /// Derives the key of a salt, if that was not done before.
    pub fn prepare(&mut self, cache_salt: &str) -> Result<(), String> {
        if self.by_salt.contains_key(cache_salt) {
            return Ok(());
        }
        let failed = |_| "could not derive the key of a cache salt".to_owned();
        let algorithm = if self.key_bytes == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let mut key = vec![0; self.key_bytes];
        let info = [INFO_PREFIX, cache_salt.as_bytes()];
        let okm = self.master.expand(&info, KeyBytes(self.key_bytes)).map_err(failed)?;
        okm.fill(&mut key).map_err(failed)?;
        let key = UnboundKey::new(algorithm, &key).map_err(failed)?;
        self.by_salt.insert(cache_salt.to_owned(), LessSafeKey::new(key));
        Ok(())
    }

    fn key(&self, cache_salt: &str) -> Result<&LessSafeKey, String> {
        let key = self.by_salt.get(cache_salt);
        key.ok_or_else(|| "the key of a cache salt was not prepared".to_owned())
    }

    /// Writes the frame of `plain` into `frame`, which is [`OVERHEAD_BYTES`] longer.
    pub fn seal(&self, cache_salt: &str, plain: &[u8], frame: &mut [u8]) -> Result<(), String> {
        let key = self.key(cache_salt)?;
        let end = HEAD_BYTES + plain.len();
        if frame.len() != plain.len() + OVERHEAD_BYTES {
            return Err("the buffer for an encrypted object has the wrong size".to_owned());
        }
        let mut nonce = [0; NONCE_LEN];
        let failed = |_| "an object could not be encrypted".to_owned();
        self.random.fill(&mut nonce).map_err(failed)?;
        frame[0] = VERSION;
        frame[1..HEAD_BYTES].copy_from_slice(&nonce);
        frame[HEAD_BYTES..end].copy_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut frame[HEAD_BYTES..end]);
        frame[end..].copy_from_slice(sealed.map_err(failed)?.as_ref());
        Ok(())
    }

    /// Decrypts a frame, which is changed on the way, into `plain`.
    pub fn open(&self, cache_salt: &str, frame: &mut [u8], plain: &mut [u8]) -> Result<(), String> {
        let key = self.key(cache_salt)?;
        if frame.len() != plain.len() + OVERHEAD_BYTES || frame[0] != VERSION {
            return Err("malformed aesgcm frame or unknown version".to_owned());
        }
        let (head, sealed) = frame.split_at_mut(HEAD_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]);
        let opened = nonce.and_then(|nonce| key.open_in_place(nonce, Aad::empty(), sealed));
        let opened = opened.map_err(|_| "its aesgcm tag does not match: another master key, or damaged".to_owned())?;
        plain.copy_from_slice(opened);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(master_key: &[u8], key_bytes: usize) -> Keys {
        let mut keys = Keys::new(master_key, key_bytes);
        keys.prepare("").unwrap();
        keys.prepare("tenant-a").unwrap();
        keys
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
            .collect()
    }

    /// Made by LMCache 0.5.6 with the master key `0123456789abcdef` and the plain text `LMCache`.
    #[test]
    fn frames_of_lmcache_are_opened() {
        for (key_bytes, salt, frame) in GOLDEN {
            let mut plain = [0; 7];
            let mut frame = from_hex(frame);
            keys(b"0123456789abcdef", key_bytes)
                .open(salt, &mut frame, &mut plain)
                .unwrap();
            assert_eq!(&plain, b"LMCache");
        }
    }

    const GOLDEN: [(usize, &str, &str); 3] = [
        (
            16,
            "",
            "017005f58417eb7b69ea4760ddc2f85f72950fa8c59076c97c19c7e380ff1953fe8fc20f",
        ),
        (
            32,
            "",
            "012f41a7d3157d0618cd2857c625baba4671575189a9bbfeda1186ff74c5f054a54948d4",
        ),
        (
            16,
            "tenant-a",
            "01555d86e9da489d64d52790968ec623799ade7fc806e38605e4794c16aeef389600e1c8",
        ),
    ];

    #[test]
    fn what_is_sealed_opens_only_with_its_own_key_and_whole() {
        let plain = [7_u8; 100];
        let mine = keys(b"secret", 32);
        let mut frame = vec![0; plain.len() + OVERHEAD_BYTES];
        mine.seal("tenant-a", &plain, &mut frame).unwrap();
        let mut other = vec![0; frame.len()];
        mine.seal("tenant-a", &plain, &mut other).unwrap();
        assert_ne!(frame, other, "nonces must differ");
        let mut out = [0; 100];
        mine.open("tenant-a", &mut frame.clone(), &mut out).unwrap();
        assert_eq!(out, plain);
        assert!(mine.open("", &mut frame.clone(), &mut out).is_err());
        assert!(
            keys(b"other", 32)
                .open("tenant-a", &mut frame.clone(), &mut out)
                .is_err()
        );
        for place in [0, 5, 50, frame.len() - 1] {
            let mut damaged = frame.clone();
            damaged[place] ^= 1;
            assert!(mine.open("tenant-a", &mut damaged, &mut out).is_err(), "{place}");
        }
        assert!(mine.open("tenant-a", &mut frame[..100], &mut out).is_err());
        assert!(mine.seal("never prepared", &plain, &mut frame).is_err());
    }
}
