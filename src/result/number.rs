//! Floating-point numbers in a result file: as they are, and null where JSON has no form for one. Null reads as NaN, which
//! every renderer shows as not known.

use serde::{Serialize, Serializer};

pub fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    Some(*value).filter(|value| value.is_finite()).serialize(out)
}
