//! The pickle in which a server sends chunks inline: a list of tensors, each rebuilt from a storage in PyTorch's old save
//! format. Real clients load it, so it is byte for byte what PyTorch writes.

use crate::server::rpc::{ChunkLayout, Dtype};

/// Pickles of chunks from `chunk`, which copies chunk number `i` into the slice.
pub fn chunk_list(layout: &ChunkLayout, chunk: &mut dyn FnMut(usize, &mut [u8])) -> Vec<u8> {
    let bytes = layout.chunk_bytes() as usize;
    let mut out = Vec::with_capacity(layout.chunks * (bytes + 512) + 64);
    out.extend_from_slice(b"\x80\x04](");
    for number in 0..layout.chunks {
        name(&mut out, "torch._utils", "_rebuild_tensor_v2");
        out.push(b'(');
        name(&mut out, "torch.storage", "_load_from_bytes");
        let head = storage_head(layout.dtype, number, (bytes as u64) / layout.dtype.bytes());
        let length = head.len() + bytes;
        match u32::try_from(length) {
            Ok(length) => {
                out.push(b'B');
                out.extend_from_slice(&length.to_le_bytes());
            }
            Err(_) => {
                out.push(0x8e);
                out.extend_from_slice(&(length as u64).to_le_bytes());
            }
        }
        out.extend_from_slice(&head);
        let at = out.len();
        out.resize(at + bytes, 0);
        chunk(number, &mut out[at..]);
        // One argument, call it; storage offset 0; sizes; strides; no gradient; no hooks.
        out.extend_from_slice(b"\x85RK\x00(");
        layout.shape.iter().for_each(|side| integer(&mut out, *side));
        out.extend_from_slice(b"t(");
        let mut stride = layout.shape.iter().product::<u64>();
        for side in &layout.shape {
            stride /= (*side).max(1);
            integer(&mut out, stride);
        }
        out.extend_from_slice(b"t\x89");
        name(&mut out, "collections", "OrderedDict");
        out.extend_from_slice(b")RtR");
    }
    out.extend_from_slice(b"e.");
    out
}

fn name(out: &mut Vec<u8>, module: &str, attribute: &str) {
    for text in [module, attribute] {
        out.extend_from_slice(&[0x8c, text.len() as u8]);
        out.extend_from_slice(text.as_bytes());
    }
    out.push(0x93);
}

fn integer(out: &mut Vec<u8>, value: u64) {
    match i32::try_from(value) {
        Ok(value) => {
            out.push(b'J');
            out.extend_from_slice(&value.to_le_bytes());
        }
        Err(_) => {
            out.extend_from_slice(&[0x8a, 9]);
            out.extend_from_slice(&value.to_le_bytes());
            out.push(0);
        }
    }
}

/// The prefix of a saved storage's elements: magic number, version, system, the storage's record, its key, and the
/// number of elements.
fn storage_head(dtype: Dtype, number: usize, elements: u64) -> Vec<u8> {
    let class = match dtype {
        Dtype::Float16 => "HalfStorage",
        Dtype::Bfloat16 => "BFloat16Storage",
        Dtype::Float32 => "FloatStorage",
        Dtype::Uint8 => "ByteStorage",
        Dtype::Int8 => "CharStorage",
    };
    let key = number.to_string();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let mut out = Vec::from(*b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    out.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}(");
    text(&mut out, "protocol_version");
    out.extend_from_slice(b"M\xe9\x03");
    text(&mut out, "little_endian");
    out.push(0x88);
    text(&mut out, "type_sizes");
    out.extend_from_slice(b"}(");
    for (kind, bytes) in [("short", 2), ("int", 4), ("long", 4)] {
        text(&mut out, kind);
        out.extend_from_slice(&[b'K', bytes]);
    }
    out.extend_from_slice(b"uu.\x80\x02(");
    text(&mut out, "storage");
    out.extend_from_slice(b"ctorch\n");
    out.extend_from_slice(class.as_bytes());
    out.push(b'\n');
    text(&mut out, &key);
    text(&mut out, "cpu");
    integer(&mut out, elements);
    out.extend_from_slice(b"NtQ.\x80\x02]");
    text(&mut out, &key);
    out.extend_from_slice(b"a.");
    out.extend_from_slice(&elements.to_le_bytes());
    out
}
