//! What each tier should have served beside what it did, why the rest was computed, and TTFT by source.

use crate::engine::results::by_source::Mostly;
use crate::engine::results::detail::Distribution;
use crate::ledger::causes::Causes;
use crate::ledger::expect::{Expected, Fit, Row as Figure};
use crate::ledger::simulate::Tier;
use crate::result::model::{Column, Entry, Note, Row, Section, Value};

/// Causes of fewer prompt tokens than this share have no sentence.
const TOLD_SHARE: f64 = 0.01;

/// The phases that were expected, by name, and what that rests on.
pub struct Facts<'a> {
    pub phases: &'a [(&'static str, &'a Expected)],
    pub assumptions: &'a [String],
}

/// `expected_hits`, `computed_why` and their sentences.
pub fn sections(facts: &Facts) -> Vec<Section> {
    let mut sections = vec![hits(facts)];
    sections.extend(why(facts));
    let notes = notes(facts);
    if !notes.is_empty() {
        sections.push(Section::list("hits_explained", "Expected Hits, Explained", notes));
    }
    sections
}

/// One row for each source and phase.
fn hits(facts: &Facts) -> Section {
    let columns = [
        ("expected", "expected"),
        ("expected_min", "least"),
        ("expected_max", "most"),
        ("seen", "seen"),
        ("possible", "possible"),
    ];
    let columns = columns
        .map(|(key, label)| Column::new(key, label).unit("tokens"))
        .to_vec();
    let several = facts.phases.len() > 1;
    let mut rows = Vec::new();
    for (phase, expected) in facts.phases {
        let cached = sum(expected);
        let sources = [
            ("computed", "Computed", &expected.computed, None),
            ("hbm", "HBM", &expected.hbm, None),
            ("lmcache_l1", "LMCache L1", &expected.l1, None),
            ("lmcache_l2", "LMCache L2", &expected.l2, None),
            ("cached", "All caches", &cached, Some(expected.possible)),
        ];
        for (key, label, figure, possible) in sources {
            let label = if several {
                format!("{label}, {phase}")
            } else {
                label.to_owned()
            };
            let count = |value: Option<u64>| value.map_or(Value::Absent {}, Value::count);
            let cells = vec![
                count(figure.expected),
                count(Some(figure.min)),
                count(Some(figure.max)),
                count(figure.seen),
                count(possible),
            ];
            rows.push(Row::new(format!("{phase}_{key}"), label, cells));
        }
    }
    Section::table("expected_hits", "Expected Hits (tokens)", columns, rows)
}

/// What all caches together serve: what is not computed.
fn sum(expected: &Expected) -> Figure {
    let prompt = expected.prompt;
    let rest = |computed: u64| prompt.saturating_sub(computed);
    Figure {
        expected: expected.computed.expected.map(rest),
        min: rest(expected.computed.max),
        max: rest(expected.computed.min),
        seen: expected.computed.seen.map(rest),
    }
}

/// Key and label in the report, and the tokens.
type Cause = (&'static str, &'static str, fn(&Causes) -> u64);

/// The causes that the report has, from the most obvious on.
pub(super) const CAUSES: [Cause; 11] = [
    ("new", "Never sent before", |causes| causes.new),
    ("last_token", "Last token of a known prompt", |causes| causes.last_token),
    ("tail", "Behind the last whole block", |causes| causes.tail),
    ("chunk_tail", "Behind the last whole chunk", |causes| causes.chunk_tail),
    ("evicted_hbm", "Evicted from HBM", |causes| causes.evicted_hbm),
    ("evicted_l1", "Evicted from L1", |causes| causes.evicted_l1),
    ("evicted_l2", "Evicted from L2", |causes| causes.evicted_l2),
    ("not_stored", "Never stored, L1 was full", |causes| causes.not_stored),
    ("no_room_to_load", "On L2, L1 was full", |causes| causes.no_room_to_load),
    ("store_pending", "Not stored yet", |causes| causes.store_pending),
    ("unexplained", "Unexplained", |causes| causes.unexplained),
];

/// Computed tokens by cause, a column for each phase.
fn why(facts: &Facts) -> Option<Section> {
    let known: Vec<(&str, &Causes)> = facts
        .phases
        .iter()
        .filter_map(|(phase, expected)| Some((*phase, expected.causes.as_ref()?)))
        .collect();
    if known.is_empty() {
        return None;
    }
    let columns = known
        .iter()
        .map(|(phase, _)| Column::new(*phase, *phase).unit("tokens"));
    let mut rows: Vec<Row> = CAUSES
        .iter()
        .map(|(key, label, of)| {
            let cells = known.iter().map(|(_, causes)| Value::count(of(causes)));
            Row::new(*key, *label, cells.collect())
        })
        .collect();
    if known.iter().any(|(_, causes)| causes.earlier_runs > 0) {
        let cells = known.iter().map(|(_, causes)| Value::count(causes.earlier_runs));
        rows.push(Row::new("earlier_runs", "Found, from earlier runs", cells.collect()));
    }
    let label = "Why Tokens Were Computed, as Expected";
    Some(Section::table("computed_why", label, columns.collect(), rows))
}

/// Sentences about the last phase, largest cause first, then what makes the intervals wide and what they rest on.
fn notes(facts: &Facts) -> Vec<Note> {
    let Some((phase, expected)) = facts.phases.last() else {
        return Vec::new();
    };
    let mut notes: Vec<Note> = Vec::new();
    let mut note = |key: &'static str, text: String| {
        notes.push(Note { key: key.into(), text });
    };
    if let Some(causes) = &expected.causes {
        let mut told: Vec<(u64, &str, &str)> = CAUSES
            .iter()
            .map(|(key, label, of)| (of(causes), *key, *label))
            .filter(|(tokens, ..)| is_told(*tokens, expected.prompt))
            .collect();
        told.sort_by_key(|(tokens, ..)| std::cmp::Reverse(*tokens));
        for (tokens, key, _) in told {
            note("cause", sentence(key, tokens, expected.prompt));
        }
    }
    if let Some(text) = overflowed(expected) {
        note("overflowed", text);
    }
    match expected.fit {
        Fit::Explained { .. } if expected.width.is_empty() => {}
        Fit::Explained { variants } => note(
            "explained",
            format!("What was counted in the {phase} phase is what the simulator gives ({variants} of its variants)."),
        ),
        Fit::Differs | Fit::NotChecked => {}
    }
    if !expected.width.is_empty() {
        let reasons: Vec<String> = expected.width.iter().map(ToString::to_string).collect();
        note(
            "interval",
            format!("Figures are intervals because {}.", reasons.join("; ")),
        );
    }
    if let Some(why) = &expected.not_predicted {
        note(
            "not-predicted",
            format!("Nothing is expected of the {phase} phase: {why}."),
        );
    }
    for assumption in facts.assumptions {
        note("assumption", assumption.clone());
    }
    notes
}

/// Whether tokens are enough for a sentence.
fn is_told(tokens: u64, prompt: u64) -> bool {
    tokens > 0 && tokens as f64 >= TOLD_SHARE * prompt as f64
}

/// Which tiers were too small, where another one served what they had lost.
fn overflowed(expected: &Expected) -> Option<String> {
    let figures = [(Tier::L1, Tier::Hbm, &expected.l1), (Tier::L2, Tier::L1, &expected.l2)];
    let served: Vec<(Tier, Tier, u64, bool)> = figures
        .into_iter()
        .map(|(tier, before, row)| (tier, before, row.seen.or(row.expected).unwrap_or(0), row.seen.is_some()))
        .filter(|(_, before, tokens, _)| is_told(*tokens, expected.prompt) && expected.overflowed.contains(before))
        .collect();
    let (_, last, ..) = served.last()?;
    let lost: Vec<String> = [Tier::Hbm, Tier::L1]
        .iter()
        .filter(|tier| expected.overflowed.contains(tier) && (**tier == Tier::Hbm || *last == Tier::L1))
        .map(ToString::to_string)
        .collect();
    let parts: Vec<String> = served
        .iter()
        .map(|(tier, before, tokens, is_counted)| {
            let share = *tokens as f64 / expected.prompt.max(1) as f64 * 100.0;
            let about = if *is_counted { "" } else { "about " };
            format!("{about}{tokens} prompt tokens ({share:.1} %) that {before} had evicted came from {tier}")
        })
        .collect();
    Some(format!("{} overflowed: {}.", lost.join(" and "), parts.join(", and ")))
}

fn sentence(cause: &str, tokens: u64, prompt: u64) -> String {
    let share = tokens as f64 / prompt.max(1) as f64 * 100.0;
    let what = match cause {
        "new" => "had never been sent before",
        "last_token" => "are last tokens of prompts that were known entirely; the engine always computes them",
        "tail" => "lie behind the last whole block of a prompt",
        "chunk_tail" => "were no longer in HBM, and LMCache keeps whole chunks only",
        "evicted_hbm" => "had been evicted from HBM, and no other tier had them: HBM overflowed",
        "evicted_l1" => "had been evicted from L1, and no tier behind it had them: L1 overflowed",
        "evicted_l2" => "had been evicted from L2, the last tier: L2 overflowed",
        "not_stored" => "were never stored: L1 was full between two evictions and refused their chunks",
        "no_room_to_load" => "lay on L2, but L1 had no room to load them",
        "store_pending" => "were asked for before their store had ended",
        _ => "have no cause that is known",
    };
    format!("{tokens} prompt tokens ({share:.1} %) {what}.")
}

/// TTFT of requests by what served most of their prompt.
pub fn ttft_by_source(rows: &[(Mostly, Distribution)]) -> Option<Section> {
    if rows.is_empty() {
        return None;
    }
    let ms = |key, label| Column::new(key, label).unit("ms");
    let columns = vec![
        Column::new("requests", "requests"),
        ms("mean", "mean"),
        ms("p50", "p50"),
        ms("p99", "p99"),
    ];
    let rows = rows.iter().map(|(mostly, distribution)| {
        let spread = &distribution.spread;
        let cells = vec![
            Value::count(distribution.count as u64),
            Value::number(spread.mean, 2),
            Value::number(spread.p50, 2),
            Value::number(spread.p99, 2),
        ];
        Row::new(mostly.key(), mostly.label(), cells)
    });
    let label = "TTFT by What Served Most of a Prompt (ms)";
    Some(Section::table("ttft_by_source", label, columns, rows.collect()))
}

/// Why there are no expected hits, for a report that has a ledger.
pub fn unexpected(why: &str) -> Section {
    let text = format!("No hits are expected: {why}.");
    Section::entries(
        "expected_hits",
        "Expected Hits",
        vec![Entry::text("reason", "Reason", text)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::results::figures::Spread;

    #[test]
    fn the_columns_of_ttft_are_what_they_are_called() {
        let spread = Spread {
            mean: 1.5,
            p50: 2.5,
            p90: 3.5,
            p99: 4.5,
        };
        let distribution = Distribution {
            count: 201,
            spread,
            max: 5.5,
        };
        let section = ttft_by_source(&[(Mostly::L1, distribution)]).unwrap();
        let shown = serde_json::to_value(&section).unwrap().to_string();
        let at = |number: &str| shown.find(number).unwrap_or_else(|| panic!("{number}: {shown}"));
        let places = ["\"count\":201", "1.5", "2.5", "4.5"].map(at);
        assert!(places.is_sorted(), "{shown}");
    }

    fn served(l1: (Option<u64>, u64), l2: (Option<u64>, u64), overflowed: &[Tier]) -> Option<String> {
        let row = |(seen, expected): (Option<u64>, u64)| Figure {
            expected: Some(expected),
            min: expected,
            max: expected,
            seen,
        };
        super::overflowed(&Expected {
            prompt: 10_000,
            computed: Figure::default(),
            hbm: Figure::default(),
            l1: row(l1),
            l2: row(l2),
            requests: Vec::new(),
            causes: None,
            possible: 10_000,
            width: Vec::new(),
            overflowed: overflowed.to_vec(),
            fit: Fit::NotChecked,
            not_predicted: None,
        })
    }

    #[test]
    fn the_tiers_that_overflowed_are_named_with_what_the_one_behind_served() {
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(served((Some(0), 0), (Some(0), 0), &[Tier::Hbm]), None);
        assert_eq!(
            served((Some(5000), 0), (Some(0), 0), &[Tier::Hbm]),
            said("HBM overflowed: 5000 prompt tokens (50.0 %) that HBM had evicted came from L1.")
        );
        assert_eq!(
            served((Some(10), 10), (None, 5000), &[Tier::Hbm, Tier::L1]),
            said("HBM and L1 overflowed: about 5000 prompt tokens (50.0 %) that L1 had evicted came from L2.")
        );
        // L2 serves what an earlier run left.
        assert_eq!(served((Some(0), 0), (Some(5000), 5000), &[Tier::Hbm]), None);
    }
}
