//! The KV tensors of one rank in device memory: one allocation per layer, filled, spoilt and digested by the device. Must
//! never know who copies them.

use std::rc::Rc;
use std::sync::Arc;

use super::checksum::fast::Sums;
use super::checksum::{Digest, Kind};
use super::memory::{Blocks, Layer, Layout, POISON, Run, Source, pattern_mask, stream_key};
use super::rpc::Dtype;
use crate::cuda::driver::Driver;
use crate::cuda::kernel::{Kernels, Plane, Planes};
use crate::cuda::memory::{DeviceMemory, PinnedMemory};
use crate::cuda::stream::{Event, Stream};
use crate::cuda::{Context, CudaError};
use crate::units::bytes_text;

/// The driver carves smaller allocations out of shared pieces of this size, and a handle gives away the whole piece.
const ALLOCATION_ALIGN: usize = 2 << 20;
/// What is brought to the host at a time for a digest that only the host computes.
const READ_BYTES: usize = 1 << 20;

/// The device that a run uses.
pub struct Gpu {
    pub context: Arc<Context>,
    kernels: Kernels,
}

impl Gpu {
    /// Loads the driver and opens device `ordinal`. The error is one sentence.
    pub fn open(ordinal: i64) -> Result<Rc<Gpu>, String> {
        let driver = Driver::load().map_err(|text| format!("--mode gpu: {text}"))?;
        let context = Context::open(&driver, ordinal)?;
        let kernels = Kernels::load(&context).map_err(|error| {
            format!("could not load the checksum kernel: {error}; it needs compute capability 7.5 or later")
        })?;
        Ok(Rc::new(Gpu { context, kernels }))
    }
}

/// `[planes, blocks, block_bytes]` of each layer, in device memory. The layout's offsets mean nothing here.
pub struct DeviceTensors {
    gpu: Rc<Gpu>,
    pub layout: Layout,
    pub stream: Stream,
    layers: Vec<DeviceMemory>,
}

impl DeviceTensors {
    pub fn allocate(gpu: &Rc<Gpu>, layout: Layout) -> Result<DeviceTensors, String> {
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
            gpu: Rc::clone(gpu),
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

    /// Planes as the kernels see them. `chunk_blocks` decides where each plane stands in a chunk.
    fn planes(&self, chunk_blocks: usize, key: impl Fn(usize, usize) -> u64) -> Result<Planes, CudaError> {
        let mut first_word = 0;
        let mut planes = Vec::new();
        for (index, (layer, memory)) in self.layout.layers.iter().zip(&self.layers).enumerate() {
            for plane in 0..layer.planes {
                planes.push(Plane {
                    base: memory.address() + (plane * self.layout.blocks * layer.block_bytes) as u64,
                    block_bytes: layer.block_bytes as u64,
                    first_word,
                    key: key(index, plane),
                    mask: pattern_mask(layer.dtype),
                });
                first_word += (chunk_blocks * layer.block_bytes / 8) as u64;
            }
        }
        Planes::new(&self.gpu.context, &self.stream, &planes)
    }

    /// Fills the blocks with the pattern of `source`, the same as in host memory, and waits.
    pub fn fill(&self, blocks: Blocks, source: Source) -> Result<(), CudaError> {
        let planes = self.planes(1, |layer, plane| stream_key(source, layer, plane))?;
        let (first, count) = (blocks.first as u32, blocks.count as u32);
        self.gpu.kernels.fill(&self.stream, &planes, first, count)?;
        self.stream.synchronize()
    }

    /// Overwrites the blocks, and waits.
    pub fn poison(&self, blocks: Blocks) -> Result<(), CudaError> {
        for (layer, memory) in self.layout.layers.iter().zip(&self.layers) {
            for plane in 0..layer.planes {
                let run = self.run(layer, plane, blocks);
                memory.fill(&self.stream, run.offset, run.bytes, POISON)?;
            }
        }
        self.stream.synchronize()
    }

    /// Some blocks of one plane, by their place in the layer's own allocation.
    fn run(&self, layer: &Layer, plane: usize, blocks: Blocks) -> Run {
        Run {
            offset: (plane * self.layout.blocks + blocks.first) * layer.block_bytes,
            bytes: blocks.count * layer.block_bytes,
        }
    }

    /// One digest for each `chunk_blocks` blocks: the fast one by the device, MD5 by the host.
    pub fn digests(
        &self,
        blocks: Blocks,
        chunk_blocks: usize,
        kind: Kind,
        widen: bool,
    ) -> Result<Vec<Digest>, CudaError> {
        match kind {
            Kind::Fast => self.fast_digests(blocks, chunk_blocks),
            Kind::Md5 => (0..blocks.count / chunk_blocks)
                .map(|chunk| {
                    let first = blocks.first + chunk * chunk_blocks;
                    let part = Blocks {
                        first,
                        count: chunk_blocks,
                    };
                    self.host_digest(part, kind, widen)
                })
                .collect(),
        }
    }

    fn fast_digests(&self, blocks: Blocks, chunk_blocks: usize) -> Result<Vec<Digest>, CudaError> {
        let planes = self.planes(chunk_blocks, |_, _| 0)?;
        let ids: Vec<u32> = (blocks.first..blocks.first + blocks.count)
            .map(|id| id as u32)
            .collect();
        let sums = self
            .gpu
            .kernels
            .checksum(&self.stream, &planes, &ids, chunk_blocks as u32)?;
        let bytes = self.layout.bytes_of(Blocks {
            first: 0,
            count: chunk_blocks,
        });
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

    fn host_digest(&self, part: Blocks, kind: Kind, widen: bool) -> Result<Digest, CudaError> {
        let mut hasher = kind.hasher();
        let mut piece = vec![0; READ_BYTES];
        for (layer, memory) in self.layout.layers.iter().zip(&self.layers) {
            let widen = widen && layer.dtype == Dtype::Bfloat16;
            for plane in 0..layer.planes {
                let run = self.run(layer, plane, part);
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
        Ok(hasher.finish())
    }

    /// The pieces of a chunk in the order of a chunk object: plane, layer, token.
    fn object_runs(&self, blocks: Blocks) -> impl Iterator<Item = (&DeviceMemory, Run)> {
        let planes = self.layout.layers.first().map_or(0, |layer| layer.planes);
        let layers = move || self.layout.layers.iter().zip(&self.layers);
        (0..planes).flat_map(move |plane| layers().map(move |(layer, memory)| (memory, self.run(layer, plane, blocks))))
    }
}

/// Two page-locked buffers of a chunk each, so that the device copies one chunk while this program handles another.
pub struct Staging {
    halves: [Half; 2],
    begun: Event,
    ended: Event,
}

struct Half {
    stream: Stream,
    memory: PinnedMemory,
}

impl Staging {
    pub fn new(context: &Arc<Context>, chunk_bytes: usize) -> Result<Staging, CudaError> {
        let half = || {
            Ok::<Half, CudaError>(Half {
                stream: Stream::new(context)?,
                memory: PinnedMemory::allocate(context, chunk_bytes)?,
            })
        };
        Ok(Staging {
            halves: [half()?, half()?],
            begun: Event::timing(context)?,
            ended: Event::timing(context)?,
        })
    }

    /// Marks the begin of a transfer's work on the device.
    pub fn begin(&mut self) -> Result<(), CudaError> {
        self.begun.record(&self.halves[0].stream)?;
        self.halves[1].stream.wait_for(&self.begun)
    }

    /// Waits for all copies; the device's time since `begin`.
    pub fn end(&mut self) -> Result<std::time::Duration, CudaError> {
        self.ended.record(&self.halves[1].stream)?;
        self.halves[0].stream.wait_for(&self.ended)?;
        self.ended.record(&self.halves[0].stream)?;
        self.ended.synchronize()?;
        let ms = self.ended.elapsed_ms_since(&self.begun)?;
        Ok(std::time::Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }

    /// Queues the copy of a chunk from its blocks into the buffer of this number.
    pub fn fetch(&mut self, tensors: &DeviceTensors, number: usize, blocks: Blocks) -> Result<(), CudaError> {
        let Half { stream, memory } = &mut self.halves[number % 2];
        let mut at = 0;
        for (layer, run) in tensors.object_runs(blocks) {
            layer.read_queued(stream, run.offset, memory, at, run.bytes)?;
            at += run.bytes;
        }
        Ok(())
    }

    /// Queues the copy of a chunk from the buffer of this number to its blocks.
    pub fn send(&mut self, tensors: &DeviceTensors, number: usize, blocks: Blocks) -> Result<(), CudaError> {
        let Half { stream, memory } = &mut self.halves[number % 2];
        let mut at = 0;
        for (layer, run) in tensors.object_runs(blocks) {
            layer.write_queued(stream, run.offset, memory, at, run.bytes)?;
            at += run.bytes;
        }
        Ok(())
    }

    /// The buffer of this number, once what was queued for it is done.
    pub fn buffer(&mut self, number: usize) -> Result<&mut [u8], CudaError> {
        let Half { stream, memory } = &mut self.halves[number % 2];
        memory.bytes(stream)
    }
}
