//! Command lines, one word per line: they parse or are refused.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use lmcache_bench::cli;
use lmcache_bench::commands::COMMANDS;
use lmcache_bench_fuzz::{ROOM, TYPED_FACTOR, bounded_by};

/// Each word has a place in a list that doubles, and an empty word has one byte of input. The system limits the words to a few MiB.
const WORD_FACTOR: usize = 2 * size_of::<OsString>();

fuzz_target!(|data: &[u8]| {
    bounded_by(TYPED_FACTOR + WORD_FACTOR, ROOM, data, |data| {
        let words = data.split(|byte| *byte == b'\n');
        cli::parse(words.map(|word| OsStr::from_bytes(word).to_owned()), COMMANDS).is_ok()
    });
});
