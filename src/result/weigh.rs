//! Estimates the memory that the samples of a JSON text take once they are read, in a first pass that stores nothing. Many tiny
//! values take a multiple of their text, so a limit on the file's length is not enough.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::samples::Cell as Sample;

/// A cell or row in a list of samples.
const SAMPLE_BYTES: usize = size_of::<Sample>();
/// The first capacity of a list, which then doubles.
const FIRST_CAPACITY: usize = 4;
/// A table, histogram or column, and its place in its map.
const OBJECT_BYTES: usize = 256;

/// Reads a whole file and subtracts the cost of its samples from the bytes left. Fails when they are used up. The other members
/// are read with a limit of their own.
pub struct WeighFile<'a>(pub &'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for WeighFile<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(Weigh {
            left: self.0,
            is_file: true,
        })
    }
}

/// Any JSON value.
#[derive(Clone, Copy)]
struct Weigh<'a> {
    left: &'a Cell<usize>,
    /// This is the object that is the file.
    is_file: bool,
}

impl Weigh<'_> {
    fn pay<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| E::custom("it has too many parts"))?);
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

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.pay(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = Weigh { is_file: false, ..self };
        let (mut length, mut capacity) = (0_usize, 0);
        while list.next_element_seed(inner)?.is_some() {
            if length == capacity {
                let more = capacity.max(FIRST_CAPACITY);
                self.pay(more * SAMPLE_BYTES)?;
                capacity += more;
            }
            length += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inner = Weigh { is_file: false, ..self };
        if self.is_file {
            while let Some(name) = object.next_key::<String>()? {
                if name == "samples" {
                    object.next_value_seed(inner)?;
                } else {
                    object.next_value::<IgnoredAny>()?;
                }
            }
            return Ok(());
        }
        self.pay(OBJECT_BYTES)?;
        while object.next_key_seed(inner)?.is_some() {
            object.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_paid_for_as_their_lists_grow() {
        // The table, its two names, five rows in a list of eight, and the cells of each in a list of four.
        let costs = 2 * OBJECT_BYTES + 1 + 4 + 8 * SAMPLE_BYTES + 5 * 4 * SAMPLE_BYTES;
        let text = r#"{"title":[{},{},{}],"samples":{"t":{"rows":[[1],[2],[3],[4],[5]]}},"x":1}"#;
        for (bytes_max, left) in [(costs, Some(0)), (costs + 1, Some(1)), (costs - 1, None)] {
            let cell = Cell::new(bytes_max);
            let read = WeighFile(&cell).deserialize(&mut serde_json::Deserializer::from_str(text));
            assert_eq!(read.is_ok().then(|| cell.get()), left);
        }
    }
}
