//! Envelopes of chunks, from a cache server or a client of the mock. The first bytes choose the layout.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::server::rpc::inline::{Form, read_chunks};
use lmcache_bench::server::rpc::{ChunkLayout, Dtype, Inline};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let [kind, side, chunks, rest @ ..] = data else { return };
    let layout = ChunkLayout {
        dtype: Dtype::ALL[usize::from(*kind) % Dtype::ALL.len()],
        shape: vec![2, u64::from(side % 8), 2],
        chunks: usize::from(chunks % 8),
    };
    let (read, taken) = bounded(rest, |envelope| {
        let mut taken = 0;
        let mut source = envelope;
        let sink = &mut |chunk: usize, at: u64, piece: &[u8]| {
            assert!(chunk < layout.chunks);
            assert!(at + piece.len() as u64 <= layout.chunk_bytes());
            taken += piece.len() as u64;
        };
        let read = read_chunks(&mut source, envelope.len() as u64, &layout, Form::Envelope, sink);
        (read.is_ok(), taken)
    });
    assert!(taken <= rest.len() as u64);
    if read {
        assert_eq!(taken, layout.chunk_bytes() * layout.chunks as u64);
    }
    let ours = fuzzing::chunk_data(Inline::Envelope, &layout, *kind);
    let mut source = ours.as_slice();
    read_chunks(&mut source, ours.len() as u64, &layout, Form::Envelope, &mut |_, _, _| {})
        .expect("an envelope of the mock's");
});
