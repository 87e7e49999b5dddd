//! The value of `--kv-tiers`: `off`, or sizes and units of tiers by key.

use super::{L2, UNIT_TOKENS_MAX};
use crate::units::{GIB, KIB, MIB, decimal};

/// What `--kv-tiers` says; a key that is not there leaves the servers' value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TierFlags {
    /// No hits are expected.
    pub off: bool,
    pub hbm: Option<HbmSize>,
    pub l1_bytes: Option<u64>,
    pub l2: Option<L2>,
    pub block_tokens: Option<u64>,
    pub chunk_tokens: Option<u64>,
    pub watermark: Option<f64>,
    pub ratio: Option<f64>,
}

/// What the engine's own cache can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HbmSize {
    Bytes(u64),
    /// Blocks that hold tokens, without the null block.
    Blocks(u64),
    Tokens(u64),
}

impl HbmSize {
    /// In tokens of whole blocks, where the units are known.
    pub fn tokens(self, block_tokens: Option<u64>, bytes_per_token: Option<u64>) -> Option<u64> {
        let whole = |tokens: u64| tokens - tokens.checked_rem(block_tokens.unwrap_or(1)).unwrap_or(0);
        match self {
            HbmSize::Bytes(bytes) => bytes.checked_div(bytes_per_token?).map(whole),
            HbmSize::Blocks(blocks) => blocks.checked_mul(block_tokens?),
            HbmSize::Tokens(tokens) => Some(whole(tokens)),
        }
    }
}

const KEYS: &str = "hbm, l1, l2, block, chunk, watermark, ratio";
/// A tier of a PiB is a typing error.
const BYTES_MAX: f64 = (1_u64 << 50) as f64;
const TOKENS_MAX: u64 = 1 << 40;

impl TierFlags {
    /// Reads the value. An error is a sentence that names the key.
    pub fn parse(text: &str) -> Result<TierFlags, String> {
        let mut flags = TierFlags::default();
        if text.trim() == "off" {
            flags.off = true;
            return Ok(flags);
        }
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!(
                    "{part:?} is no KEY=VALUE; write off, or for example hbm=20GB,l1=100GB,l2=none"
                ));
            };
            let (key, value) = (key.trim(), value.trim());
            if seen.contains(&key) {
                return Err(format!("{key} is there twice"));
            }
            seen.push(key);
            flags.set(key, value)?;
        }
        Ok(flags)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "hbm" => self.hbm = Some(hbm(value)?),
            "l1" => self.l1_bytes = Some(bytes(value).ok_or_else(|| no_size(key, value, ""))?),
            "l2" => self.l2 = Some(l2(value)?),
            "block" => self.block_tokens = Some(unit(key, value)?),
            "chunk" => self.chunk_tokens = Some(unit(key, value)?),
            "watermark" => self.watermark = Some(share(key, value)?),
            "ratio" => self.ratio = Some(share(key, value)?),
            _ => return Err(format!("{key:?} is no key; these are: {KEYS}")),
        }
        Ok(())
    }
}

fn no_size(key: &str, value: &str, or: &str) -> String {
    format!("{key}={value} is no size; write a number with MB, GB or TB{or}, for example {key}=20GB")
}

fn hbm(value: &str) -> Result<HbmSize, String> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count = || {
        let count = decimal::<u64>(number.trim_end()).filter(|count| (1..=TOKENS_MAX).contains(count));
        count.ok_or_else(|| format!("hbm={value} is no count; write for example hbm=1000blocks or hbm=16000tokens"))
    };
    match &value[number.len()..] {
        "block" | "blocks" => Ok(HbmSize::Blocks(count()?)),
        "token" | "tokens" => Ok(HbmSize::Tokens(count()?)),
        _ => {
            let bytes = bytes(value).ok_or_else(|| no_size("hbm", value, ", blocks or tokens"))?;
            Ok(HbmSize::Bytes(bytes))
        }
    }
}

fn l2(value: &str) -> Result<L2, String> {
    match value {
        "none" => Ok(L2::None),
        "unlimited" => Ok(L2::NoLimit),
        _ => {
            let bytes = bytes(value).ok_or_else(|| no_size("l2", value, ", none or unlimited"))?;
            Ok(L2::Bytes(bytes))
        }
    }
}

/// A number with a unit, or of GB, each a power of two as in LMCache.
fn bytes(value: &str) -> Option<u64> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match value[number.len()..].to_ascii_lowercase().as_str() {
        "" | "g" | "gb" | "gib" => GIB,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "t" | "tb" | "tib" => GIB << 10,
        _ => return None,
    };
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = is_plain.then(|| number.trim_end().parse().ok()).flatten()?;
    let bytes = number * scale as f64;
    (1.0..=BYTES_MAX).contains(&bytes).then_some(bytes as u64)
}

fn unit(key: &str, value: &str) -> Result<u64, String> {
    let tokens = decimal::<u64>(value).filter(|tokens| (1..=UNIT_TOKENS_MAX).contains(tokens));
    tokens.ok_or_else(|| format!("{key}={value} is no number of tokens; write for example {key}=256"))
}

fn share(key: &str, value: &str) -> Result<f64, String> {
    let share = value.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| {
        format!("{key}={value} is no share; write a number above 0 and at most 1, for example {key}=0.8")
    })
}
