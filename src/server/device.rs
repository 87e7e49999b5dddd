//! The KV tensors of one rank in device memory, one allocation for each layer. The device fills, overwrites and digests them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::blocks::{Span, spans};
use super::checksum::fast::Sums;
use super::checksum::{Digest, Kind};
use super::memory::{Layer, Layout, POISON, Run, Source, key_after, pattern_mask, stream_key};
use super::rpc::Dtype;
use crate::cuda::driver::Driver;
use crate::cuda::kernel::{Kernels, Plane, Planes};
use crate::cuda::memory::{DeviceMemory, HostMemory, PinnedMemory};
use crate::cuda::stream::{Event, Stream};
use crate::cuda::{Context, CudaError};
use crate::units::bytes_text;

/// The driver places smaller allocations together in blocks of this size, and an IPC handle gives access to the whole block.
const ALLOCATION_ALIGN: usize = 2 << 20;
/// What is copied to the host at a time for a digest that only the host computes.
const READ_BYTES: usize = 1 << 20;

/// The device of one client. Clients share the context; each has kernels of its own, so that none waits for the checksums of
/// another.
pub struct Gpu {
    pub context: Arc<Context>,
    /// Locked by the client's own thread only.
    kernels: Mutex<Kernels>,
}

impl Gpu {
    /// Loads the driver and opens device `ordinal`. The error is one sentence.
    pub fn open(ordinal: i64) -> Result<Arc<Gpu>, String> {
        let driver = Driver::load().map_err(|text| format!("--mode gpu: {text}"))?;
        Gpu::on(Context::open(&driver, ordinal)?)
    }

    /// The same device for another client.
    pub fn another(&self) -> Result<Arc<Gpu>, String> {
        Gpu::on(Arc::clone(&self.context))
    }

    /// Loads the kernels on a device that is open.
    pub fn on(context: Arc<Context>) -> Result<Arc<Gpu>, String> {
        let kernels = Kernels::load(&context).map_err(|error| {
            format!("could not load the checksum kernel: {error}; it needs compute capability 7.5 or later")
        })?;
        let kernels = Mutex::new(kernels);
        Ok(Arc::new(Gpu { context, kernels }))
    }

    fn kernels(&self) -> MutexGuard<'_, Kernels> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tensor `[planes, blocks, block_bytes]` for each layer, in device memory. The offsets of `layout` are not used, because
/// each layer is an allocation.
pub struct DeviceTensors {
    gpu: Arc<Gpu>,
    pub layout: Layout,
    pub stream: Stream,
    layers: Vec<DeviceMemory>,
}

impl DeviceTensors {
    pub fn allocate(gpu: &Arc<Gpu>, layout: Layout) -> Result<DeviceTensors, String> {
        if let Some(layer) = layout.layers.iter().find(|layer| layer.block_bytes % 8 != 0) {
            return Err(format!(
                "--mode gpu needs blocks of a multiple of 8 bytes, and {} bytes are not; change BS, NH or HS",
                layer.block_bytes
            ));
        }
        let bytes_of =
            |layer: &Layer| (layer.planes * layout.blocks * layer.block_bytes).next_multiple_of(ALLOCATION_ALIGN);
        let needed: u64 = layout.layers.iter().map(|layer| bytes_of(layer) as u64).sum();
        let refused = |error: CudaError| error.to_string();
        let (free, _) = gpu.context.memory_bytes().map_err(refused)?;
        if needed > free {
            return Err(format!(
                "they need {} of device memory but only {} are free",
                bytes_text(needed),
                bytes_text(free)
            ));
        }
        let stream = Stream::new(&gpu.context).map_err(refused)?;
        let layers = layout.layers.iter();
        let layers = layers
            .map(|layer| DeviceMemory::allocate(&gpu.context, bytes_of(layer)))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        Ok(DeviceTensors {
            gpu: Arc::clone(gpu),
            layout,
            stream,
            layers,
        })
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.gpu.context
    }

    pub fn layers(&self) -> &[DeviceMemory] {
        &self.layers
    }

    /// The planes of all layers for the kernels. `chunk_blocks`, the blocks per chunk, determines the position of each plane in
    /// a chunk; `key` gives the pattern key of a plane.
    fn planes(&self, chunk_blocks: usize, key: impl Fn(usize, usize, &Layer) -> u64) -> Result<Planes, CudaError> {
        let mut first_word = 0;
        let mut planes = Vec::new();
        for (index, (layer, memory)) in self.layout.layers.iter().zip(&self.layers).enumerate() {
            for plane in 0..layer.planes {
                planes.push(Plane {
                    base: memory.address() + (plane * self.layout.blocks * layer.block_bytes) as u64,
                    block_bytes: layer.block_bytes as u64,
                    first_word,
                    key: key(index, plane, layer),
                    mask: pattern_mask(layer.dtype),
                });
                first_word += (chunk_blocks * layer.block_bytes / 8) as u64;
            }
        }
        Planes::new(&self.gpu.context, &self.stream, &planes)
    }

    /// Fills the blocks with the pattern of `source`, the same as in host memory, and waits for the device.
    pub fn fill(&self, blocks: &[u64], source: Source) -> Result<(), CudaError> {
        let mut done = 0;
        for span in spans(blocks) {
            let planes = self.planes(1, |index, plane, layer| {
                let words = (done * layer.block_bytes / 8) as u64;
                key_after(stream_key(source, index, plane), words)
            })?;
            let (first, count) = (span.first as u32, span.count as u32);
            self.gpu.kernels().fill(&self.stream, &planes, first, count)?;
            done += span.count;
        }
        self.stream.synchronize()
    }

    /// Overwrites the blocks with `POISON` and waits for the device.
    pub fn poison(&self, blocks: &[u64]) -> Result<(), CudaError> {
        for (layer, memory) in self.layout.layers.iter().zip(&self.layers) {
            for plane in 0..layer.planes {
                for run in self.runs(layer, plane, blocks) {
                    memory.fill(&self.stream, run.offset, run.bytes, POISON)?;
                }
            }
        }
        self.stream.synchronize()
    }

    /// The pieces of the blocks of one plane. Their offsets are those in the layer's allocation.
    fn runs(&self, layer: &Layer, plane: usize, blocks: &[u64]) -> impl Iterator<Item = Run> {
        let (block_bytes, before) = (layer.block_bytes, plane * self.layout.blocks);
        spans(blocks).map(move |Span { first, count }| Run {
            offset: (before + first) * block_bytes,
            bytes: count * block_bytes,
        })
    }

    /// One digest for each `chunk_blocks` blocks. The device computes the fast checksum, the host MD5. With `widen`, bfloat16 is
    /// hashed as float32, as the server does it.
    pub fn digests(
        &self,
        blocks: &[u64],
        chunk_blocks: usize,
        kind: Kind,
        widen: bool,
    ) -> Result<Vec<Digest>, CudaError> {
        match kind {
            Kind::Fast => self.fast_digests(blocks, chunk_blocks),
            Kind::Md5 => blocks
                .chunks_exact(chunk_blocks)
                .map(|chunk| self.host_digest(chunk, kind, widen))
                .collect(),
        }
    }

    fn fast_digests(&self, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<Digest>, CudaError> {
        let planes = self.planes(chunk_blocks, |_, _, _| 0)?;
        let ids: Vec<u32> = blocks.iter().map(|id| *id as u32).collect();
        let sums = self
            .gpu
            .kernels()
            .checksum(&self.stream, &planes, &ids, chunk_blocks as u32)?;
        let bytes = self.layout.bytes_of(chunk_blocks);
        let digest = |raw: crate::cuda::kernel::RawSums| {
            let sums = Sums {
                a: raw.a,
                b: raw.b,
                c: raw.c,
            };
            Digest(sums.digest(bytes))
        };
        Ok(sums.into_iter().map(digest).collect())
    }

    fn host_digest(&self, chunk: &[u64], kind: Kind, widen: bool) -> Result<Digest, CudaError> {
        let mut hasher = kind.hasher();
        let mut piece = vec![0; READ_BYTES];
        for (layer, memory) in self.layout.layers.iter().zip(&self.layers) {
            let widen = widen && layer.dtype == Dtype::Bfloat16;
            for plane in 0..layer.planes {
                for run in self.runs(layer, plane, chunk) {
                    let mut done = 0;
                    while done < run.bytes {
                        let step = READ_BYTES.min(run.bytes - done);
                        memory.read(&self.stream, run.offset + done, &mut piece[..step])?;
                        match widen {
                            true => hasher.update_widened(&piece[..step]),
                            false => hasher.update(&piece[..step]),
                        }
                        done += step;
                    }
                }
            }
        }
        Ok(hasher.finish())
    }

    /// The pieces of a chunk in the order of the chunk object: plane, layer, token.
    fn object_runs(&self, blocks: &[u64]) -> impl Iterator<Item = (&DeviceMemory, Run)> {
        let planes = self.layout.layers.first().map_or(0, |layer| layer.planes);
        let layers = move |plane| {
            let layers = self.layout.layers.iter().zip(&self.layers);
            layers.map(move |(layer, memory)| (layer, memory, plane))
        };
        (0..planes)
            .flat_map(layers)
            .flat_map(move |(layer, memory, plane)| self.runs(layer, plane, blocks).map(move |run| (memory, run)))
    }
}

/// Two page-locked buffers of one chunk each. The device copies one chunk while the host handles the other. Chunks use the
/// buffers in turn, by their number.
pub struct Staging {
    buffers: [StagingBuffer; 2],
    begun: Event,
    ended: Event,
}

struct StagingBuffer {
    stream: Stream,
    memory: PinnedMemory,
}

impl Staging {
    pub fn new(context: &Arc<Context>, chunk_bytes: usize) -> Result<Staging, CudaError> {
        let buffer = || {
            Ok::<StagingBuffer, CudaError>(StagingBuffer {
                stream: Stream::new(context)?,
                memory: PinnedMemory::allocate(context, chunk_bytes)?,
            })
        };
        Ok(Staging {
            buffers: [buffer()?, buffer()?],
            begun: Event::timing(context)?,
            ended: Event::timing(context)?,
        })
    }

    /// Records the start of a transfer on the device.
    pub fn begin(&mut self) -> Result<(), CudaError> {
        self.begun.record(&self.buffers[0].stream)?;
        self.buffers[1].stream.wait_for(&self.begun)
    }

    /// Waits for all copies and returns the device time since `begin`.
    pub fn end(&mut self) -> Result<Duration, CudaError> {
        self.ended.record(&self.buffers[1].stream)?;
        self.buffers[0].stream.wait_for(&self.ended)?;
        self.ended.record(&self.buffers[0].stream)?;
        self.ended.synchronize()?;
        self.ended.elapsed_since(&self.begun)
    }

    /// Queues the copy of chunk `number` from its blocks into its buffer.
    pub fn fetch(&mut self, tensors: &DeviceTensors, number: usize, blocks: &[u64]) -> Result<(), CudaError> {
        let StagingBuffer { stream, memory } = &mut self.buffers[number % 2];
        fetch(stream, tensors, blocks, memory, 0)
    }

    /// Queues the copy of chunk `number` from its buffer to its blocks.
    pub fn send(&mut self, tensors: &DeviceTensors, number: usize, blocks: &[u64]) -> Result<(), CudaError> {
        let StagingBuffer { stream, memory } = &mut self.buffers[number % 2];
        send(stream, tensors, blocks, memory, 0)
    }

    /// The stream of chunk `number`, for copies that need no buffer.
    pub fn stream(&self, number: usize) -> &Stream {
        &self.buffers[number % 2].stream
    }

    /// The buffer of chunk `number`, after all copies that are queued for it.
    pub fn buffer(&mut self, number: usize) -> Result<&mut [u8], CudaError> {
        let StagingBuffer { stream, memory } = &mut self.buffers[number % 2];
        memory.bytes(stream)
    }
}

/// Queues the copy of a chunk from its blocks to a position in host memory.
pub fn fetch(
    stream: &Stream,
    tensors: &DeviceTensors,
    blocks: &[u64],
    memory: &mut impl HostMemory,
    mut at: usize,
) -> Result<(), CudaError> {
    for (layer, run) in tensors.object_runs(blocks) {
        layer.read_queued(stream, run.offset, memory, at, run.bytes)?;
        at += run.bytes;
    }
    Ok(())
}

/// Queues the copy of a chunk from a position in host memory to its blocks.
pub fn send(
    stream: &Stream,
    tensors: &DeviceTensors,
    blocks: &[u64],
    memory: &mut impl HostMemory,
    mut at: usize,
) -> Result<(), CudaError> {
    for (layer, run) in tensors.object_runs(blocks) {
        layer.write_queued(stream, run.offset, memory, at, run.bytes)?;
        at += run.bytes;
    }
    Ok(())
}
