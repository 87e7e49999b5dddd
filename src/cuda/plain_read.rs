//! A plain read of device memory (cuda/plain_read.cu): what `gpu-check speed` compares the checksum with.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::context::Context;
use super::driver::CudaError;
use super::memory::DeviceMemory;
use super::module::{Function, Module};
use super::stream::Stream;

const PTX: &str = include_str!("../../cuda/plain_read.ptx");
/// `THREADS` and the bytes of one block of cuda/plain_read.cu.
const THREADS: u32 = 256;
pub const TILE_BYTES: u64 = 32 << 10;

pub struct PlainRead {
    read: Function,
    /// Never written.
    sink: DeviceMemory,
}

impl PlainRead {
    pub fn load(context: &Arc<Context>) -> Result<PlainRead, CudaError> {
        Ok(PlainRead {
            read: Module::load(context, PTX)?.function("plain_read")?,
            sink: DeviceMemory::allocate(context, 8)?,
        })
    }

    /// Queues a read of the memory, up to its last whole tile of `TILE_BYTES`.
    pub fn queued(&self, stream: &Stream, memory: &DeviceMemory) -> Result<(), CudaError> {
        let (mut from, mut sink) = (memory.address(), self.sink.address());
        let arguments = [(&raw mut from).cast(), (&raw mut sink).cast()];
        let tiles = memory.bytes() as u64 / TILE_BYTES;
        // SAFETY: the arguments match the parameters of the kernel (cuda/plain_read.cu), and its blocks read whole tiles inside
        // the memory. Freeing device memory waits for the work that uses it.
        unsafe { self.read.launch((tiles, 1), THREADS, stream, arguments) }
    }
}
