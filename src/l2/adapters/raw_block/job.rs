//! The transfer of one object to or from its slot, for both engines.

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::geometry::write_slot_header;
use super::shared::Shared;
use crate::l2::adapter::{Item, KeyTimes, Operation, Outcome};
use crate::l2::adapters::tasks::Place;
use crate::l2::blake2b;
use crate::sys::arena::Slot;
use crate::units::duration_ns;

pub struct Job {
    pub place: Place,
    pub item: Item,
    pub operation: Operation,
    /// Form R of the key.
    pub name: String,
    pub slot: u64,
    /// Where the slot begins on the device.
    pub slot_offset: u64,
    pub created: Instant,
    /// When work on it began.
    pub begun: Instant,
}

/// The slot header of the object with this name.
pub fn write_header(header: &mut Slot, name: &str, object_bytes: usize) {
    let identity = blake2b::digest8(name.as_bytes());
    write_slot_header(header.bytes_mut(), identity, object_bytes as u64);
}

impl Job {
    pub fn begin(&mut self) {
        self.begun = Instant::now();
        self.item.times = KeyTimes {
            queued_ns: duration_ns(self.begun.duration_since(self.created)),
            ..KeyTimes::default()
        };
    }

    /// Sets the outcome and the times of the whole object.
    pub fn end(&mut self, outcome: io::Result<()>, shared: &Shared) {
        let spent = duration_ns(self.begun.elapsed());
        self.item.times.transfer_ns = spent;
        self.item.times.service_ns = spent;
        self.item.outcome = match (outcome, self.operation) {
            (Ok(()), Operation::Store) => Outcome::Stored,
            (Ok(()), _) => Outcome::Loaded,
            (Err(error), operation) => {
                let action = if operation == Operation::Store { "write" } else { "read" };
                // The sentences about the ring contain their advice already.
                let advice = match error.raw_os_error() {
                    None if error.kind() == ErrorKind::Other => String::new(),
                    _ => shared.device.advice(&error),
                };
                let (slot, offset) = (self.slot, self.slot_offset);
                Outcome::Failed(format!(
                    "could not {action} slot {slot} at byte {offset} of {}: {error}{advice}",
                    shared.geometry.device_path
                ))
            }
        };
    }
}
