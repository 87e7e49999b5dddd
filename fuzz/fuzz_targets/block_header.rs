//! Headers of a raw_block device: of checkpoints and of slots.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, fuzzing::checkpoint_header);
    let Some((fields, header)) = data.split_first_chunk::<16>() else {
        return;
    };
    let (identity, object_bytes) = fields.split_first_chunk::<8>().expect("sixteen bytes");
    let object_bytes = u64::from_le_bytes(object_bytes.try_into().expect("eight bytes"));
    bounded(header, |header| fuzzing::slot_header(header, *identity, object_bytes));
});
