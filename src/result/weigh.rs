//! Estimates the memory that a JSON text takes once it is read into a result, in a first pass that stores nothing. Many tiny
//! values take a multiple of their text, so a limit on the file's length is not enough.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Memory of a number, a flag or null in a vector that grew by doubling.
const SCALAR_BYTES: usize = 48;
/// Memory of a text, list or object without its content, and of a member's slot in its object.
const PART_BYTES: usize = 64;

/// Deserializes any JSON value and subtracts its cost from the bytes left. Fails when they are used up.
#[derive(Clone, Copy)]
pub struct Weigh<'a>(pub &'a Cell<usize>);

impl Weigh<'_> {
    fn pay<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.ok_or_else(|| E::custom("it has too many parts"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Weigh<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Weigh<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.pay(SCALAR_BYTES)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.pay(SCALAR_BYTES)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.pay(SCALAR_BYTES)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.pay(SCALAR_BYTES)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.pay(SCALAR_BYTES)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.pay(PART_BYTES + text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.pay(PART_BYTES)?;
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        self.pay(PART_BYTES)?;
        while object.next_key_seed(self)?.is_some() {
            object.next_value_seed(self)?;
        }
        Ok(())
    }
}
