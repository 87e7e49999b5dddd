//! Checkpoints as LMCache writes and reads them: a header block, and JSON behind it. Bytes in, values out; it opens nothing.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::geometry::Geometry;
use super::index::{Entry, Index};

pub const HEADER_BYTES: usize = 32;

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
    let described = |entry: &Entry| {
        entry.described.clone().unwrap_or_else(|| {
            let plain =
                json!({"shape": [entry.object_bytes], "dtype": "uint8", "fmt": "KV_2LTD", "cached_positions": null});
            plain.as_object().cloned().unwrap_or_default()
        })
    };
    let entries: Map<String, Value> = index
        .entries()
        .into_iter()
        .map(|(name, entry)| {
            let mut fields = Map::new();
            fields.insert("offset".to_owned(), geometry.slot_offset(entry.slot).into());
            fields.insert("size".to_owned(), entry.object_bytes.into());
            fields.extend(described(entry));
            (name.clone(), Value::Object(fields))
        })
        .collect();
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
        "entries": entries,
    });
    ascii(&state.to_string())
}

fn magic_text(geometry: &Geometry) -> String {
    geometry.magic.iter().map(|&byte| char::from(byte)).collect()
}

/// Escapes what Python's `ensure_ascii` escapes. Such characters occur in strings only.
fn ascii(json: &str) -> Vec<u8> {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character < '\x7f' {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a string");
            }
        }
    }
    out.into_bytes()
}

/// What a checkpoint brings back.
pub struct Recovered {
    pub index: Index,
    /// Entries that name no slot, one that was never given out, one that another entry names too, or an impossible size.
    pub impossible: u64,
}

/// Reads a checkpoint's JSON, or says why it is not one of this device and layout.
pub fn parse(geometry: &Geometry, payload: &[u8]) -> Result<Recovered, String> {
    let state: Value = serde_json::from_slice(payload).map_err(|error| format!("it is not JSON: {error}"))?;
    let state = state.as_object().ok_or("it is not a JSON object")?;
    if state.get("version").and_then(Value::as_u64) != Some(1) {
        return Err("its version is not 1".to_owned());
    }
    match state.get("device_path").and_then(Value::as_str) {
        Some(path) if !path.is_empty() && path != geometry.device_path => {
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
            return Err(format!("its {name} is {found}, not {expected}"));
        }
    }
    if let Some(found) = state.get("meta_magic")
        && found.as_str() != Some(&magic_text(geometry))
    {
        return Err(format!("its meta_magic is {found}"));
    }
    let next_slot = state.get("next_slot").map_or(Some(0), Value::as_u64);
    let next_slot = next_slot.filter(|next| *next <= geometry.max_slots);
    let next_slot = next_slot.ok_or_else(|| format!("its next_slot is not 0 to {}", geometry.max_slots))?;
    let named = state.get("entries").and_then(Value::as_object);
    let mut entries = HashMap::new();
    let mut users: HashMap<u64, u32> = HashMap::new();
    for (name, fields) in named.into_iter().flatten() {
        // LMCache keeps entries from next_slot on, and overwrites their slots with the next stores.
        if let Some(entry) = entry(geometry, fields).filter(|entry| entry.slot < next_slot) {
            *users.entry(entry.slot).or_default() += 1;
            entries.insert(name.clone(), entry);
        }
    }
    entries.retain(|_, entry| users[&entry.slot] == 1);
    let impossible = (named.map_or(0, Map::len) - entries.len()) as u64;
    Ok(Recovered {
        index: Index::recovered(geometry.max_slots, next_slot, entries),
        impossible,
    })
}

fn entry(geometry: &Geometry, fields: &Value) -> Option<Entry> {
    let slot = geometry.slot_at(fields.get("offset")?.as_u64()?)?;
    let object_bytes = fields.get("size")?.as_u64()?;
    if !(1..=geometry.object_bytes_max()).contains(&object_bytes) {
        return None;
    }
    let described = ["shape", "dtype", "fmt", "cached_positions"]
        .map(|name| (name.to_owned(), fields.get(name).cloned().unwrap_or_default()));
    Some(Entry {
        slot,
        object_bytes,
        described: Some(described.into_iter().collect()),
        locks: 0,
    })
}

#[cfg(test)]
mod tests;
