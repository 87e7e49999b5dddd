//! Server-sent events: the same events however the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::engine::failure::Failure;
use lmcache_bench::engine::stream::sse::{Decoder, Event};
use lmcache_bench_fuzz::{bounded, hash, pieces};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, mut on_event: impl FnMut(Event<'_>)) -> Result<(), Failure> {
    let mut decoder = Decoder::new();
    let mut take = |event: Event<'_>| {
        on_event(event);
        Ok(())
    };
    for piece in pieces {
        decoder.feed(piece, &mut take)?;
    }
    decoder.finish(&mut take)
}

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<(bool, Vec<u8>)>, bool) {
    let mut events = Vec::new();
    let read = read(pieces, |event| {
        events.push(match event {
            Event::Data(data) => (true, data.to_vec()),
            Event::Error(message) => (false, message.to_vec()),
        })
    });
    (events, read.is_ok())
}

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| {
        let _ = read(std::iter::once(data), |_| {});
    });
    let whole = events(std::iter::once(data));
    let bytes = whole.0.iter().map(|(_, event)| event.len()).sum::<usize>();
    assert!(bytes <= data.len(), "events hold more than came");
    let same = if hash(data) % 2 == 0 {
        events(pieces(data))
    } else {
        events(data.chunks(1))
    };
    assert_eq!(same, whole);
});
