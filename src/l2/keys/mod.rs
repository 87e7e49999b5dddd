//! Object keys, their names in stores, and which keys the rounds of a run use. The names are LMCache's byte for byte, so
//! that both tools find each other's objects.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::error::Error;

/// The suffix of form F.
pub const FILE_SUFFIX: &str = ".data";

const BENCH_MODEL: &str = "bench-model";
const SLASH_IN_FILE_NAMES: &str = "-SEP-";
const SALT_MAX_CHARS: usize = 128;

/// The hash of a chunk of tokens, stored inline so that creating a key does not allocate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkHash {
    bytes: [u8; ChunkHash::MAX_BYTES],
    len: u8,
}

impl ChunkHash {
    /// The longest digest in use is 64 bytes.
    pub const MAX_BYTES: usize = 64;

    /// `None` when the hash is longer than 64 bytes.
    pub fn new(hash: &[u8]) -> Option<ChunkHash> {
        let mut bytes = [0; ChunkHash::MAX_BYTES];
        bytes.get_mut(..hash.len())?.copy_from_slice(hash);
        let len = u8::try_from(hash.len()).ok()?;
        Some(ChunkHash { bytes, len })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = String::new();
        push_hex(&mut hex, self.as_bytes());
        write!(f, "ChunkHash({hex})")
    }
}

/// Identifies one object in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    chunk_hash: ChunkHash,
    model_name: Cow<'static, str>,
    kv_rank: u64,
    object_group_id: u32,
    cache_salt: Cow<'static, str>,
}

/// Why parts do not form a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKey {
    ModelHasAt,
    SaltHas(char),
    SaltTooLong { chars: usize },
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidKey::ModelHasAt => f.write_str("a model name must not contain '@', which separates a key's parts"),
            InvalidKey::SaltHas(found) => write!(f, "a cache salt must not contain {found:?}"),
            InvalidKey::SaltTooLong { chars } => {
                write!(
                    f,
                    "a cache salt has at most {SALT_MAX_CHARS} characters, this one has {chars}"
                )
            }
        }
    }
}

impl ObjectKey {
    pub fn new(
        chunk_hash: ChunkHash,
        model_name: impl Into<Cow<'static, str>>,
        kv_rank: u64,
        object_group_id: u32,
        cache_salt: impl Into<Cow<'static, str>>,
    ) -> Result<ObjectKey, InvalidKey> {
        let model_name = model_name.into();
        let cache_salt = cache_salt.into();
        if model_name.contains('@') {
            return Err(InvalidKey::ModelHasAt);
        }
        if let Some(found) = cache_salt
            .chars()
            .find(|character| matches!(character, '@' | '/' | '\\' | '\0'))
        {
            return Err(InvalidKey::SaltHas(found));
        }
        let chars = cache_salt.chars().count();
        if chars > SALT_MAX_CHARS {
            return Err(InvalidKey::SaltTooLong { chars });
        }
        Ok(ObjectKey {
            chunk_hash,
            model_name,
            kv_rank,
            object_group_id,
            cache_salt,
        })
    }

    pub fn chunk_hash(&self) -> ChunkHash {
        self.chunk_hash
    }

    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    pub fn kv_rank(&self) -> u64 {
        self.kv_rank
    }

    pub fn object_group_id(&self) -> u32 {
        self.object_group_id
    }

    pub fn cache_salt(&self) -> &str {
        &self.cache_salt
    }

    /// Form F, the file name of `fs` and `fs_native`.
    pub fn file_name(&self) -> String {
        let mut name = String::new();
        self.push_file_name(&mut name);
        name
    }

    /// Appends form F, so that one buffer can be reused for many keys.
    pub fn push_file_name(&self, out: &mut String) {
        for (part, text) in self.model_name.split('/').enumerate() {
            if part > 0 {
                out.push_str(SLASH_IN_FILE_NAMES);
            }
            out.push_str(text);
        }
        out.push_str("@0x");
        self.push_rest(out);
        out.push_str(FILE_SUFFIX);
    }

    /// Form W, the name in resp, valkey, s3 and the native connectors.
    pub fn wire_name(&self) -> String {
        let mut name = format!("{}@", self.model_name);
        self.push_rest(&mut name);
        name
    }

    /// Appends form R, the key of `raw_block`'s index: everything in the model but letters, digits and `_.-~` is
    /// percent-encoded.
    pub fn push_raw_name(&self, out: &mut String) {
        for byte in self.model_name.bytes() {
            if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out.push_str("@0x");
        self.push_rest(out);
    }

    /// Appends form N, the file name of `nixl_store_dynamic`.
    pub fn push_nixl_name(&self, out: &mut String) {
        out.push_str(&self.model_name.replace('/', "--"));
        out.push('_');
        push_hex_number(out, self.kv_rank, 8);
        out.push('_');
        push_hex_number(out, self.object_group_id.into(), 1);
        out.push('_');
        push_hex(out, self.chunk_hash.as_bytes());
        if !self.cache_salt.is_empty() {
            out.push('@');
            out.push_str(&self.cache_salt);
        }
        out.push_str(".bin");
    }

    /// Appends `aa/bb/` for a hash that begins with these two bytes, the directories of sharded form N.
    pub fn push_shard_directories(&self, out: &mut String) {
        for byte in self.chunk_hash.as_bytes().iter().take(2) {
            push_hex(out, &[*byte]);
            out.push('/');
        }
    }

    /// What `fault_inject` hashes: the seed and the parts of the key as Python prints them.
    pub fn fault_identity(&self, seed: &str) -> String {
        let mut identity = format!("{seed}:");
        push_hex(&mut identity, self.chunk_hash.as_bytes());
        let (model, salt) = (&self.model_name, &self.cache_salt);
        identity.push_str(&format!(":{model}:{}:{}:{salt}", self.kv_rank, self.object_group_id));
        identity
    }

    /// The common part of forms F, W and R: rank, group, hash and salt.
    fn push_rest(&self, out: &mut String) {
        push_hex_number(out, self.kv_rank, 8);
        out.push('@');
        push_hex_number(out, self.object_group_id.into(), 1);
        out.push('@');
        push_hex(out, self.chunk_hash.as_bytes());
        if !self.cache_salt.is_empty() {
            out.push('@');
            out.push_str(&self.cache_salt);
        }
    }

    /// The key of an object file; `None` for other files.
    ///
    /// A model name that really contains `-SEP-` comes back with slashes: form F cannot tell them apart.
    pub fn from_file_name(name: &str) -> Option<ObjectKey> {
        let mut parts = name.strip_suffix(FILE_SUFFIX)?.split('@');
        let model_name = parts.next()?.replace(SLASH_IN_FILE_NAMES, "/");
        let kv_rank = u64::from_str_radix(parts.next()?.strip_prefix("0x")?, 16).ok()?;
        let object_group_id = u32::from_str_radix(parts.next()?, 16).ok()?;
        let chunk_hash = ChunkHash::new(&hex_bytes(parts.next()?)?)?;
        let cache_salt = parts.next().unwrap_or_default().to_owned();
        let key = ObjectKey::new(chunk_hash, model_name, kv_rank, object_group_id, cache_salt).ok()?;
        // Signs, capitals, other widths and further parts would parse, but no store writes them.
        (parts.next().is_none() && key.file_name() == name).then_some(key)
    }
}

/// The key of the benchmark's object number `index`, the same as the reference's.
pub fn bench_key(index: u64) -> ObjectKey {
    let chunk_hash = ChunkHash::new(&u128::from(index).to_be_bytes()).expect("16 bytes are a chunk hash");
    ObjectKey {
        chunk_hash,
        model_name: Cow::Borrowed(BENCH_MODEL),
        kv_rank: index,
        object_group_id: 0,
        cache_salt: Cow::Borrowed(""),
    }
}

fn push_hex_digit(out: &mut String, digit: u8) {
    out.push(char::from(b"0123456789abcdef"[usize::from(digit & 15)]));
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        push_hex_digit(out, byte >> 4);
        push_hex_digit(out, *byte);
    }
}

fn push_hex_number(out: &mut String, number: u64, min_digits: u32) {
    let needed = (u64::BITS - number.leading_zeros()).div_ceil(4);
    for digit in (0..needed.max(min_digits)).rev() {
        push_hex_digit(out, (number >> (4 * digit)) as u8);
    }
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(&pair[0])? << 4 | digit(pair.get(1)?)?).ok();
    hex.as_bytes().chunks(2).map(pair).collect()
}

/// Which keys each round stores, loads and looks up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyPlan {
    num_keys: u64,
    in_flight: u64,
    rounds: u64,
    warmup_rounds: u64,
    hit_rate: f64,
}

/// The keys of one lookup round: hits first, then keys that are not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupIndices {
    pub hits: Range<u64>,
    pub misses: Range<u64>,
}

impl LookupIndices {
    /// The key at a position of the round, below `keys_per_round`.
    pub fn index(&self, position: u64) -> u64 {
        let hits = self.hits.end - self.hits.start;
        match position.checked_sub(hits) {
            None => self.hits.start + position,
            Some(position) => self.misses.start + position,
        }
    }
}

impl KeyPlan {
    /// `hit_rate` is clamped to 0..=1.
    pub fn new(
        num_keys: u64,
        in_flight: u64,
        rounds: u64,
        warmup_rounds: u64,
        hit_rate: f64,
    ) -> Result<KeyPlan, Error> {
        let total = rounds
            .checked_add(warmup_rounds)
            .and_then(|rounds| rounds.checked_mul(num_keys))
            .and_then(|keys| keys.checked_mul(in_flight));
        // Lookup misses use as many numbers again.
        if total.and_then(|keys| keys.checked_mul(2)).is_none() {
            return Err(Error::Usage(format!(
                "--num-keys {num_keys} x --in-flight {in_flight} x (--warmup-rounds {warmup_rounds} + --rounds \
                 {rounds}) is more keys than can be numbered; lower one of them"
            )));
        }
        Ok(KeyPlan {
            num_keys,
            in_flight,
            rounds,
            warmup_rounds,
            hit_rate: hit_rate.clamp(0.0, 1.0),
        })
    }

    /// Keys of one submit.
    pub fn num_keys(&self) -> u64 {
        self.num_keys
    }

    /// Submits of one round.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub fn keys_per_round(&self) -> u64 {
        self.in_flight * self.num_keys
    }

    /// Warm-up rounds come first.
    pub fn total_rounds(&self) -> u64 {
        self.warmup_rounds + self.rounds
    }

    /// The keys of a round's stores and loads; its submits take `num_keys` each, in order.
    pub fn store_range(&self, round: u64) -> Range<u64> {
        self.run(0, round, self.keys_per_round())
    }

    /// Lookups of one round that can hit.
    pub fn per_round_hits(&self) -> u64 {
        (self.keys_per_round() as f64 * self.hit_rate) as u64
    }

    /// The keys of a round's lookups; its submits take `num_keys` each, in order, so one may have both hits and misses.
    pub fn lookup_indices(&self, round: u64) -> LookupIndices {
        let hits = self.per_round_hits();
        let stored = self.total_rounds() * self.keys_per_round();
        LookupIndices {
            hits: self.run(0, round, hits),
            misses: self.run(stored, round, self.keys_per_round() - hits),
        }
    }

    fn run(&self, base: u64, round: u64, len: u64) -> Range<u64> {
        debug_assert!(round < self.total_rounds(), "round {round} is past the last one");
        base + round * len..base + (round + 1) * len
    }
}

#[cfg(test)]
mod tests;
