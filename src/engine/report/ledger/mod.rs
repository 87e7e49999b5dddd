//! The sections about where prompt tokens came from: the ledger with a column for each phase, its cross-checks, what LMCache did
//! beside it, and what is known of each tier.

use crate::ledger::balance::{Balance, Item, Ledger, Outcome, Range, Split};
use crate::ledger::tiers::{Known, KvTiers, L2, Source};
use crate::result::model::{Column, Entry, Row, Section, Value};
use crate::units::GIB;

#[cfg(test)]
mod tests;

/// A phase of a run and its ledger.
pub struct PhaseLedger<'a> {
    /// `warmup` or `measured`, which is the key and the heading of its column.
    pub phase: &'static str,
    pub ledger: &'a Ledger,
    /// Whether the servers' counters stood still when they were read after it.
    pub settled: bool,
}

/// All sections that have anything to show. Shares and sizes are those of the last phase.
pub fn sections(phases: &[PhaseLedger], tiers: Option<&KvTiers>) -> Vec<Section> {
    let bytes_per_token = tiers.and_then(|tiers| tiers.bytes_per_token.value);
    let mut sections = Vec::new();
    sections.extend(token_ledger(phases, bytes_per_token));
    sections.extend(checks(phases));
    sections.extend(counters(phases));
    sections.extend(work(phases));
    sections.extend(tiers.map(kv_tiers));
    sections
}

fn phase_columns(phases: &[PhaseLedger]) -> Vec<Column> {
    phases
        .iter()
        .map(|phase| Column::new(phase.phase, phase.phase))
        .collect()
}

/// A count out of the ledger of a phase.
type Count<'a> = &'a dyn Fn(&Ledger) -> Option<u64>;

/// The rows of an item: one where it is known, and two bounds where in some phase it is not.
fn item_rows(phases: &[PhaseLedger], item: Item, cells: &dyn Fn(Count) -> Vec<Value>) -> Vec<Row> {
    let ranges: Vec<Range> = phases.iter().filter_map(|phase| phase.ledger.range(item)).collect();
    let mut rows = Vec::new();
    if ranges.iter().any(|range| range.is_exact()) {
        rows.push(Row::new(item.key(), item.label(), cells(&|ledger| ledger.count(item))));
    }
    if ranges.iter().any(|range| !range.is_exact()) {
        let open = |ledger: &Ledger| ledger.range(item).filter(|range| !range.is_exact());
        let bound = |name: &str, words: &str, value: fn(Range) -> u64| {
            let key = format!("{}_{name}", item.key());
            let label = format!("{}, {words}", item.label());
            Row::new(key, label, cells(&|ledger| open(ledger).map(value)))
        };
        rows.push(bound("min", "at least", |range| range.min));
        rows.push(bound("max", "at most", |range| range.max));
    }
    rows
}

/// A number of tokens that may be negative.
fn signed(tokens: i64) -> Value {
    match u64::try_from(tokens) {
        Ok(count) => Value::count(count),
        Err(_) => Value::number(tokens as f64, 0),
    }
}

fn token_ledger(phases: &[PhaseLedger], bytes_per_token: Option<u64>) -> Option<Section> {
    let last = phases.last()?.ledger;
    let prompt = last.count(Item::Prompt);
    let mut columns = phase_columns(phases);
    columns.push(Column::new("percent", "%").unit("%"));
    if bytes_per_token.is_some() {
        columns.push(Column::new("gb", "GB").unit("GB"));
    }
    let shares = |tokens: Option<f64>| {
        let whole = prompt.filter(|prompt| *prompt > 0);
        let percent = tokens.zip(whole).map(|(tokens, prompt)| tokens / prompt as f64 * 100.0);
        let gb =
            bytes_per_token.map(|bytes| Value::optional(tokens.map(|tokens| tokens * bytes as f64 / GIB as f64), 2));
        [Value::optional(percent, 1)].into_iter().chain(gb)
    };
    let cells = |count: Count| {
        let counts = phases
            .iter()
            .map(|phase| count(phase.ledger).map_or(Value::Absent {}, Value::count));
        counts.chain(shares(count(last).map(|count| count as f64))).collect()
    };
    let mut rows = item_rows(phases, Item::Prompt, &cells);
    rows.extend(
        Item::SOURCES
            .into_iter()
            .flat_map(|item| item_rows(phases, item, &cells)),
    );
    if rows.is_empty() {
        return None;
    }
    let unexplained = phases
        .iter()
        .map(|phase| phase.ledger.unexplained().map_or(Value::Absent {}, signed));
    let share = shares(last.unexplained().map(|tokens| tokens as f64));
    rows.push(Row::new(
        "unexplained",
        "Unexplained",
        unexplained.chain(share).collect(),
    ));
    Some(Section::table("token_ledger", "Token Ledger", columns, rows))
}

/// Keys and labels of cross-checks.
const CHECKS: [(&str, &str); 8] = [
    ("usage_prompt", "Prompts, by usage"),
    ("usage_cached", "Cached, by usage"),
    ("cached_total", "Cached, by engine"),
    ("prefill_computed", "Computed, by requests"),
    ("queries", "Looked up in HBM"),
    ("hits", "Hits when admitted"),
    ("found", "Found by LMCache"),
    ("loaded", "Loaded by LMCache"),
];

/// How far the ledger can be trusted. Of the cross-checks people are shown those that do not agree, programs all: the tokens by
/// which the first side is larger.
fn checks(phases: &[PhaseLedger]) -> Vec<Section> {
    if phases.iter().all(|phase| phase.ledger.range(Item::Prompt).is_none()) {
        return Vec::new();
    }
    let row = |key: &'static str, label: &'static str, cell: &dyn Fn(&PhaseLedger) -> Value| {
        Row::new(key, label, phases.iter().map(cell).collect())
    };
    let optional = |tokens: Option<i64>| tokens.map_or(Value::Absent {}, signed);
    let mut rows = vec![
        row("balance", "Sources and prompts", &|phase| {
            Value::text(balance(phase.ledger.balance))
        }),
        row("split", "L1 and L2", &|phase| Value::text(split(&phase.ledger.split))),
        row("others", "Of other clients", &|phase| optional(phase.ledger.others)),
        row("no_first_token", "Without an answer", &|phase| {
            optional(phase.ledger.no_first_token)
        }),
        row("settled", "Counters stood still", &|phase| {
            Value::text(if phase.settled { "yes" } else { "no" })
        }),
        row("agreeing", "Cross-checks that agree", &|phase| {
            let all = &phase.ledger.checks;
            let agreeing = all.iter().filter(|check| check.outcome == Outcome::Agrees).count();
            Value::text(format!("{agreeing} of {}", all.len()))
        }),
    ];
    let mut compared = Vec::new();
    for (key, label) in CHECKS {
        let outcome = |phase: &PhaseLedger| {
            let mut checks = phase.ledger.checks.iter();
            checks.find(|check| check.key == key).map(|check| check.outcome)
        };
        let all = row(key, label, &|phase| match outcome(phase) {
            Some(Outcome::Agrees) => Value::count(0),
            Some(Outcome::Differs(tokens)) => signed(tokens),
            None => Value::Absent {},
        });
        if phases
            .iter()
            .any(|phase| matches!(outcome(phase), Some(Outcome::Differs(_))))
        {
            rows.push(all.clone());
        }
        compared.push(all);
    }
    vec![
        Section::table("ledger_checks", "Ledger Checks", phase_columns(phases), rows),
        Section::table(
            "ledger_compared",
            "Cross-Checks of the Ledger",
            phase_columns(phases),
            compared,
        )
        .for_programs(),
    ]
}

fn balance(balance: Balance) -> String {
    match balance {
        Balance::Exact => "exact".to_owned(),
        Balance::Derived => "by difference".to_owned(),
        Balance::Off(tokens) => format!("off by {tokens} tokens"),
        Balance::Unknown => "unknown".to_owned(),
    }
}

fn split(split: &Split) -> &'static str {
    match split {
        Split::Exact => "exact",
        Split::Interval => "interval",
        Split::Unknown(_) => "unknown",
        Split::Nothing => "none",
    }
}

/// Where each row comes from, and what was compared in each check.
fn counters(phases: &[PhaseLedger]) -> Option<Section> {
    let ledger = phases.last()?.ledger;
    let rows = ledger
        .rows
        .iter()
        .map(|(item, figure)| Entry::text(item.key(), item.label(), figure.from.clone()));
    let checks = ledger
        .checks
        .iter()
        .map(|check| Entry::text(format!("check_{}", check.key), "Check", check.what.clone()));
    let entries: Vec<Entry> = rows.chain(checks).collect();
    (!entries.is_empty()).then(|| Section::entries("ledger_counters", "Counters of the Ledger", entries).for_programs())
}

fn work(phases: &[PhaseLedger]) -> Option<Section> {
    let cells = |count: Count| {
        let counts = phases
            .iter()
            .map(|phase| count(phase.ledger).map_or(Value::Absent {}, Value::count));
        counts.collect()
    };
    let has_any = phases.iter().any(|phase| phase.ledger.range(Item::LookedUp).is_some());
    let rows = Item::WORK.into_iter().flat_map(|item| item_rows(phases, item, &cells));
    has_any.then(|| {
        Section::table(
            "lmcache_work",
            "LMCache, by Its Own Counters",
            phase_columns(phases),
            rows.collect(),
        )
    })
}

/// A row of `kv_tiers`; a value that is not known was said by nobody.
fn tier_row(key: &'static str, label: &'static str, value: Value, source: Source) -> Row {
    let source = if value == (Value::Absent {}) {
        Source::Unknown
    } else {
        source
    };
    Row::new(key, label, vec![value, Value::text(source.key())])
}

/// Rows of `kv_tiers` about a cache server.
const OF_CACHE: [&str; 7] = [
    "l1_gb",
    "l1_keeps_gb",
    "l2_gb",
    "chunk_tokens",
    "l1_policy",
    "l1_watermark",
    "l1_eviction_ratio",
];

fn kv_tiers(tiers: &KvTiers) -> Section {
    let count = |key, label, known: &Known<u64>| {
        tier_row(
            key,
            label,
            known.value.map_or(Value::Absent {}, Value::count),
            known.source,
        )
    };
    let share = |key, label, known: &Known<f64>| tier_row(key, label, Value::optional(known.value, 2), known.source);
    let gb = |bytes: Option<f64>| Value::optional(bytes.map(|bytes| bytes / GIB as f64), 3);
    let l2 = match tiers.l2.value {
        None => Value::Absent {},
        Some(L2::None) => Value::text("none"),
        Some(L2::NoLimit) => Value::text("no limit"),
        Some(L2::Bytes(bytes)) => gb(Some(bytes as f64)),
    };
    let hbm = gb(tiers.hbm_bytes().map(|bytes| bytes as f64));
    let l1 = gb(tiers.l1_bytes.value.map(|bytes| bytes as f64));
    let policy = tiers.l1_policy.value.clone().map_or(Value::Absent {}, Value::text);
    let mut rows = vec![
        tier_row("hbm_gb", "HBM (GB)", hbm, tiers.hbm_tokens.source),
        count("usable_hbm_tokens", "HBM (tokens)", &tiers.hbm_tokens),
        tier_row("l1_gb", "L1 (GB)", l1, tiers.l1_bytes.source),
        tier_row(
            "l1_keeps_gb",
            "L1 keeps (GB)",
            gb(tiers.l1_keeps_bytes()),
            tiers.watermark.source,
        ),
        tier_row("l2_gb", "L2 (GB)", l2, tiers.l2.source),
        count("block_tokens", "Block (tokens)", &tiers.block_tokens),
        count("chunk_tokens", "Chunk (tokens)", &tiers.chunk_tokens),
        count("bytes_per_token", "KV of a token (bytes)", &tiers.bytes_per_token),
        tier_row("l1_policy", "L1 policy", policy, tiers.l1_policy.source),
        share("l1_watermark", "L1 watermark", &tiers.watermark),
        share("l1_eviction_ratio", "L1 eviction ratio", &tiers.ratio),
    ];
    // Without an LMCache server its rows would all be unknown.
    let has_cache = tiers.chunk_tokens.value.is_some() || tiers.l1_bytes.value.is_some() || tiers.l2.value.is_some();
    rows.retain(|row| has_cache || !OF_CACHE.contains(&row.key.as_ref()));
    let columns = vec![Column::new("value", "value"), Column::new("source", "said by")];
    Section::table("kv_tiers", "KV Tiers", columns, rows)
}
