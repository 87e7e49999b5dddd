//! The flags about where prompt tokens came from: what is read from the servers, what is expected of each tier, what is required.

use crate::cli::flag::{Flag, Group, keep, on_off};
use crate::engine::args::EngineArgs;

type Row = Flag<EngineArgs>;

pub(super) const CACHE: Group = Group {
    title: "KV cache, not in LMCache",
    of_reference: false,
};

pub(super) const FLAGS: &[Row] = &[
    Row::value("metrics-url", "URL", |args, text| {
        args.metrics_url.get_or_insert_default().push(text.to_owned());
        Ok(())
    })
    .unset("`/metrics` of `--engine-url`")
    .repeatable()
    .help(
        "Page of metrics of an engine; one for each engine",
        "Where the engine's counters are not beside its API, or where `--engine-url` is a balancer: the counters of all pages \
         are then added up. An address without a path gets `/metrics`. `OPENAI_API_KEY` is not sent to these.",
    ),
    Row::value("kv-tiers", "SIZES", |args, text| keep(&mut args.kv_tiers, text))
        .unset("as the servers say")
        .help(
            "Sizes of the cache tiers: `hbm=20GB,l1=100GB,l2=1TB`",
            "What each tier should serve is computed from these. Each key alone takes the place of what the servers say: \
             `hbm` (GB, `tokens` or `blocks`), `l1`, `l2` (`none` and `unlimited` too), `block` and `chunk` in tokens, \
             `watermark` and `ratio` of L1's eviction. `off` expects nothing.",
        ),
    Row::switch("no-ledger", |args, text| {
        on_off(text).map(|on| args.no_ledger = Some(on))
    })
    .help(
        "Do not tell where prompt tokens came from",
        "No page of metrics is read but for workloads that need one, and no hits are expected. Not with `--staircase`.",
    ),
    Row::switch("require-ledger", |args, text| {
        on_off(text).map(|on| args.require_ledger = Some(on))
    })
    .help(
        "Exit with 3 if the ledger does not balance",
        "That is when the warning `ledger-off` or `hits-differ` is in the report, or when there is no ledger.",
    ),
    Row::value("require-hits", "LIMITS", |args, text| {
        args.require_hits.get_or_insert_default().push(text.to_owned());
        Ok(())
    })
    .unset("none")
    .repeatable()
    .help(
        "Exit with 3 unless tiers served enough: `l2>=80%,hbm<=5%`",
        "Shares of the measured phase's prompt tokens: `computed`, `hbm`, `l1`, `l2`, `lmcache` (L1 and L2), `cached` (all but \
         computed), each with `>=` or `<=`. Where a share is known as an interval, all of it must be within the limit.",
    ),
    Row::switch("clear-cache", |args, text| {
        on_off(text).map(|on| args.clear_cache = Some(on))
    })
    .help(
        "Empty the caches before the run",
        "By `/reset_prefix_cache` of vLLM (it has that with `VLLM_SERVER_DEV_MODE=1`) or `/flush_cache` of SGLang, and \
         `/cache/clear` of the LMCache server at `--lmcache-url`. Refused where a server has no such endpoint. The report of one \
         load then says if its first phase was served anything that this run had not sent. Other users of these caches lose theirs \
         too.",
    ),
];
