//! Floating-point numbers in result files. Numbers that are not finite are null, and null reads as NaN, which every renderer
//! shows as unknown.

use serde::{Serialize, Serializer};

pub fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    Some(*value).filter(|value| value.is_finite()).serialize(out)
}
