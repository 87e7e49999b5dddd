//! The text of --kv-tiers in the first line, and an LMCache server's status or config behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::ledger::tiers::{Answers, KvTiers, TierFlags, stores_pending};
use lmcache_bench::python::json;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    bounded(data, |data| {
        let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let (flags, answer) = data.split_at(end);
        let answer = json::loads(answer).unwrap_or_default();
        let flags = TierFlags::parse(&String::from_utf8_lossy(flags)).unwrap_or_default();
        let models = ["m".to_owned()];
        let answers = Answers {
            status: Some(&answer),
            config: Some(&answer),
            models: &models,
            ..Answers::default()
        };
        let tiers = KvTiers::of(&answers, &flags);
        let _ = (
            tiers.unknown(true),
            tiers.l1_chunks(),
            tiers.l1_keeps_bytes(),
            tiers.hbm_bytes(),
        );
        let _ = stores_pending(&answer);
    });
});
