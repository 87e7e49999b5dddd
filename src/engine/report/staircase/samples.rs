//! The tables of a staircase in a result file, unrounded: for plots and comparisons.

use super::Climbed;
use super::break_even::key;
use crate::ledger::staircase::Tokens;
use crate::result::samples::{ABSENT, Cell, Samples, Table};
use crate::stats::percentile::linear_unsorted;

/// The tables `kv_staircase`, in the order of measuring, and `kv_probes`.
pub fn samples(climbed: &Climbed) -> Samples {
    let mut samples = Samples::default();
    samples.tables.insert("kv_staircase".into(), points(climbed));
    samples.tables.insert("kv_probes".into(), probes(climbed));
    samples
}

const OF_TOKENS: [(&str, Option<&str>); 9] = [
    ("prompt", None),
    ("computed", None),
    ("hbm", None),
    ("l1_min", None),
    ("l1_max", None),
    ("l2_min", None),
    ("l2_max", None),
    ("ttft_p50_ms", Some("ms")),
    ("ttft_p90_ms", Some("ms")),
];

fn of_tokens(tokens: &Tokens, ttft_s: &[f64]) -> Vec<Cell> {
    let counts = [
        tokens.prompt,
        tokens.computed,
        tokens.hbm,
        tokens.l1.min,
        tokens.l1.max,
        tokens.l2.min,
        tokens.l2.max,
    ];
    let ttft_ms = [50.0, 90.0].map(|p| match ttft_s.is_empty() {
        true => ABSENT,
        false => Cell::from(linear_unsorted(ttft_s.to_vec(), p) * 1e3),
    });
    counts.map(Cell::from).into_iter().chain(ttft_ms).collect()
}

fn points(climbed: &Climbed) -> Table {
    let own = [
        ("documents", None),
        ("document_tokens", None),
        ("rest_tokens", None),
        ("passes", None),
        ("working_set_tokens", None),
        ("working_set_gb", Some("GB")),
        ("seconds", Some("s")),
    ];
    let mut table = Table::new(&[&own[..], &OF_TOKENS].concat());
    for point in climbed.points() {
        let mut row: Vec<Cell> = vec![
            point.circle.documents.into(),
            point.circle.tokens.into(),
            point.circle.rest.into(),
            point.passes.into(),
            point.working_set().into(),
            climbed.gb(point.working_set() as f64).into(),
            point.seconds.into(),
        ];
        row.extend(of_tokens(&point.tokens, &point.ttft_s));
        table.push(row);
    }
    table
}

fn probes(climbed: &Climbed) -> Table {
    let own = [
        ("source", None),
        ("length", None),
        ("prompts", None),
        ("seconds", Some("s")),
    ];
    let mut table = Table::new(&[&own[..], &OF_TOKENS].concat());
    for sent in climbed.probes.iter().flat_map(|probes| probes.sent()) {
        let mut row: Vec<Cell> = vec![
            key(sent.source).into(),
            sent.length.into(),
            (sent.ttft_s.len() as u64).into(),
            sent.seconds.into(),
        ];
        row.extend(of_tokens(&sent.tokens, &sent.ttft_s));
        table.push(row);
    }
    table
}
