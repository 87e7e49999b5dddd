//! Inline chunks since 0.5.7: a MessagePack map `{"version": 1, "tensors": [{"dtype", "shape", "data"}]}` with one tensor for each
//! chunk. As the server does, the reader refuses fields that it does not know.

use super::inline::ChunkFrame;
use super::msgpack::{self, Decoder, Header, Malformed, Source};
use super::records::{ChunkLayout, ChunkSink};

const VERSION: u64 = 1;
/// The server's limit on dimensions.
const DIMENSIONS_MAX: usize = 16;

pub(super) fn frame(layout: &ChunkLayout) -> ChunkFrame {
    let chunk_bytes = layout.chunk_bytes();
    let mut head = Vec::with_capacity(32);
    msgpack::map(&mut head, 2);
    msgpack::text(&mut head, "version");
    msgpack::unsigned(&mut head, VERSION);
    msgpack::text(&mut head, "tensors");
    msgpack::array(&mut head, layout.chunks);
    let mut before = Vec::with_capacity(64);
    msgpack::map(&mut before, 3);
    msgpack::text(&mut before, "dtype");
    msgpack::text(&mut before, layout.dtype.name());
    msgpack::text(&mut before, "shape");
    msgpack::numbers(&mut before, layout.shape.iter().copied());
    msgpack::text(&mut before, "data");
    // A frame with a chunk that does not fit is longer than any request, which the caller refuses.
    msgpack::binary_header(&mut before, u32::try_from(chunk_bytes).unwrap_or(u32::MAX));
    ChunkFrame {
        head,
        before,
        after: Vec::new(),
        tail: Vec::new(),
        chunks: layout.chunks,
        chunk_bytes,
    }
}

/// Reads an envelope of `bytes` bytes, which the source has, and passes the chunks to the sink. The fields of a map may come in any
/// order.
pub(super) fn read_chunks<S: Source>(
    source: &mut S,
    bytes: u64,
    layout: &ChunkLayout,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    let mut decoder = Decoder(Within { source, left: bytes });
    let (mut version, mut has_tensors) = (None, false);
    for _ in 0..decoder.map("its envelope")? {
        match decoder.text("a field of its envelope")?.as_str() {
            "version" if version.is_none() => version = Some(decoder.unsigned("the envelope's version")?),
            "tensors" if !has_tensors => {
                has_tensors = true;
                read_tensors(&mut decoder, layout, sink)?;
            }
            other => return refuse(format!("its envelope has the field '{}'", shown(other))),
        }
    }
    match (version, has_tensors) {
        (Some(VERSION), true) => decoder.end(),
        (Some(VERSION), false) => refuse("its envelope has no tensors".into()),
        (Some(other), _) => refuse(format!("its envelope is of version {other}, and {VERSION} is known")),
        (None, _) => refuse("its envelope has no version".into()),
    }
}

/// Reads a list of tensors, one for each chunk, and passes the chunks to the sink.
pub fn read_tensors<S: Source>(
    decoder: &mut Decoder<S>,
    layout: &ChunkLayout,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    let tensors = decoder.array("the envelope's tensors")?;
    if tensors != layout.chunks as u64 {
        return refuse(format!("its envelope has {tensors} chunks of {}", layout.chunks));
    }
    (0..layout.chunks).try_for_each(|chunk| tensor(decoder, chunk, layout, sink))
}

fn tensor<S: Source>(
    decoder: &mut Decoder<S>,
    chunk: usize,
    layout: &ChunkLayout,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    let (mut has_dtype, mut has_shape, mut has_data) = (false, false, false);
    for _ in 0..decoder.map("a tensor")? {
        match decoder.text("a tensor's field")?.as_str() {
            "dtype" if !has_dtype => {
                has_dtype = true;
                let dtype = decoder.text("dtype")?;
                if dtype != layout.dtype.name() {
                    let due = layout.dtype.name();
                    return refuse(format!(
                        "chunk {chunk} is of type '{}' where {due} is due",
                        shown(&dtype)
                    ));
                }
            }
            "shape" if !has_shape => {
                has_shape = true;
                let shape = decoder.numbers("shape", DIMENSIONS_MAX)?;
                if shape != layout.shape {
                    return refuse(format!(
                        "chunk {chunk} has the shape {shape:?} where {:?} is due",
                        layout.shape
                    ));
                }
            }
            "data" if !has_data => {
                has_data = true;
                data(decoder, chunk, layout, sink)?;
            }
            other => return refuse(format!("chunk {chunk} has the field '{}'", shown(other))),
        }
    }
    match has_dtype && has_shape && has_data {
        true => Ok(()),
        false => refuse(format!("chunk {chunk} lacks its dtype, shape or data")),
    }
}

fn data<S: Source>(
    decoder: &mut Decoder<S>,
    chunk: usize,
    layout: &ChunkLayout,
    sink: &mut ChunkSink,
) -> Result<(), S::Error> {
    let due = layout.chunk_bytes();
    match decoder.header()? {
        Header::Binary(bytes) if bytes != due => {
            return refuse(format!("chunk {chunk} has {bytes} bytes where {due} are due"));
        }
        Header::Binary(bytes) if bytes > decoder.0.left() => {
            return refuse(format!("its envelope ends {} bytes early", bytes - decoder.0.left()));
        }
        Header::Binary(_) => {}
        _ => return refuse(format!("the data of chunk {chunk} is not a byte string")),
    }
    let mut done = 0;
    while done < due {
        let piece = decoder.0.piece(due - done)?;
        sink(chunk, done, piece);
        done += piece.len() as u64;
    }
    Ok(())
}

fn refuse<T, E: From<Malformed>>(text: String) -> Result<T, E> {
    Err(Malformed(text).into())
}

/// The beginning of a text from the peer.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// The next bytes of a source, as a source that ends after them.
struct Within<'a, S> {
    source: &'a mut S,
    left: u64,
}

impl<S: Source> Source for Within<'_, S> {
    type Error = S::Error;

    fn left(&self) -> u64 {
        self.left
    }

    fn read(&mut self, to: &mut [u8]) -> Result<(), S::Error> {
        self.left -= to.len() as u64;
        self.source.read(to)
    }

    fn piece(&mut self, max: u64) -> Result<&[u8], S::Error> {
        let piece = self.source.piece(max.min(self.left))?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::ChunkLayout;
    use super::super::{Dtype, inline};
    use super::*;

    fn layout(chunks: usize) -> ChunkLayout {
        ChunkLayout {
            dtype: Dtype::Uint8,
            shape: vec![2, 3],
            chunks,
        }
    }

    fn read(bytes: &[u8], layout: &ChunkLayout) -> Result<Vec<Vec<u8>>, String> {
        let mut chunks = vec![vec![0; 6]; layout.chunks];
        let mut from = bytes;
        let form = inline::Form::Envelope;
        let sink = &mut |chunk: usize, at: u64, piece: &[u8]| {
            chunks[chunk][at as usize..at as usize + piece.len()].copy_from_slice(piece);
        };
        inline::read_chunks(&mut from, bytes.len() as u64, layout, form, sink).map_err(|malformed| malformed.0)?;
        assert!(from.is_empty());
        Ok(chunks)
    }

    fn written(layout: &ChunkLayout) -> Vec<u8> {
        let frame = frame(layout);
        let mut out = Vec::new();
        let done: Result<(), ()> = frame.write(
            &mut |chunk, visit| {
                visit(&[chunk as u8; 2]);
                visit(&[chunk as u8 + 100; 4]);
            },
            &mut |piece| {
                out.extend_from_slice(piece);
                Ok(())
            },
        );
        done.unwrap();
        assert_eq!(out.len() as u64, frame.bytes());
        out
    }

    #[test]
    fn what_is_written_is_read() {
        for chunks in [0, 1, 2, 20] {
            let layout = layout(chunks);
            let chunks: Vec<Vec<u8>> = (0..chunks as u8)
                .map(|n| [[n; 2].as_slice(), &[n + 100; 4]].concat())
                .collect();
            assert_eq!(read(&written(&layout), &layout).unwrap(), chunks);
        }
    }

    #[test]
    fn fields_come_in_any_order() {
        let tensor = b"\x83\xa4data\xc4\x06abcdef\xa5shape\x92\x02\x03\xa5dtype\xa5uint8";
        let bytes = [b"\x82\xa7tensors\x91".as_slice(), tensor, b"\xa7version\x01"].concat();
        assert_eq!(read(&bytes, &layout(1)).unwrap(), [b"abcdef"]);
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        let good = written(&layout(1));
        let changed = |what: &[u8], to: &[u8]| {
            let at = good.windows(what.len()).position(|window| window == what);
            let at = at.expect("it is in the envelope");
            [&good[..at], to, &good[at + what.len()..]].concat()
        };
        for (bytes, why) in [
            (
                changed(b"version\x01", b"version\x02"),
                "is of version 2, and 1 is known",
            ),
            (changed(b"version", b"versiom"), "has the field 'versiom'"),
            (changed(b"uint8", b"uint9"), "is of type 'uint9' where uint8 is due"),
            (
                changed(b"\x92\x02\x03", b"\x92\x03\x02"),
                "has the shape [3, 2] where [2, 3] is due",
            ),
            (changed(b"shape", b"dtype"), "chunk 0 has the field 'dtype'"),
            (changed(b"\xc4\x06", b"\xc4\x05"), "chunk 0 has 5 bytes where 6 are due"),
            (
                changed(b"\xc4\x06", b"\xa6"),
                "the data of chunk 0 is not a byte string",
            ),
            (good[..good.len() - 1].to_vec(), "its envelope ends 1 bytes early"),
            ([good.as_slice(), b"\x00"].concat(), "1 bytes after the value"),
            (b"\x80".to_vec(), "its envelope has no version"),
            (b"\x81\xa7version\x01".to_vec(), "its envelope has no tensors"),
            (b"\x90".to_vec(), "its envelope should be a map"),
        ] {
            let text = read(&bytes, &layout(1)).unwrap_err();
            assert!(text.contains(why), "{why}: {text}");
        }
        assert!(read(&good, &layout(2)).unwrap_err().contains("has 1 chunks of 2"));
    }
}
