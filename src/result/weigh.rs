//! What a JSON text would cost in memory once it is read into a result: a first pass over it that keeps nothing. Many tiny
//! values cost a multiple of their text, so the length of a file alone is no bound.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// A number, a flag or null in a list that has grown by doubling.
const SCALAR_BYTES: usize = 48;
/// A text, a list or an object without what it holds, or a member's place in its object.
const PART_BYTES: usize = 64;

/// Takes away from the bytes that are left; fails when there are none.
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
