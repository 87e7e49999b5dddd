//! The report of a staircase: a row for each working set, the usable size of each tier, what TTFT is made of by source, and what
//! that means, in sentences.

mod break_even;
mod reading;
mod samples;
#[cfg(test)]
mod tests;
mod usable;

use std::time::Instant;

use super::warning::Warning;
use crate::engine::config::EngineConfig;
use crate::engine::run::certificate::ClientError;
use crate::ledger::staircase::plan::{Ended, Plan};
use crate::ledger::staircase::probes::Probes;
use crate::ledger::staircase::usable::Usable;
use crate::ledger::staircase::{Point, Tier, Tiers};
use crate::result::RunResult;
use crate::result::model::{Column, Entry, Row, Section, Value};
use crate::stats::percentile::linear_unsorted;

pub use samples::samples;

const GB: f64 = (1u64 << 30) as f64;

/// Everything that was measured.
#[derive(Debug)]
pub struct Climbed {
    pub plan: Plan,
    /// Why no more working sets were measured; `None` after a signal or a failure.
    pub ended: Option<Ended>,
    /// The working set that was under way when the time for working sets was over.
    pub cut_off: Option<u64>,
    /// `None` where they were not begun.
    pub probes: Option<Probes>,
    /// Bytes of KV cache of one token, where they are known.
    pub bytes_per_token: Option<f64>,
    /// Why a working set or a prompt could not be measured.
    pub failure: Option<String>,
}

impl Climbed {
    fn points(&self) -> &[Point] {
        self.plan.points()
    }

    fn tiers(&self) -> &Tiers {
        &self.plan.settings().tiers
    }

    fn usable(&self) -> Usable {
        self.plan.usable()
    }

    fn gb(&self, tokens: f64) -> Option<f64> {
        Some(tokens * self.bytes_per_token? / GB)
    }

    /// Whether there is a cache server behind the engine, by what was measured or is known.
    fn has_lower_tiers(&self) -> bool {
        let served = self
            .points()
            .iter()
            .any(|point| point.tokens.l1.max + point.tokens.l2.max > 0);
        served || self.tiers().l1.is_some() || self.tiers().l2.is_some()
    }

    /// Whether no prompt was as long as a chunk, so that nothing of it lies in L1 or L2.
    fn fills_no_chunk(&self) -> bool {
        ceiling(self, Tier::L1) == Some(0.0)
    }

    /// From the smallest working set to the largest.
    fn in_order(&self) -> Vec<&Point> {
        let mut points: Vec<&Point> = self.points().iter().collect();
        points.sort_by_key(|point| point.working_set());
        points
    }

    /// What made the run fail, for stderr.
    pub fn problem(&self) -> Option<String> {
        let cause = self.failure.as_ref()?;
        Some(format!("{cause}; the report has what was measured before"))
    }
}

/// The whole result; `started` is the start of the process.
pub fn result(
    config: &EngineConfig,
    climbed: &Climbed,
    replay: Option<&ClientError>,
    warnings: &[Warning],
    started: Instant,
) -> RunResult {
    let mut result = RunResult::new("engine", "KV Cache Staircase", started);
    let settings = climbed.plan.settings();
    let mut entries = vec![
        Entry::text("engine_url", "Engine URL", config.engine_url.clone()),
        Entry::text("model", "Model", config.model.clone()),
        Entry::count("document_tokens", "Document length (tokens)", settings.document_tokens),
    ];
    let bytes = climbed.bytes_per_token.map(|bytes| bytes.round() as u64);
    entries.extend(bytes.map(|bytes| Entry::count("bytes_per_token", "KV cache of a token (bytes)", bytes)));
    result.sections = vec![
        Section::entries("config", "Configuration", entries),
        table(climbed),
        usable::section(climbed),
    ];
    result.sections.extend(break_even::section(climbed));
    result.sections.push(reading::section(climbed));
    if let Some(error) = replay {
        let entry = Entry::text("error", "Client error", error.sentence());
        result.sections.push(Section::entries("client", "Client", vec![entry]));
    }
    result.sections.push(Section::warnings(warnings));
    result
}

/// A row for each working set, from the smallest to the largest. Shares are of the prompt tokens of the measured passes.
fn table(climbed: &Climbed) -> Section {
    let has_gb = climbed.bytes_per_token.is_some();
    let has_lower = climbed.has_lower_tiers();
    let share = |key, label| Column::new(key, label).unit("%");
    let mut columns = vec![
        Column::new("documents", "docs"),
        Column::new("working_set_tokens", "tokens"),
    ];
    if has_gb {
        columns.push(Column::new("working_set_gb", "GB").unit("GB"));
    }
    columns.push(Column::new("ttft_p50_ms", "TTFT p50").unit("ms"));
    columns.push(Column::new("ttft_p90_ms", "p90").unit("ms"));
    columns.push(share("hbm", "HBM %"));
    if has_lower {
        columns.push(share("l1", "L1 %"));
        columns.push(share("l2", "L2 %"));
    }
    columns.push(share("computed", "comp. %"));
    let row = |(at, point): (usize, &Point)| {
        let tokens = &point.tokens;
        let percent = |part: u64| Value::number(tokens.share(part) * 100.0, 1);
        let ttft_ms = |p: f64| match point.ttft_s.is_empty() {
            true => Value::Absent {},
            false => Value::number(linear_unsorted(point.ttft_s.clone(), p) * 1e3, 1),
        };
        let mut cells = vec![Value::count(point.circle.count()), Value::count(point.working_set())];
        if has_gb {
            cells.push(Value::optional(climbed.gb(point.working_set() as f64), 3));
        }
        cells.extend([ttft_ms(50.0), ttft_ms(90.0), percent(tokens.hbm)]);
        if has_lower {
            cells.extend([percent(tokens.from_l1()), percent(tokens.from_l2())]);
        }
        cells.push(percent(tokens.computed));
        let number = (at + 1).to_string();
        Row::new(number.clone(), number, cells)
    };
    let rows = climbed.in_order().into_iter().enumerate().map(row).collect();
    Section::table("kv_staircase", "KV Staircase", columns, rows)
}

/// The largest share that a tier could serve: of a working set of whole documents.
fn ceiling(climbed: &Climbed, tier: Tier) -> Option<f64> {
    let points = climbed.points().iter();
    points
        .map(|point| point.ceiling(tier, climbed.tiers()))
        .reduce(f64::max)
}
