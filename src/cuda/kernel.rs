//! The kernels of cuda/checksum.cu. They are loaded from the PTX in the repository, which the driver compiles for the device.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::context::Context;
use super::driver::CudaError;
use super::memory::DeviceMemory;
use super::module::{Function, Module};
use super::stream::Stream;

const PTX: &str = include_str!("../../cuda/checksum.ptx");
/// Threads per block: at most `THREADS` of cuda/checksum.cu.
const THREADS_MAX: u64 = 256;
const THREADS_MIN: u64 = 64;
/// What one thread loads before it waits: `BATCH` pairs of words in cuda/checksum.cu.
const BATCH_BYTES: u64 = 4 * 16;
const WARP_THREADS: u64 = 32;

/// `Plane` of cuda/checksum.cu, field for field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    pub base: u64,
    /// A multiple of 8.
    pub block_bytes: u64,
    /// Position of the plane's first word in a chunk: the number of words of all planes before it.
    pub first_word: u64,
    /// The key of the plane's pattern.
    pub key: u64,
    /// A mask for the words of the pattern.
    pub mask: u64,
}

/// The sums over the words of one chunk, as the kernel stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSums {
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

/// The `Plane` records of a set of tensors, in device memory.
pub struct Planes {
    memory: DeviceMemory,
    count: u64,
    threads: u32,
}

pub struct Kernels {
    context: Arc<Context>,
    checksum: Function,
    fill: Function,
}

impl Planes {
    pub fn new(context: &Arc<Context>, stream: &Stream, planes: &[Plane]) -> Result<Planes, CudaError> {
        let words = planes
            .iter()
            .flat_map(|plane| [plane.base, plane.block_bytes, plane.first_word, plane.key, plane.mask]);
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        let memory = DeviceMemory::allocate(context, bytes.len().max(1))?;
        memory.write(stream, 0, &bytes)?;
        Ok(Planes {
            memory,
            count: planes.len() as u64,
            threads: threads(planes.iter().map(|plane| plane.block_bytes).max().unwrap_or(0)),
        })
    }
}

/// The number of threads for blocks of this size: one for each batch, because more would be idle.
fn threads(block_bytes: u64) -> u32 {
    let wanted = block_bytes.div_ceil(BATCH_BYTES).next_multiple_of(WARP_THREADS);
    wanted.clamp(THREADS_MIN, THREADS_MAX) as u32
}

impl Kernels {
    /// Loads the PTX. The driver compiles it for the device and caches the result.
    pub fn load(context: &Arc<Context>) -> Result<Kernels, CudaError> {
        Kernels::from_ptx(context, PTX)
    }

    /// Loads another version of cuda/checksum.cu, whose kernels must have the same parameters.
    pub fn from_ptx(context: &Arc<Context>, ptx: &str) -> Result<Kernels, CudaError> {
        let module = Module::load(context, ptx)?;
        Ok(Kernels {
            context: Arc::clone(context),
            checksum: module.function("checksum_paged")?,
            fill: module.function("fill_paged")?,
        })
    }

    /// Queues the fill of the blocks `first..first + count` of every plane.
    pub fn fill(&self, stream: &Stream, planes: &Planes, first: u32, count: u32) -> Result<(), CudaError> {
        let mut base = planes.memory.address();
        let mut first = first;
        let arguments = [(&raw mut base).cast(), (&raw mut first).cast()];
        let grid = (u64::from(count), planes.count);
        // SAFETY: the arguments match the parameters of the kernel in number, order and size (cuda/checksum.cu). Freeing device
        // memory waits for the work that uses it.
        unsafe { self.fill.launch(grid, planes.threads, stream, arguments) }
    }

    /// Computes the sums of every chunk of a request and waits for them. `block_ids` are its blocks in token order.
    pub fn checksum(
        &self,
        stream: &Stream,
        planes: &Planes,
        block_ids: &[u32],
        blocks_per_chunk: u32,
    ) -> Result<Vec<RawSums>, CudaError> {
        let chunks = block_ids.len() / blocks_per_chunk.max(1) as usize;
        if chunks == 0 {
            return Ok(Vec::new());
        }
        let ids: Vec<u8> = block_ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let on_device = DeviceMemory::allocate(&self.context, ids.len())?;
        on_device.write(stream, 0, &ids)?;
        let sums = DeviceMemory::allocate(&self.context, chunks * size_of::<RawSums>())?;
        sums.fill(stream, 0, sums.bytes(), 0)?;
        self.checksum_queued(stream, planes, &on_device, blocks_per_chunk, &sums)?;
        let mut bytes = vec![0; sums.bytes()];
        sums.read(stream, 0, &mut bytes)?;
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let chunk = |at: usize| RawSums {
            a: word(at),
            b: word(at + 8),
            c: word(at + 16),
        };
        Ok((0..chunks).map(|index| chunk(index * size_of::<RawSums>())).collect())
    }

    /// Queues only the kernel. `block_ids` and `sums` are in device memory; `sums` must be zero, and its size determines the
    /// number of chunks.
    pub fn checksum_queued(
        &self,
        stream: &Stream,
        planes: &Planes,
        block_ids: &DeviceMemory,
        blocks_per_chunk: u32,
        sums: &DeviceMemory,
    ) -> Result<(), CudaError> {
        let chunks = (sums.bytes() / size_of::<RawSums>()) as u64;
        let (mut base, mut ids) = (planes.memory.address(), block_ids.address());
        let (mut blocks, mut out) = (blocks_per_chunk, sums.address());
        let arguments = [
            (&raw mut base).cast(),
            (&raw mut ids).cast(),
            (&raw mut blocks).cast(),
            (&raw mut out).cast(),
        ];
        let width = planes.count * u64::from(blocks_per_chunk);
        // SAFETY: as in `fill`.
        unsafe { self.checksum.launch((width, chunks), planes.threads, stream, arguments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_follows_the_block_size() {
        let cases = [
            (8, 64),
            (4096, 64),
            (4160, 96),
            (8192, 128),
            (16_384, 256),
            (1 << 20, 256),
        ];
        for (block_bytes, expected) in cases {
            assert_eq!(threads(block_bytes), expected, "{block_bytes}");
        }
    }
}
