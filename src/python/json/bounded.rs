//! JSON values with a bound on the memory that they take: a list of small numbers takes forty times its text. Allocations
//! are counted in the steps in which lists and objects grow.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// One value in a list or an object, without its own allocation.
const VALUE_BYTES: usize = size_of::<Value>();
/// One field of an object: its value, the `String` of its name, a hash, and its index in the hash table.
const FIELD_BYTES: usize = VALUE_BYTES + size_of::<String>() + 8 + 10;
/// A hash table, whatever is in it.
const TABLE_BYTES: usize = 32;

/// Reads one value. The cell holds the bytes that may still be allocated; what the value allocates is subtracted, and a value
/// that needs more is an error.
#[derive(Clone, Copy, Debug)]
pub struct Bounded<'a>(pub &'a Cell<usize>);

impl Bounded<'_> {
    fn pay<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.ok_or_else(|| E::custom("it has too many parts"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.pay(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            if values.len() == values.capacity() {
                // Grows by half instead of doubling: lists of small numbers take the most memory for their text.
                let more = values.len() / 2 + 1;
                self.pay(more * VALUE_BYTES)?;
                values.reserve_exact(more);
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        // The steps in which the map grows by itself: 3, 7, 14, 28 and so on.
        let mut capacity = 0;
        while let Some(key) = object.next_key::<String>()? {
            if fields.len() == capacity {
                let more = match capacity {
                    0 => 3,
                    3 => 4,
                    _ => capacity,
                };
                self.pay(more * FIELD_BYTES + if capacity == 0 { TABLE_BYTES } else { 0 })?;
                capacity += more;
            }
            self.pay(key.len())?;
            fields.insert(key, object.next_value_seed(self)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_until_they_take_too_much_memory() {
        let text = r#"{"a":[1,-2,2.5,"x",null,true],"b":{"c":"\u00e9"}}"#;
        // Seven values in the list, three fields in each object, and the texts.
        let costs = 7 * VALUE_BYTES + 2 * (3 * FIELD_BYTES + TABLE_BYTES) + 3 + 3;
        for (bytes_max, fits) in [(costs + 1, true), (costs, true), (costs - 1, false), (0, false)] {
            let left = Cell::new(bytes_max);
            let read = Bounded(&left).deserialize(&mut serde_json::Deserializer::from_str(text));
            match fits {
                true => {
                    assert_eq!(read.unwrap(), serde_json::from_str::<Value>(text).unwrap());
                    assert_eq!(left.get(), bytes_max - costs);
                }
                false => assert!(read.unwrap_err().to_string().contains("too many parts")),
            }
        }
    }
}
