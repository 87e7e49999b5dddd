//! Chat templates. What one may cost does not depend on its length: it is paid for from a million steps of 64 bytes each.
#![no_main]

use std::thread;

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::{FACTOR, bounded_by};

/// The steps, and as much again for a text that grows and its copy.
const ROOM: usize = 4 * (64 << 20);

/// As the program has: an expression is read by recursion.
const STACK_BYTES: usize = 512 << 20;

fuzz_target!(|data: &[u8]| {
    // Memory is counted on the thread that reads.
    let reader = thread::Builder::new().stack_size(STACK_BYTES);
    thread::scope(|scope| {
        let reader = reader.spawn_scoped(scope, || read(data)).expect("a thread");
        reader.join().expect("no panic");
    });
});

fn read(data: &[u8]) {
    let Ok(template) = std::str::from_utf8(data) else { return };
    let (variable, template) = template.split_once('\n').unwrap_or(("a=1", template));
    let head = bounded_by(FACTOR, ROOM, template.as_bytes(), |template| {
        let template = String::from_utf8_lossy(template);
        fuzzing::chat_head(&template, variable)
    });
    assert_eq!(fuzzing::chat_head(template, variable), head);
}
