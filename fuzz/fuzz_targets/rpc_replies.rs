//! Replies of a cache server: the same from a complete frame and from one that arrives in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::server::rpc::messages;
use lmcache_bench::server::rpc::msgpack::{Decoder, Malformed, Source};
use lmcache_bench::server::rpc::inline::Form;
use lmcache_bench::server::rpc::{ChunkLayout, ChunkSink, Dtype};
use lmcache_bench_fuzz::{bounded, hash};

/// A frame that arrives in pieces of different sizes.
struct Arriving<'a> {
    rest: &'a [u8],
    state: u64,
}

impl Source for Arriving<'_> {
    type Error = Malformed;

    fn left(&self) -> u64 {
        self.rest.len() as u64
    }

    fn read(&mut self, to: &mut [u8]) -> Result<(), Malformed> {
        (&mut self.rest).read(to)
    }

    fn piece(&mut self, max: u64) -> Result<&[u8], Malformed> {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let size = 1 + (self.state >> 33) as usize % 7;
        let size = size.min(usize::try_from(max).unwrap_or(usize::MAX));
        let (piece, rest) = self.rest.split_at(size);
        self.rest = rest;
        Ok(piece)
    }
}

type Read = (Result<String, Malformed>, Vec<(usize, u64, Vec<u8>)>);

fn read<S: Source<Error = Malformed>>(kind: u8, keep: bool, source: S) -> Read {
    let mut decoder = Decoder(source);
    let mut chunks = Vec::new();
    let mut sink = |chunk: usize, at: u64, piece: &[u8]| {
        if keep {
            chunks.push((chunk, at, piece.to_vec()));
        }
    };
    let shown = |value: &dyn std::fmt::Debug| if keep { format!("{value:?}") } else { String::new() };
    let layout = ChunkLayout {
        dtype: Dtype::Float16,
        shape: vec![2, 1, 4, 2],
        chunks: 2,
    };
    let inline = |decoder: &mut Decoder<S>, form, sink: &mut ChunkSink| {
        messages::prepared_retrieve(decoder, Some((&layout, form, sink)))
    };
    let reply = &mut decoder;
    let result = match kind % 10 {
        0 => messages::transferred(reply).map(|value| shown(&value)),
        1 => messages::shared_pool(reply).map(|value| shown(&value)),
        2 => messages::prepared_store(reply).map(|value| shown(&value)),
        3 => messages::prepared_retrieve(reply, None).map(|value| shown(&value)),
        4 => inline(reply, Form::Torch, &mut sink).map(|value| shown(&value)),
        5 => inline(reply, Form::TorchOrBare, &mut sink).map(|value| shown(&value)),
        6 => messages::names(reply).map(|value| shown(&value)),
        7 => messages::optional_number(Some(reply)).map(|value| shown(&value)),
        9 => inline(reply, Form::Envelope, &mut sink).map(|value| shown(&value)),
        _ => reply.skip().map(|()| String::new()),
    };
    let result = result.and_then(|value| decoder.end().map(|()| value));
    (result, chunks)
}

/// The bytes of each chunk, however they came.
fn joined(chunks: &[(usize, u64, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for (chunk, at, piece) in chunks {
        if *chunk == joined.len() {
            joined.push(Vec::new());
        }
        assert_eq!(joined[*chunk].len() as u64, *at, "pieces come in order");
        joined[*chunk].extend_from_slice(piece);
    }
    joined
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, frame)) = data.split_first() else {
        return;
    };
    bounded(frame, |frame| read(*kind, false, frame).0.is_ok());
    let (whole, chunks) = read(*kind, true, frame);
    let (arrived, pieces) = read(
        *kind,
        true,
        Arriving {
            rest: frame,
            state: hash(data),
        },
    );
    assert_eq!(whole, arrived);
    assert_eq!(joined(&chunks), joined(&pieces));
    assert!(joined(&chunks).iter().all(|chunk| chunk.len() <= 32));
});
