//! Python pickles: a writer for the descriptors and chunks that servers expect, and a reader that extracts chunks from replies.
//! The reader executes nothing. It knows the operand lengths of the opcodes in its table and refuses all others.

use super::generation::Generation;
use super::inline::ChunkFrame;
use super::msgpack::{Malformed, Source};
use super::records::{ChunkLayout, ChunkSink, KvMemory, KvTensor};

// ---- descriptors, 0.5.0 to 0.5.5 --------------------------------------------------------------------------------------

/// The tensor descriptor that servers before 0.5.6 unpickle. `release_0_5_0`: whether the release is exactly 0.5.0, whose CUDA
/// classes are in another module.
pub fn descriptor(tensor: &KvTensor, generation: Generation, release_0_5_0: bool) -> Vec<u8> {
    let cuda_module = if release_0_5_0 {
        "lmcache.v1.multiprocess.custom_types"
    } else {
        "lmcache.v1.platform.cuda.ipc_wrapper"
    };
    let mut out = Vec::with_capacity(320);
    match &tensor.memory {
        KvMemory::CpuShm { shm_name, bytes } => {
            begin_object(&mut out, 2, "lmcache.v1.platform.cpu.shm", "CpuShmTensorWrapper");
            name(&mut out, "shm_name");
            name(&mut out, shm_name);
            name(&mut out, "nbytes");
            integer(&mut out, *bytes);
        }
        KvMemory::CudaRaw {
            ipc_handle,
            offset,
            bytes,
        } => {
            // Byte strings need protocol 3.
            begin_object(&mut out, 3, cuda_module, "RawCudaIPCWrapper");
            name(&mut out, "_ipc_handle_reserved");
            out.extend_from_slice(&[b'C', 64]);
            out.extend_from_slice(ipc_handle);
            name(&mut out, "_nbytes");
            integer(&mut out, *bytes);
            if generation.pickles_device_offsets {
                name(&mut out, "_alloc_offset");
                integer(&mut out, *offset);
                name(&mut out, "_opens");
                integer(&mut out, 0);
            }
        }
    }
    name(&mut out, "handle");
    out.push(b'N');
    name(&mut out, "dtype");
    global(&mut out, "torch", tensor.dtype.name());
    name(&mut out, "shape");
    tuple(&mut out, &tensor.shape);
    name(&mut out, "stride");
    tuple(&mut out, &tensor.stride);
    name(&mut out, "storage_offset");
    integer(&mut out, tensor.storage_offset);
    name(&mut out, "device_uuid");
    name(&mut out, &tensor.device_uuid);
    out.extend_from_slice(b"ub.");
    out
}

/// Creates an instance without calling its constructor, and opens the dict of its attributes.
fn begin_object(out: &mut Vec<u8>, protocol: u8, module: &str, class: &str) {
    out.extend_from_slice(&[0x80, protocol]);
    global(out, module, class);
    out.extend_from_slice(b")\x81}(");
}

fn global(out: &mut Vec<u8>, module: &str, attribute: &str) {
    out.push(b'c');
    out.extend_from_slice(module.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(attribute.as_bytes());
    out.push(b'\n');
}

fn name(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn integer(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xff => out.extend_from_slice(&[b'K', value as u8]),
        0x100..=0xffff => {
            out.push(b'M');
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0x7fff_ffff => {
            out.push(b'J');
            out.extend_from_slice(&(value as i32).to_le_bytes());
        }
        _ => {
            // Two's complement: a ninth byte of 0 keeps the number positive.
            out.extend_from_slice(&[0x8a, 9]);
            out.extend_from_slice(&value.to_le_bytes());
            out.push(0);
        }
    }
}

fn tuple(out: &mut Vec<u8>, values: &[u64]) {
    out.push(b'(');
    values.iter().for_each(|value| integer(out, *value));
    out.push(b't');
}

// ---- inline chunks, to the server -------------------------------------------------------------------------------------

/// The pickle of one `COMMIT_STORE`: a list with `reshape(partial(frombuffer, dtype=D)(bytearray(data)), shape)` for each chunk.
pub(super) fn frame(layout: &ChunkLayout) -> ChunkFrame {
    let chunk_bytes = layout.chunk_bytes();
    let mut before = Vec::with_capacity(160);
    global(&mut before, "torch", "reshape");
    before.push(b'(');
    global(&mut before, "functools", "partial");
    global(&mut before, "torch", "frombuffer");
    before.extend_from_slice(b"\x85R(");
    global(&mut before, "torch", "frombuffer");
    before.extend_from_slice(b")}");
    name(&mut before, "dtype");
    global(&mut before, "torch", layout.dtype.name());
    before.extend_from_slice(b"sNtb");
    global(&mut before, "builtins", "bytearray");
    match u32::try_from(chunk_bytes) {
        Ok(bytes) => {
            before.push(b'B');
            before.extend_from_slice(&bytes.to_le_bytes());
        }
        Err(_) => {
            before.push(0x8e);
            before.extend_from_slice(&chunk_bytes.to_le_bytes());
        }
    }
    let mut after = Vec::from(*b"\x85R\x85R");
    tuple(&mut after, &layout.shape);
    after.extend_from_slice(b"tR");
    ChunkFrame {
        head: b"\x80\x03](".to_vec(),
        before,
        after,
        tail: b"e.".to_vec(),
        chunks: layout.chunks,
        chunk_bytes,
    }
}

// ---- inline chunks, from the server -----------------------------------------------------------------------------------

/// The operand of an opcode.
enum Operand {
    /// This many bytes.
    Fixed(u64),
    /// A little-endian length of this many bytes, and as many bytes as it says.
    Counted(usize),
    /// As `Counted`, for byte strings, which hold the chunks.
    Bytes(usize),
    /// Two lines of text.
    TwoLines,
}

/// Most bytes of the two lines with the names of a module and an attribute.
const LINE_BYTES_MAX: u64 = 256;

fn operand(opcode: u8) -> Option<Operand> {
    Some(match opcode {
        0x80 | b'K' | b'h' | b'q' => Operand::Fixed(1),
        b'M' => Operand::Fixed(2),
        b'J' | b'j' | b'r' => Operand::Fixed(4),
        0x95 | b'G' => Operand::Fixed(8),
        0x8c | 0x8a => Operand::Counted(1),
        b'X' => Operand::Counted(4),
        0x8d => Operand::Counted(8),
        b'C' => Operand::Bytes(1),
        b'B' => Operand::Bytes(4),
        0x8e => Operand::Bytes(8),
        b'c' => Operand::TwoLines,
        b']' | b'(' | b')' | b'}' | 0x94 | 0x93 | 0x85 | 0x86 | 0x87 | b'R' | b't' | b'e' | b'a' | b'b' | b's'
        | b'u' | 0x81 | 0x88 | 0x89 | b'N' | b'0' | b'.' => Operand::Fixed(0),
        _ => return None,
    })
}

/// Reads a pickle of `bytes` bytes, which the source has, and passes the chunks to the sink. Each byte string is a storage of
/// PyTorch, which ends with the number of elements (8 bytes) and the chunk, or, if `may_be_bare`, only the chunk.
pub(super) fn read_chunks<S: Source>(
    source: &mut S,
    bytes: u64,
    layout: &ChunkLayout,
    may_be_bare: bool,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    let mut reader = Reader { source, left: bytes };
    let mut chunk = 0;
    loop {
        let opcode = reader.number(1)? as u8;
        match operand(opcode) {
            None => {
                return refuse(format!(
                    "its pickle has opcode {opcode:#04x}, which no list of tensors needs"
                ));
            }
            Some(Operand::Fixed(bytes)) => reader.skip(bytes)?,
            Some(Operand::Counted(width)) => {
                let length = reader.number(width)?;
                reader.skip(length)?;
            }
            Some(Operand::TwoLines) => reader.skip_lines(2)?,
            Some(Operand::Bytes(width)) => {
                let length = reader.number(width)?;
                if chunk == layout.chunks {
                    return refuse(format!(
                        "its pickle has more chunks than the {} asked for",
                        layout.chunks
                    ));
                }
                reader.chunk(chunk, length, layout, may_be_bare, sink)?;
                chunk += 1;
            }
        }
        if opcode == b'.' {
            break;
        }
    }
    if chunk != layout.chunks {
        return refuse(format!("its pickle has {chunk} chunks of {}", layout.chunks));
    }
    match reader.left {
        0 => Ok(()),
        left => refuse(format!("{left} bytes follow its pickle")),
    }
}

fn refuse<T, E: From<Malformed>>(text: String) -> Result<T, E> {
    Err(Malformed(text).into())
}

/// Reads up to the end of the pickle, which may be before the end of the source.
struct Reader<'a, S> {
    source: &'a mut S,
    left: u64,
}

impl<S: Source> Reader<'_, S> {
    fn need(&mut self, bytes: u64) -> Result<(), S::Error> {
        if bytes > self.left {
            return refuse(format!("its pickle ends {} bytes early", bytes - self.left));
        }
        self.left -= bytes;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), S::Error> {
        self.need(bytes)?;
        self.source.skip(bytes)
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Result<u64, S::Error> {
        self.need(width as u64)?;
        let mut number = [0; 8];
        self.source.read(&mut number[..width])?;
        Ok(u64::from_le_bytes(number))
    }

    fn skip_lines(&mut self, lines: u32) -> Result<(), S::Error> {
        let (mut ends, mut bytes) = (0, 0);
        while ends < lines {
            ends += u32::from(self.number(1)? as u8 == b'\n');
            bytes += 1;
            if bytes > LINE_BYTES_MAX {
                return refuse("its pickle has a name that does not end".into());
            }
        }
        Ok(())
    }

    /// Reads a byte string of `length` bytes that ends with the chunk at index `chunk`.
    fn chunk(
        &mut self,
        chunk: usize,
        length: u64,
        layout: &ChunkLayout,
        may_be_bare: bool,
        sink: &mut ChunkSink,
    ) -> Result<(), S::Error> {
        let chunk_bytes = layout.chunk_bytes();
        let bare = may_be_bare && length == chunk_bytes;
        if !bare {
            let Some(before) = length.checked_sub(chunk_bytes).and_then(|before| before.checked_sub(8)) else {
                return refuse(format!("chunk {chunk} has {length} bytes where {chunk_bytes} are due"));
            };
            self.skip(before)?;
            let (elements, due) = (self.number(8)?, chunk_bytes / layout.dtype.bytes());
            if elements != due {
                return refuse(format!("chunk {chunk} has {elements} elements where {due} are due"));
            }
        }
        self.need(chunk_bytes)?;
        let mut done = 0;
        while done < chunk_bytes {
            let piece = self.source.piece(chunk_bytes - done)?;
            sink(chunk, done, piece);
            done += piece.len() as u64;
        }
        Ok(())
    }
}
