//! One streamed response from bytes to counts: the same however it is split.
#![no_main]

use std::iter;

use libfuzzer_sys::fuzz_target;
use lmcache_bench::engine::stream::answer::Answer;
use lmcache_bench::engine::stream::ending;
use lmcache_bench::engine::stream::repeat::ChunkReader;
use lmcache_bench::engine::stream::sse::{Decoder, Event};
use lmcache_bench::engine::timestamp::Stamp;
use lmcache_bench_fuzz::{bounded, hash, pieces};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Answer, String> {
    let mut decoder = Decoder::new();
    let mut reader = ChunkReader::default();
    let mut answer = Answer::new(true, 16);
    let mut take = |event: Event<'_>| answer.read_event(&mut reader, event, Stamp(0));
    for piece in pieces {
        decoder.feed(piece, &mut take).map_err(|failure| failure.text)?;
    }
    let finish = &mut |event: Event<'_>| answer.read_unfinished(event, Stamp(0));
    decoder.finish(finish).map_err(|failure| failure.text)?;
    let _ = ending::check(&answer);
    Ok(answer)
}

fuzz_target!(|data: &[u8]| {
    let whole = bounded(data, |data| read(iter::once(data)));
    let same = if hash(data) % 2 == 0 {
        read(pieces(data))
    } else {
        read(data.chunks(1))
    };
    assert_eq!(same, whole);
    if let Ok(answer) = whole {
        assert!(answer.event_bytes <= data.len() as u64);
        // Of a lone surrogate or a byte that is no UTF-8 three come.
        assert!(answer.text.len() <= 3 * data.len());
    }
});
