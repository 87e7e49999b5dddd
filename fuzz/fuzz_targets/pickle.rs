//! Pickles of chunks from a cache server. The first bytes choose the layout.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::server::rpc::inline::{Form, read_chunks};
use lmcache_bench::server::rpc::{ChunkLayout, Dtype, Inline};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let [kind, side, chunks, rest @ ..] = data else { return };
    let dtype = Dtype::ALL[usize::from(*kind) % Dtype::ALL.len()];
    let form = if kind & 0x80 == 0 {
        Form::Torch
    } else {
        Form::TorchOrBare
    };
    let layout = ChunkLayout {
        dtype,
        shape: vec![2, u64::from(side % 8), 2],
        chunks: usize::from(chunks % 8),
    };
    let (read, taken) = bounded(rest, |pickle| {
        let mut taken = 0;
        let mut source = pickle;
        let read = read_chunks(
            &mut source,
            pickle.len() as u64,
            &layout,
            form,
            &mut |chunk, at, piece| {
                assert!(chunk < layout.chunks);
                assert!(at + piece.len() as u64 <= layout.chunk_bytes());
                taken += piece.len() as u64;
            },
        );
        (read.is_ok(), taken)
    });
    assert!(taken <= rest.len() as u64);
    if read {
        assert_eq!(taken, layout.chunk_bytes() * layout.chunks as u64);
    }
    let ours = fuzzing::chunk_data(Inline::Pickle, &layout, *kind);
    let mut source = ours.as_slice();
    read_chunks(&mut source, ours.len() as u64, &layout, Form::Torch, &mut |_, _, _| {})
        .expect("a pickle of the mock's");
});
