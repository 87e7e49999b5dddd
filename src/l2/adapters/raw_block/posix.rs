//! The posix engine: threads that write the header, then the object, with plain system calls, one object at a time each.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::device::buffer;
use super::job::{Job, write_header};
use super::shared::Shared;
use crate::l2::adapter::{Operation, Outcome};
use crate::l2::adapters::pool::Pool;
use crate::sys::arena::Slot;

pub fn start(
    count: usize,
    shared: &Arc<Shared>,
    cancelled: &Arc<AtomicBool>,
    flush: bool,
) -> Result<Pool<Job>, String> {
    let worker = || {
        let (shared, cancelled) = (Arc::clone(shared), Arc::clone(cancelled));
        let geometry = &shared.geometry;
        let mut header = buffer(geometry.header_bytes, geometry.block_align);
        move |job: &mut Job| {
            if cancelled.load(Ordering::Relaxed) {
                job.item.outcome = Outcome::Cancelled;
                return;
            }
            job.begin();
            let outcome = match &mut header {
                Ok(header) => move_object(&shared, job, header, flush),
                Err(error) => Err(io::Error::from(error.kind())),
            };
            job.end(outcome, &shared);
        }
    };
    Pool::start(count, "raw-block", worker, Some)
}

fn move_object(shared: &Shared, job: &mut Job, header: &mut Slot, flush: bool) -> io::Result<()> {
    let Some(slot) = job.item.slot.as_mut() else {
        return Err(io::Error::other("no buffer came with this key"));
    };
    let file = &shared.device.file;
    let object_offset = job.slot_offset + shared.geometry.header_bytes;
    if job.operation == Operation::Load {
        return file.read_exact_at(slot.bytes_mut(), object_offset);
    }
    write_header(header, &job.name, slot.len());
    file.write_all_at(header.bytes(), job.slot_offset)?;
    file.write_all_at(slot.bytes(), object_offset)?;
    if flush { file.sync_data() } else { Ok(()) }
}
