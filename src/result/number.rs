//! Floating-point numbers in a result file: as they are, and null where JSON has no form for one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    Some(*value).filter(|value| value.is_finite()).serialize(out)
}

/// Null reads as NaN, which every renderer shows as not known.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Option::deserialize(from).map(|value| value.unwrap_or(f64::NAN))
}
