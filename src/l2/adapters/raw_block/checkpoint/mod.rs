//! Checkpoints as LMCache writes and reads them: a header block, then JSON.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::geometry::Geometry;
use super::index::{Entry, Index};
use crate::error::shortened;
use crate::python::json::{Bounded, ascii};

pub const HEADER_BYTES: usize = 32;
/// What a checkpoint says about its device and layout.
const FIELDS: [&str; 9] = [
    "version",
    "device_path",
    "block_align",
    "header_bytes",
    "slot_bytes",
    "meta_total_bytes",
    "meta_magic",
    "meta_version",
    "next_slot",
];
/// Each of them is a number or a text, at most a path.
const FIELD_BYTES_MAX: usize = 8 << 10;
/// In memory: six values, and lists of a dimension or a position each.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Of what a checkpoint says, in a sentence.
const PATH_CHARS_MAX: usize = 200;

/// What a valid header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub sequence: u64,
    pub payload_bytes: u64,
    pub crc: u32,
}

/// Why a container holds no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Nothing was ever written there.
    Empty,
    Damaged(String),
}

/// CRC-32/IEEE, as in zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize];
    !bytes.iter().fold(!0, step)
}

impl Header {
    pub fn write(&self, geometry: &Geometry, block: &mut [u8]) {
        block[..8].copy_from_slice(&geometry.magic);
        block[8..12].copy_from_slice(&geometry.version.to_le_bytes());
        block[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        block[20..28].copy_from_slice(&self.payload_bytes.to_le_bytes());
        block[28..32].copy_from_slice(&self.crc.to_le_bytes());
    }

    pub fn read(geometry: &Geometry, block: &[u8]) -> Result<Header, Invalid> {
        let Some(fields) = block.first_chunk::<HEADER_BYTES>() else {
            return Err(Invalid::Damaged("its header is cut short".to_owned()));
        };
        if fields.iter().all(|&byte| byte == 0) {
            return Err(Invalid::Empty);
        }
        let damaged = |why: &str| Err(Invalid::Damaged(why.to_owned()));
        if fields[..8] != geometry.magic {
            return damaged("it does not begin with meta_magic");
        }
        let u32_at = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(fields[at..at + 8].try_into().expect("8 bytes"));
        if u32_at(8) != geometry.version {
            return damaged("it has another meta_version");
        }
        let header = Header {
            sequence: u64_at(12),
            payload_bytes: u64_at(20),
            crc: u32_at(28),
        };
        if header.payload_bytes == 0 || header.payload_bytes > geometry.checkpoint_bytes_max() {
            return damaged("its length is impossible");
        }
        // The checksum does not cover the header, and no checkpoint could follow this one.
        if header.sequence == u64::MAX {
            return damaged("its sequence number is impossible");
        }
        Ok(header)
    }

    pub fn check(&self, payload: &[u8]) -> Result<(), Invalid> {
        if crc32(payload) == self.crc {
            Ok(())
        } else {
            Err(Invalid::Damaged("its checksum does not match".to_owned()))
        }
    }
}

/// The JSON of a checkpoint, to the byte: keys in LMCache's order, no blanks, ASCII only.
pub fn render(geometry: &Geometry, index: &Index) -> Vec<u8> {
    let state = json!({
        "version": 1,
        "device_path": geometry.device_path,
        "capacity_bytes": geometry.capacity_bytes,
        "block_align": geometry.block_align,
        "header_bytes": geometry.header_bytes,
        "slot_bytes": geometry.slot_bytes,
        "meta_total_bytes": geometry.meta_total_bytes,
        "meta_magic": magic_text(geometry),
        "meta_version": geometry.version,
        "data_base_offset": geometry.meta_total_bytes,
        "next_slot": index.next_slot(),
    });
    let mut text = state.to_string();
    text.pop();
    text.push_str(",\"entries\":{");
    for (place, (name, entry)) in index.entries().into_iter().enumerate() {
        let (comma, name) = (if place > 0 { "," } else { "" }, json!(name));
        let (offset, size) = (geometry.slot_offset(entry.slot), entry.object_bytes);
        write!(text, "{comma}{name}:{{\"offset\":{offset},\"size\":{size},").expect("writing to a string");
        match &entry.described {
            Some(described) => text.push_str(described),
            None => write!(
                text,
                "\"shape\":[{size}],\"dtype\":\"uint8\",\"fmt\":\"KV_2LTD\",\"cached_positions\":null"
            )
            .expect("writing to a string"),
        }
        text.push('}');
    }
    text.push_str("}}");
    ascii(&text).into_owned().into_bytes()
}

fn magic_text(geometry: &Geometry) -> String {
    geometry.magic.iter().map(|&byte| char::from(byte)).collect()
}

/// The contents of a checkpoint.
pub struct Recovered {
    pub index: Index,
    /// Entries without a slot, with a slot that was never assigned or that another entry names too, or with an impossible size.
    pub impossible: u64,
}

/// Reads a checkpoint's JSON, or says why it is not one of this device and layout.
pub fn parse(geometry: &Geometry, payload: &[u8]) -> Result<Recovered, String> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let read = reader.deserialize_any(StateVisitor(geometry));
    let State {
        fields: state,
        mut entries,
        named,
    } = read
        .and_then(|state| reader.end().map(|()| state))
        .map_err(|error| format!("it is not the JSON of a checkpoint: {error}"))?;
    if state.get("version").and_then(Value::as_u64) != Some(1) {
        return Err("its version is not 1".to_owned());
    }
    match state.get("device_path").and_then(Value::as_str) {
        Some(path) if !path.is_empty() && path != geometry.device_path => {
            let path = shortened(path, PATH_CHARS_MAX);
            return Err(format!("it is of device_path '{path}'"));
        }
        _ => {}
    }
    let numbers = [
        ("block_align", geometry.block_align),
        ("header_bytes", geometry.header_bytes),
        ("slot_bytes", geometry.slot_bytes),
        ("meta_total_bytes", geometry.meta_total_bytes),
        ("meta_version", geometry.version.into()),
    ];
    for (name, expected) in numbers {
        if let Some(found) = state.get(name)
            && found.as_u64() != Some(expected)
        {
            let found = found.to_string();
            let found = shortened(&found, PATH_CHARS_MAX);
            return Err(format!("its {name} is {found}, not {expected}"));
        }
    }
    if let Some(found) = state.get("meta_magic")
        && found.as_str() != Some(&magic_text(geometry))
    {
        let found = found.to_string();
        return Err(format!("its meta_magic is {}", shortened(&found, PATH_CHARS_MAX)));
    }
    let next_slot = state.get("next_slot").map_or(Some(0), Value::as_u64);
    let next_slot = next_slot.filter(|next| *next <= geometry.max_slots);
    let next_slot = next_slot.ok_or_else(|| format!("its next_slot is not 0 to {}", geometry.max_slots))?;
    // LMCache keeps entries from next_slot on, and overwrites their slots with the next stores.
    entries.retain(|_, entry| entry.slot < next_slot);
    let mut slots: Vec<u64> = entries.values().map(|entry| entry.slot).collect();
    slots.sort_unstable();
    let shared: HashSet<u64> = slots
        .windows(2)
        .filter(|two| two[0] == two[1])
        .map(|two| two[0])
        .collect();
    entries.retain(|_, entry| !shared.contains(&entry.slot));
    let impossible = named - entries.len() as u64;
    Ok(Recovered {
        index: Index::recovered(geometry.max_slots, next_slot, entries),
        impossible,
    })
}

/// A text in place of an object. Errors of serde quote the text, in which control characters take six bytes each.
fn no_object<E: Error>() -> E {
    E::custom("a text stands in place of an object")
}

/// What is kept of a checkpoint's JSON.
struct State {
    fields: Map<String, Value>,
    entries: HashMap<String, Entry>,
    /// Entries in the text, invalid ones included.
    named: u64,
}

struct StateVisitor<'a>(&'a Geometry);

impl<'de> Visitor<'de> for StateVisitor<'_> {
    type Value = State;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<State, E> {
        Err(no_object())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<State, A::Error> {
        let mut state = State {
            fields: Map::new(),
            entries: HashMap::new(),
            named: 0,
        };
        while let Some(name) = object.next_key::<String>()? {
            if name == "entries" {
                (state.entries, state.named) = object.next_value_seed(Entries(self.0))?;
            } else if FIELDS.contains(&name.as_str()) {
                state
                    .fields
                    .insert(name, object.next_value_seed(Bounded(&Cell::new(FIELD_BYTES_MAX)))?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(state)
    }
}

/// Reads entries one after the other; each is kept in a form that is not larger than its text.
struct Entries<'a>(&'a Geometry);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = (HashMap<String, Entry>, u64);

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = (HashMap<String, Entry>, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of entries")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(no_object())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut entries, mut named) = (HashMap::new(), 0);
        while let Some(name) = object.next_key::<String>()? {
            named += 1;
            let fields = object.next_value_seed(Bounded(&Cell::new(ENTRY_BYTES_MAX)))?;
            // Of two with one name the last one counts.
            entries.remove(&name);
            entries.extend(entry(self.0, &fields).map(|entry| (name, entry)));
        }
        Ok((entries, named))
    }
}

fn entry(geometry: &Geometry, fields: &Value) -> Option<Entry> {
    let slot = geometry.slot_at(fields.get("offset")?.as_u64()?)?;
    let object_bytes = fields.get("size")?.as_u64()?;
    if !(1..=geometry.object_bytes_max()).contains(&object_bytes) {
        return None;
    }
    let described = ["shape", "dtype", "fmt", "cached_positions"].map(|name| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        format!("\"{name}\":{value}")
    });
    Some(Entry {
        slot,
        object_bytes,
        described: Some(described.join(",").into()),
        locks: 0,
    })
}

#[cfg(test)]
mod tests;
