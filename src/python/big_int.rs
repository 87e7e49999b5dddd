//! A whole number of any size, like Python's `int`, for seeds: parsing, printing and adding a small number.

use std::fmt;

use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use super::number::int_parts;

/// The longest text that Python's `int()` accepts (`sys.int_info.default_max_str_digits`).
const DIGITS_MAX: usize = 4300;
/// Decimal digits that are read and printed at a time.
const CHUNK_DIGITS: usize = 9;
const CHUNK: u64 = 1_000_000_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInt {
    negative: bool,
    /// Absolute value in 32-bit words, least significant first, without leading zeros; empty for 0.
    magnitude: Vec<u32>,
}

impl BigInt {
    /// Python's `int(text)`.
    pub fn parse(text: &str) -> Result<BigInt, String> {
        let (sign, digits) = int_parts(text)?;
        if digits.len() > DIGITS_MAX {
            let count = digits.len();
            return Err(format!(
                "the number has {count} digits; give one of at most {DIGITS_MAX}"
            ));
        }
        let mut magnitude = Vec::new();
        let mut rest = digits.as_str();
        while !rest.is_empty() {
            // The first chunk takes the odd digits, so that all others are full.
            let (chunk, after) = rest.split_at((rest.len() - 1) % CHUNK_DIGITS + 1);
            let chunk = chunk.parse().expect("at most nine decimal digits");
            multiply_add(&mut magnitude, CHUNK, chunk);
            rest = after;
        }
        Ok(BigInt::new(sign == "-", magnitude))
    }

    fn new(negative: bool, mut magnitude: Vec<u32>) -> BigInt {
        while magnitude.last() == Some(&0) {
            magnitude.pop();
        }
        BigInt {
            negative: negative && !magnitude.is_empty(),
            magnitude,
        }
    }

    /// `int.from_bytes(bytes, "big")`.
    pub fn from_bytes(bytes: &[u8]) -> BigInt {
        let word = |chunk: &[u8]| chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        BigInt::new(false, bytes.rchunks(4).map(word).collect())
    }

    /// The absolute value in 32-bit words, least significant first; empty for 0.
    pub fn magnitude(&self) -> &[u32] {
        &self.magnitude
    }

    pub fn plus(&self, other: u64) -> BigInt {
        let mut magnitude = self.magnitude.clone();
        if !self.negative {
            multiply_add(&mut magnitude, 1, other);
            return BigInt::new(false, magnitude);
        }
        let small = low_word(&magnitude);
        match small {
            // The sum is zero or positive.
            Some(value) if value <= other => BigInt::new(false, words(other - value)),
            _ => {
                subtract(&mut magnitude, other);
                BigInt::new(true, magnitude)
            }
        }
    }
}

impl From<i64> for BigInt {
    fn from(value: i64) -> BigInt {
        BigInt::new(value < 0, words(value.unsigned_abs()))
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.magnitude.clone();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let mut remainder = 0u64;
            for word in rest.iter_mut().rev() {
                let value = (remainder << 32) | u64::from(*word);
                *word = u32::try_from(value / CHUNK).expect("the remainder is below the divisor");
                remainder = value % CHUNK;
            }
            chunks.push(remainder);
            while rest.last() == Some(&0) {
                rest.pop();
            }
        }
        if self.negative {
            f.write_str("-")?;
        }
        write!(f, "{}", chunks.pop().unwrap_or(0))?;
        chunks.iter().rev().try_for_each(|chunk| write!(f, "{chunk:09}"))
    }
}

/// As a JSON number with all its digits, as Python writes it.
impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = RawValue::from_string(self.to_string()).map_err(S::Error::custom)?;
        digits.serialize(serializer)
    }
}

fn words(value: u64) -> Vec<u32> {
    vec![value as u32, (value >> 32) as u32]
}

/// The value, if it fits 64 bits.
fn low_word(magnitude: &[u32]) -> Option<u64> {
    match magnitude {
        [] => Some(0),
        [low] => Some(u64::from(*low)),
        [low, high] => Some(u64::from(*low) | (u64::from(*high) << 32)),
        _ => None,
    }
}

/// `magnitude = magnitude * factor + addend`.
fn multiply_add(magnitude: &mut Vec<u32>, factor: u64, addend: u64) {
    let mut carry = u128::from(addend);
    for word in magnitude.iter_mut() {
        let value = u128::from(*word) * u128::from(factor) + carry;
        *word = value as u32;
        carry = value >> 32;
    }
    while carry > 0 {
        magnitude.push(carry as u32);
        carry >>= 32;
    }
}

/// `magnitude -= other`; `other` is smaller.
fn subtract(magnitude: &mut [u32], other: u64) {
    let mut borrow = 0i64;
    for (word, part) in magnitude
        .iter_mut()
        .zip(words(other).into_iter().chain(std::iter::repeat(0)))
    {
        let value = i64::from(*word) - i64::from(part) - borrow;
        borrow = i64::from(value < 0);
        *word = value as u32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_numbers_round_trip() {
        for text in [
            "0",
            "42",
            "-42",
            "18446744073709551629",
            "-123456789012345678901234567890",
            "1000000000000000000000000000",
        ] {
            let number = BigInt::parse(text).unwrap();
            assert_eq!(number.to_string(), text);
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
        assert_eq!(BigInt::parse(" -0_0 ").unwrap(), BigInt::default());
        assert_eq!(BigInt::parse("4294967296").unwrap().magnitude(), [0, 1]);
        assert_eq!(
            BigInt::from_bytes(&[0, 0, 0, 1, 0, 0, 0, 2, 3]).to_string(),
            "1099511628291"
        );
        assert_eq!(BigInt::from_bytes(&[]), BigInt::default());
        assert!(BigInt::parse("1e3").is_err());
        assert!(BigInt::parse(&"9".repeat(4300)).is_ok());
        assert!(BigInt::parse(&"9".repeat(4301)).unwrap_err().contains("4301 digits"));
    }

    #[test]
    fn sums_borrow_and_cross_zero() {
        for (text, plus, sum) in [
            ("-18446744073709551616", 1, "-18446744073709551615"),
            ("-5", 5, "0"),
            ("-5", 7, "2"),
            ("4294967295", 1, "4294967296"),
            ("18446744073709551615", 2, "18446744073709551617"),
        ] {
            assert_eq!(
                BigInt::parse(text).unwrap().plus(plus).to_string(),
                sum,
                "{text} + {plus}"
            );
        }
    }

    proptest! {
        #[test]
        fn sums_agree_with_128_bit_arithmetic(value: i128, plus: u64) {
            let value = value / 2;
            let sum = BigInt::parse(&value.to_string()).unwrap().plus(plus);
            prop_assert_eq!(sum.to_string(), (value + i128::from(plus)).to_string());
        }
    }
}
