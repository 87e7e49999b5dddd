//! The KV tensors of one rank in host memory: one mapping with all layers, private or as shared memory that the server can
//! open. Fills, overwrites and digests them.

use std::io;

use super::blocks::{Span, spans};
use super::checksum::{Digest, Kind};
use super::rpc::Dtype;
use super::shape::Shape;
use crate::sys::mapping::Mapping;
use crate::sys::shm::Segment;

mod places;

pub use places::Places;

/// Alignment of layers: a page.
const LAYER_ALIGN: usize = 4096;
/// How much of the pattern is generated at a time: 8 KiB, which fits in the L1 cache.
const PIECE_WORDS: usize = 1024;
/// The content of a destination before a retrieve. The pattern does not consist of this value.
pub(super) const POISON: u8 = 0xa5;
/// The increment of SplitMix64: 2^64 divided by the golden ratio, rounded to an odd number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The tensor `[planes, blocks, block_bytes]` of one layer, at `offset` in the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    pub offset: usize,
    pub planes: usize,
    pub block_bytes: usize,
    pub dtype: Dtype,
}

/// The layers in the mapping, and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub layers: Vec<Layer>,
    pub blocks: usize,
    pub bytes: usize,
}

/// A contiguous piece of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: usize,
    pub bytes: usize,
}

/// What the pattern of one request depends on. Equal sources give equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub seed: u64,
    pub rank: u64,
    pub sequence: u64,
}

enum Backing {
    Private(Mapping),
    Shared(Segment),
}

pub struct KvTensors {
    backing: Backing,
    pub layout: Layout,
}

impl Layout {
    pub fn new(shape: &Shape) -> Layout {
        let mut bytes = 0;
        let layers = shape.layers().map(|group| {
            let layer = Layer {
                offset: bytes,
                planes: group.kv_size,
                block_bytes: group.block_bytes(),
                dtype: group.dtype,
            };
            bytes = (bytes + group.layer_bytes()).next_multiple_of(LAYER_ALIGN);
            layer
        });
        Layout {
            layers: layers.collect(),
            blocks: shape.blocks(),
            bytes,
        }
    }

    /// The bytes of consecutive blocks of one plane of one layer.
    pub fn run(&self, layer: &Layer, plane: usize, span: Span) -> Run {
        let first = plane * self.blocks + span.first;
        Run {
            offset: layer.offset + first * layer.block_bytes,
            bytes: span.count * layer.block_bytes,
        }
    }

    /// The pieces of the blocks of one plane of one layer: one for each span of consecutive blocks.
    fn runs(&self, layer: &Layer, plane: usize, blocks: &[u64]) -> impl Iterator<Item = Run> {
        spans(blocks).map(move |span| self.run(layer, plane, span))
    }

    /// Number of bytes of this many blocks in all layers and planes.
    pub fn bytes_of(&self, blocks: usize) -> u64 {
        let layers = self.layers.iter();
        let bytes: usize = layers.map(|layer| layer.planes * layer.block_bytes * blocks).sum();
        bytes as u64
    }

    /// The pieces of a chunk in the order of the chunk object: plane, layer, token. All layers must have the same number of
    /// planes.
    pub fn object_runs(&self, blocks: &[u64]) -> impl Iterator<Item = Run> {
        let planes = self.layers.first().map_or(0, |layer| layer.planes);
        let layers = move |plane| self.layers.iter().map(move |layer| (layer, plane));
        (0..planes)
            .flat_map(layers)
            .flat_map(move |(layer, plane)| self.runs(layer, plane, blocks))
    }

    /// The planes of all layers in the order of digests, with the index of their layer.
    fn planes(&self) -> impl Iterator<Item = (usize, &Layer, usize)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(index, layer)| (0..layer.planes).map(move |plane| (index, layer, plane)))
    }

    /// The pieces of a chunk in the order of digests: layer, plane, token.
    fn digest_runs(&self, blocks: &[u64]) -> impl Iterator<Item = (&Layer, Run)> {
        let planes = self.planes();
        planes.flat_map(move |(_, layer, plane)| self.runs(layer, plane, blocks).map(move |run| (layer, run)))
    }
}

impl KvTensors {
    /// Allocates private memory. Its pages are allocated when they are first accessed.
    pub fn private(layout: Layout) -> io::Result<KvTensors> {
        let backing = Backing::Private(Mapping::anonymous(layout.bytes)?);
        Ok(KvTensors { backing, layout })
    }

    /// Creates shared memory under a name that the server can open. Its pages are allocated by `fill`.
    pub fn shared(layout: Layout, name: &str) -> io::Result<KvTensors> {
        let backing = Backing::Shared(Segment::create(name, layout.bytes)?);
        Ok(KvTensors { backing, layout })
    }

    /// The name of shared memory; `None` for private memory.
    pub fn name(&self) -> Option<&str> {
        match &self.backing {
            Backing::Private(_) => None,
            Backing::Shared(segment) => Some(segment.name()),
        }
    }

    /// Removes the name of shared memory. After the server has opened it the name is not needed, and a killed run leaves nothing
    /// behind.
    pub fn unlink(&mut self) -> io::Result<()> {
        match &mut self.backing {
            Backing::Private(_) => Ok(()),
            Backing::Shared(segment) => segment.unlink(),
        }
    }

    pub fn mapping(&self) -> &Mapping {
        match &self.backing {
            Backing::Private(mapping) => mapping,
            Backing::Shared(segment) => segment.mapping(),
        }
    }

    pub fn mapping_mut(&mut self) -> &mut Mapping {
        match &mut self.backing {
            Backing::Private(mapping) => mapping,
            Backing::Shared(segment) => segment.mapping_mut(),
        }
    }

    /// Fills the blocks with the pattern of `source`. Fails when /dev/shm is full.
    pub fn fill(&mut self, blocks: &[u64], source: Source) -> io::Result<()> {
        let runs: Vec<Run> = self.layout.digest_runs(blocks).map(|(_, run)| run).collect();
        if let Backing::Shared(segment) = &self.backing {
            runs.iter().try_for_each(|run| segment.reserve(run.offset, run.bytes))?;
        }
        // Populates all pages at once. Huge pages would take four times as much memory for ranges of this size.
        let ranges: Vec<_> = runs.iter().map(|run| (run.offset, run.bytes)).collect();
        self.mapping_mut().populate(&ranges);
        let mut piece = vec![0u8; PIECE_WORDS * 8];
        let planes = self.layout.planes().map(|(index, layer, plane)| (index, *layer, plane));
        for (index, layer, plane) in planes.collect::<Vec<_>>() {
            // The pattern goes on from block to block, wherever the blocks are.
            let mut places = Places::new(self.layout.runs(&layer, plane, blocks));
            let bytes = blocks.len() * layer.block_bytes;
            let key = stream_key(source, index, plane);
            let mut done = 0;
            while done < bytes {
                let step = piece.len().min(bytes - done);
                make_pattern(&mut piece, key, (done / 8) as u64, layer.dtype);
                places.write(self.mapping_mut(), done, &piece[..step]);
                done += step;
            }
        }
        Ok(())
    }

    /// Overwrites the blocks with `POISON`, so that a retrieve that copies nothing is detected.
    pub fn poison(&mut self, blocks: &[u64]) {
        let runs: Vec<Run> = self.layout.digest_runs(blocks).map(|(_, run)| run).collect();
        for run in runs {
            self.mapping_mut().fill(run.offset, run.bytes, POISON);
        }
    }

    /// One digest for each `chunk_blocks` blocks. With `widen`, bfloat16 is hashed as float32, as the server does it.
    pub fn digests(&self, blocks: &[u64], chunk_blocks: usize, kind: Kind, widen: bool) -> Vec<Digest> {
        let digest = |chunk: &[u64]| {
            let mut hasher = kind.hasher();
            for (layer, run) in self.layout.digest_runs(chunk) {
                let widen = widen && layer.dtype == Dtype::Bfloat16;
                self.mapping().visit(run.offset, run.bytes, &mut |bytes| match widen {
                    true => hasher.update_widened(bytes),
                    false => hasher.update(bytes),
                });
            }
            hasher.finish()
        };
        blocks.chunks_exact(chunk_blocks).map(digest).collect()
    }
}

/// The pattern key of one plane.
pub(super) fn stream_key(source: Source, layer: usize, plane: usize) -> u64 {
    let parts = [source.seed, source.rank, source.sequence, layer as u64, plane as u64];
    parts.iter().fold(0, |key, part| mix(key ^ part).wrapping_add(STEP))
}

/// The key with which the pattern begins at word `words` of the pattern of `key`.
pub(super) fn key_after(key: u64, words: u64) -> u64 {
    key.wrapping_add(words.wrapping_mul(STEP))
}

/// A mask for the words of the pattern. It clears the highest exponent bit of each float, so that every value is finite and
/// below 2, and conversions do not change it.
pub(super) fn pattern_mask(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::Float16 | Dtype::Bfloat16 => 0xbfff_bfff_bfff_bfff,
        Dtype::Float32 => 0xbfff_ffff_bfff_ffff,
        Dtype::Uint8 | Dtype::Int8 => u64::MAX,
    }
}

/// Generates SplitMix64 from word `first_word` on. A word depends only on the key and its position, so any part can be
/// generated on its own.
fn make_pattern(piece: &mut [u8], key: u64, first_word: u64, dtype: Dtype) {
    let mask = pattern_mask(dtype);
    let mut place = key_after(key, first_word);
    for word in piece.chunks_exact_mut(8) {
        place = place.wrapping_add(STEP);
        word.copy_from_slice(&(mix(place) & mask).to_le_bytes());
    }
}

/// The output function of SplitMix64.
#[inline(always)]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
