//! A client's KV memory: a shared-memory object, or device memory that another process allocated. Device memory is used only
//! after the client's event, and each answer about it has an event of its own.

use std::io;
use std::sync::Arc;

use super::cache::{Cache, ChunkId};
use super::descriptor::{Descriptor, Place};
use crate::cuda::driver::Driver;
use crate::cuda::memory::DeviceMemory;
use crate::cuda::stream::{Event, Stream};
use crate::cuda::{Context, CudaError};
use crate::sys::shm::Segment;

/// What servers without a device answer for an event.
pub(super) const NO_EVENT: &[u8] = b"stub_ipc_handle";
/// Devices that are searched for a UUID.
const DEVICES_MAX: i64 = 64;

pub enum Memory {
    Host(Segment),
    Device(DeviceMemory),
}

/// The memories of one worker, and its device if they are on one.
#[derive(Default)]
pub struct Memories {
    parts: Vec<Memory>,
    device: Option<Device>,
}

struct Device {
    context: Arc<Context>,
    stream: Stream,
    /// The answer's event lives until the next transfer: the client opens it after the answer.
    answered: Option<Event>,
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl Memories {
    /// The index of a descriptor's memory, which is opened unless it is known.
    pub fn open(&mut self, descriptor: &Descriptor) -> io::Result<usize> {
        let bytes = usize::try_from(descriptor.bytes).map_err(io::Error::other)?;
        let memory = match &descriptor.place {
            Place::Host { shm_name } => {
                let name = format!("/{}", shm_name.trim_start_matches('/'));
                let same = |memory: &Memory| {
                    matches!(memory, Memory::Host(segment)
                        if segment.name() == name && segment.mapping().len() == bytes)
                };
                if let Some(known) = self.parts.iter().position(same) {
                    return Ok(known);
                }
                Memory::Host(Segment::open(&name, bytes)?)
            }
            Place::Device { ipc_handle, uuid } => {
                if self.device.is_none() {
                    self.device = Some(Device::open(uuid)?);
                }
                let device = self.device.as_ref().ok_or(io::ErrorKind::NotFound)?;
                Memory::Device(DeviceMemory::open(&device.context, *ipc_handle, bytes).map_err(failed)?)
            }
        };
        self.parts.push(memory);
        Ok(self.parts.len() - 1)
    }

    pub fn on_device(&self) -> bool {
        self.device.is_some()
    }

    /// Waits for the client's event. False when `event` is not one.
    pub fn await_client(&mut self, event: &[u8]) -> bool {
        let Some(device) = &self.device else { return true };
        let Ok(handle) = <[u8; 64]>::try_from(event) else {
            return false;
        };
        let waited = Event::open(&device.context, handle).and_then(|event| {
            device.stream.wait_for(&event)?;
            device.stream.synchronize()
        });
        waited.is_ok()
    }

    /// The event that goes with an answer: reached when this server's copies are done.
    pub fn answer_event(&mut self) -> Vec<u8> {
        let Some(device) = &mut self.device else {
            return NO_EVENT.to_vec();
        };
        let made = Event::interprocess(&device.context).and_then(|event| {
            event.record(&device.stream)?;
            let handle = event.ipc_handle()?;
            Ok((event, handle))
        });
        // An empty event says that nothing was queued, and the client's bytes will show it.
        made.map_or_else(
            |_: CudaError| Vec::new(),
            |(event, handle)| {
                device.answered = Some(event);
                handle.to_vec()
            },
        )
    }

    /// Copies into a chunk of the cache. False when the device refuses.
    pub fn store(&self, part: usize, offset: usize, bytes: usize, cache: &mut Cache, to: (ChunkId, u64)) -> bool {
        match &self.parts[part] {
            Memory::Host(segment) => {
                cache.write_from(to.0, to.1, segment.mapping(), offset, bytes);
                true
            }
            Memory::Device(_) => {
                let mut buffer = vec![0; bytes];
                let read = self.read(part, offset, &mut buffer);
                cache.write(to.0, to.1, &buffer);
                read
            }
        }
    }

    pub fn read(&self, part: usize, offset: usize, to: &mut [u8]) -> bool {
        match (&self.parts[part], &self.device) {
            (Memory::Host(segment), _) => {
                segment.mapping().read(offset, to);
                true
            }
            (Memory::Device(memory), Some(device)) => memory.read(&device.stream, offset, to).is_ok(),
            (Memory::Device(_), None) => false,
        }
    }

    pub fn write(&mut self, part: usize, offset: usize, from: &[u8]) -> bool {
        match (&mut self.parts[part], &self.device) {
            (Memory::Host(segment), _) => {
                segment.mapping_mut().write(offset, from);
                true
            }
            (Memory::Device(memory), Some(device)) => memory.write(&device.stream, offset, from).is_ok(),
            (Memory::Device(_), None) => false,
        }
    }
}

impl Device {
    /// The device with this UUID.
    fn open(uuid: &str) -> io::Result<Device> {
        let driver = Driver::load().map_err(failed)?;
        for ordinal in 0..DEVICES_MAX {
            let context = Context::open(&driver, ordinal).map_err(failed)?;
            if context.facts().uuid == uuid {
                let stream = Stream::new(&context).map_err(failed)?;
                return Ok(Device {
                    context,
                    stream,
                    answered: None,
                });
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}
