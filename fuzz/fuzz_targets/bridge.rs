//! Frames from the bridge's helper process.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, fuzzing::bridge_frames);
    // A frame's own length is hard to guess.
    let mut framed = (data.len() as u32).to_le_bytes().to_vec();
    framed.extend_from_slice(data);
    let (frames, _) = bounded(&framed, fuzzing::bridge_frames);
    assert_eq!(frames, 1);
});
