//! Recovery when a device is opened: the newest valid checkpoint, checked against the slot headers. Nothing is written.

use super::checkpoint::{self, Header, Invalid};
use super::device::{Device, buffer};
use super::geometry::{Geometry, slot_header_matches};
use super::index::Index;
use crate::l2::blake2b;
use crate::l2::warning::{RecoveryWarning, Warning};
use crate::sys::parallel;

/// As many threads as LMCache's: one header at a time leaves most of a device idle.
const VERIFY_THREADS: usize = 8;

const PIECE_BYTES: u64 = 1 << 20;

/// The index to start with.
pub struct Recovery {
    pub index: Index,
    /// Of the checkpoint it came from; the next one gets the number after it.
    pub sequence: u64,
    /// Whether entries were dropped, so that a new checkpoint is due.
    pub dropped: bool,
}

impl Recovery {
    pub fn empty(geometry: &Geometry) -> Recovery {
        Recovery {
            index: Index::new(geometry.max_slots),
            sequence: 0,
            dropped: false,
        }
    }
}

pub fn recover(
    device: &Device,
    geometry: &Geometry,
    verify: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Recovery, String> {
    let path = &geometry.device_path;
    let mut ignored = |reason: String| {
        let path = path.clone();
        warnings.push(Warning::Recovery(RecoveryWarning::CheckpointIgnored { path, reason }));
    };
    let mut newest: Option<(Header, Vec<u8>)> = None;
    for (number, offset) in geometry.containers().into_iter().enumerate() {
        match read_container(device, geometry, offset)? {
            Ok((header, _))
                if newest
                    .as_ref()
                    .is_some_and(|(best, _)| best.sequence >= header.sequence) => {}
            Ok(found) => newest = Some(found),
            Err(Invalid::Empty) => {}
            Err(Invalid::Damaged(why)) => ignored(format!("checkpoint {number} is damaged: {why}")),
        }
    }
    let Some((header, payload)) = newest else {
        return Ok(Recovery::empty(geometry));
    };
    let mut recovered = match checkpoint::parse(geometry, &payload) {
        Ok(recovered) => recovered,
        Err(why) => {
            ignored(format!("the newest checkpoint does not fit this spec: {why}"));
            return Ok(Recovery::empty(geometry));
        }
    };
    let stale = if verify {
        stale_entries(device, geometry, &recovered.index)
    } else {
        Vec::new()
    };
    for name in &stale {
        recovered.index.forget(name);
    }
    let (impossible, stale) = (recovered.impossible, stale.len() as u64);
    if impossible + stale > 0 {
        let path = path.clone();
        warnings.push(Warning::Recovery(RecoveryWarning::EntriesDropped {
            path,
            impossible,
            stale,
        }));
    }
    Ok(Recovery {
        index: recovered.index,
        sequence: header.sequence,
        dropped: stale > 0,
    })
}

type Container = Result<(Header, Vec<u8>), Invalid>;

/// The outer error is a device that cannot be read: going on could overwrite what it holds.
fn read_container(device: &Device, geometry: &Geometry, offset: u64) -> Result<Container, String> {
    let unreadable = |error: std::io::Error| {
        format!(
            "could not read the checkpoint at byte {offset} of device_path {}: {error}{}",
            geometry.device_path,
            device.advice(&error)
        )
    };
    let block = device
        .read(geometry, offset, geometry.block_align)
        .map_err(unreadable)?;
    let header = match Header::read(geometry, block.bytes()) {
        Ok(header) => header,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let begin = offset + geometry.block_align;
    // The text is read in pieces and given up when it cannot be JSON: the stated length is not trusted.
    let piece_bytes = PIECE_BYTES.next_multiple_of(geometry.block_align);
    let mut payload = Vec::new();
    while (payload.len() as u64) < header.payload_bytes {
        let done = payload.len() as u64;
        let bytes = piece_bytes.min(header.payload_bytes - done);
        let piece = device.read(geometry, begin + done, bytes).map_err(unreadable)?;
        let piece = &piece.bytes()[..usize::try_from(bytes).map_err(|error| error.to_string())?];
        if piece.contains(&0) {
            return Ok(Err(Invalid::Damaged(
                "its text has bytes that JSON never has".to_owned(),
            )));
        }
        payload.extend_from_slice(piece);
    }
    Ok(header.check(&payload).map(|()| (header, payload)))
}

/// Entries whose slot does not hold them, or cannot be read.
fn stale_entries(device: &Device, geometry: &Geometry, index: &Index) -> Vec<String> {
    let entries = index.entries();
    let share = entries.len().div_ceil(VERIFY_THREADS).max(1);
    let check = |entries: &[(&String, &super::index::Entry)]| {
        let mut stale = Vec::new();
        // Headers are whole blocks, so the first block is enough.
        let mut block = buffer(geometry.block_align.max(512), geometry.block_align).ok();
        for (name, entry) in entries {
            let offset = geometry.slot_offset(entry.slot);
            let matches = block.as_mut().is_some_and(|block| {
                let read = std::os::unix::fs::FileExt::read_exact_at(&*device.file, block.bytes_mut(), offset);
                let identity = blake2b::digest8(name.as_bytes());
                read.is_ok() && slot_header_matches(block.bytes(), identity, entry.object_bytes)
            });
            if !matches {
                stale.push((*name).clone());
            }
        }
        stale
    };
    parallel::each(entries.chunks(share), check)
        .into_iter()
        .flatten()
        .collect()
}
