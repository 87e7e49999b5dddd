//! Chunks inside of messages: one frame whose content is a pickle before 0.5.7 and an envelope since. Frames are written and read
//! piece by piece, so that no chunk is in memory a second time.

use super::generation::Inline;
use super::msgpack::{Malformed, Source};
use super::records::{ChunkLayout, ChunkSink, ChunkSource};
use super::{envelope, pickle};

pub use super::envelope::read_tensors;

/// What stands around the chunks of one frame.
#[derive(Debug)]
pub struct ChunkFrame {
    pub(super) head: Vec<u8>,
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    pub(super) tail: Vec<u8>,
    pub(super) chunks: usize,
    pub(super) chunk_bytes: u64,
}

/// The form of a frame that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A pickle whose byte strings are storages of PyTorch: they end with the number of elements (8 bytes) and the chunk.
    Torch,
    /// The same, or byte strings that are only a chunk.
    TorchOrBare,
    Envelope,
}

impl ChunkFrame {
    pub fn new(form: Inline, layout: &ChunkLayout) -> ChunkFrame {
        match form {
            Inline::Pickle => pickle::frame(layout),
            Inline::Envelope => envelope::frame(layout),
        }
    }

    /// Length of the whole frame.
    pub fn bytes(&self) -> u64 {
        let around = (self.before.len() + self.after.len()) as u64;
        let chunks = self
            .chunk_bytes
            .saturating_add(around)
            .saturating_mul(self.chunks as u64);
        chunks.saturating_add((self.head.len() + self.tail.len()) as u64)
    }

    /// Passes the frame to `emit` piece by piece. Panics if `source` supplies more or fewer bytes than a chunk has.
    pub fn write<E>(&self, source: &mut ChunkSource, emit: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        emit(&self.head)?;
        for chunk in 0..self.chunks {
            emit(&self.before)?;
            let mut left = self.chunk_bytes;
            let mut sent = Ok(());
            source(chunk, &mut |piece| {
                let bytes = piece.len() as u64;
                assert!(bytes <= left, "chunk {chunk} has more bytes than its layout says");
                left -= bytes;
                if sent.is_ok() {
                    sent = emit(piece);
                }
            });
            sent?;
            assert!(left == 0, "chunk {chunk} lacks {left} bytes of its layout");
            emit(&self.after)?;
        }
        emit(&self.tail)
    }
}

/// Reads a frame of `bytes` bytes and passes the chunks to the sink.
pub fn read_chunks<S: Source>(
    source: &mut S,
    bytes: u64,
    layout: &ChunkLayout,
    form: Form,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    if bytes > source.left() {
        let text = format!("{bytes} bytes of chunks where {} are left", source.left());
        return Err(Malformed(text).into());
    }
    match form {
        Form::Torch => pickle::read_chunks(source, bytes, layout, false, sink),
        Form::TorchOrBare => pickle::read_chunks(source, bytes, layout, true, sink),
        Form::Envelope => envelope::read_chunks(source, bytes, layout, sink),
    }
}
