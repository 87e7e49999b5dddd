//! Two pages of metrics, with a line of dashes between them, as a ledger: bounds are in order, sources that add up are no more than
//! the prompts, and between a moment and itself nothing was counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::ledger::balance::{Item, Ledger, Settings, Usage};
use lmcache_bench::ledger::counters::{Moment, Page};
use lmcache_bench_fuzz::bounded;

/// Reads the page as the engine's and as the LMCache server's.
fn moment(text: &str) -> Moment {
    let page = Page { url: "u", text };
    Moment::read(&[page], Some(page)).0
}

fuzz_target!(|data: &[u8]| {
    let ledger = bounded(data, |data| {
        let text = String::from_utf8_lossy(data);
        let (before, after) = text.split_once("\n---\n").unwrap_or(("", &text));
        let usage = Usage {
            requests: 1,
            with_prompt: 1,
            prompt_tokens: 1000,
            with_cached: 1,
            ..Usage::default()
        };
        let settings = Settings {
            seconds: 1.0,
            chunk_tokens: Some(256),
            block_tokens: Some(16),
            models: vec!["m".to_owned()],
            ..Settings::default()
        };
        let after = moment(after);
        let still = Ledger::between(&after, &after, &Usage::default(), &settings);
        assert!(still.rows.values().all(|figure| figure.range.max == 0), "{still:?}");
        Ledger::between(&moment(before), &after, &usage, &settings)
    });
    for (item, figure) in &ledger.rows {
        assert!(figure.range.min <= figure.range.max, "{item:?}: {figure:?}");
    }
    if let (Some(0), Some(prompt), Some(computed)) = (
        ledger.unexplained(),
        ledger.count(Item::Prompt),
        ledger.count(Item::Computed),
    ) {
        let hbm = ledger.count(Item::Hbm).unwrap_or(0);
        assert!(computed.saturating_add(hbm) <= prompt, "{ledger:?}");
    }
});
