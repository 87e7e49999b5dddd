//! The report of a sweep or search: a row for each step, and what they say together.

use std::time::Instant;

use super::several::{Found, Several};
use super::slo;
use super::warning::Warning;
use crate::engine::config::EngineConfig;
use crate::engine::results::step::Step;
use crate::engine::run::certificate::ClientError;
use crate::load::knee::{self, Point};
use crate::load::probe::Outcome;
use crate::load::search::{Answer, Bound, Ended, Probe};
use crate::load::sweep::{Axis, load_text};
use crate::result::RunResult;
use crate::result::model::{Column, Entry, Note, Row, Section, Value};
use crate::result::samples::{Cell, Samples, Table};

/// The whole result; `started` is the start of the process.
pub fn result(
    config: &EngineConfig,
    several: &Several,
    replay: Option<&ClientError>,
    warnings: &[Warning],
    started: Instant,
) -> RunResult {
    let name = config.workload.name().text();
    let mut result = RunResult::new("engine", format!("Engine Load Result ({name})"), started);
    let entries = vec![
        Entry::text("engine_url", "Engine URL", config.engine_url.clone()),
        Entry::text("model", "Model", config.model.clone()),
        Entry::text("workload", "Workload", name),
    ];
    result.sections = vec![Section::entries("config", "Configuration", entries), table(several)];
    match &several.found {
        Some(found) => {
            result.sections.push(max_section(several, found));
            result.sections.extend(criteria_of_answer(several, found));
            result.sections.push(probes_section(found));
        }
        None => result.sections.push(sweep_section(several)),
    }
    if let Some(error) = replay {
        let entry = Entry::text("error", "Client error", error.sentence());
        result.sections.push(Section::entries("client", "Client", vec![entry]));
    }
    result.sections.push(Section::warnings(warnings));
    result
}

fn table(several: &Several) -> Section {
    let column = |key, label, unit: Option<&'static str>| {
        let column = Column::new(key, label);
        match unit {
            Some(unit) => column.unit(unit),
            None => column,
        }
    };
    let mut columns = vec![
        column("load", several.axis.map_or("load", Axis::name), None),
        column("ended_per_s", "ended/s", Some("req/s")),
        column("in_flight_mean", "in flight", None),
        column("ttft_p50_ms", "TTFT p50", Some("ms")),
        column("ttft_p99_ms", "p99", Some("ms")),
        column("latency_p99_ms", "e2el p99", Some("ms")),
    ];
    // The table of a search has other columns instead, so that it fits a terminal of 80.
    if several.found.is_none() {
        columns.push(column("output_tput", "tok/s", Some("tok/s")));
    }
    columns.push(column("failed", "failed", None));
    let has_goodput = several.steps.iter().any(|step| goodput(step).is_some());
    if has_goodput {
        columns.push(column("good_share", "good %", Some("%")));
    }
    if several.found.is_some() {
        columns.push(column("outcome", "outcome", None));
    }
    let mut rows: Vec<Row> = Vec::new();
    for (at, step) in several.steps.iter().chain(&several.again).enumerate() {
        let mut cells = cells(step, several.found.is_none());
        if has_goodput {
            cells.push(goodput(step).map_or(Value::Absent {}, |share| Value::number(share * 100.0, 2)));
        }
        if let Some(probe) = several.found.as_ref().and_then(|found| found.probes.get(at)) {
            cells.push(Value::text(outcome(probe)));
        }
        let number = (at + 1).to_string();
        let is_again = at == several.steps.len();
        let label = if is_again { "again".into() } else { number.clone() };
        rows.push(Row::new(number, label, cells));
    }
    Section::table("steps", "Steps", columns, rows)
}

fn goodput(step: &Step) -> Option<f64> {
    step.evaluated.judged.as_ref()?.goodput.map(|goodput| goodput.share())
}

/// In an open loop latencies count from the schedule.
fn cells(step: &Step, has_tokens: bool) -> Vec<Value> {
    let detail = &step.evaluated.detail;
    let ttft = detail.scheduled_ttft_ms.as_ref().unwrap_or(&detail.ttft_ms);
    let latency = detail.scheduled_latency_ms.as_ref().unwrap_or(&detail.latency_ms);
    let ms = |count: usize, value: f64| match count {
        0 => Value::Absent {},
        _ => Value::number(value, 1),
    };
    let mut cells = vec![
        load_value(step.load),
        Value::number(step.point.per_second, 2),
        Value::number(step.point.in_flight, 1),
        ms(ttft.count, ttft.spread.p50),
        ms(ttft.count, ttft.spread.p99),
        ms(latency.count, latency.spread.p99),
    ];
    if has_tokens {
        cells.push(Value::number(step.evaluated.figures.output_throughput, 1));
    }
    cells.push(Value::count(step.evaluated.figures.failed));
    cells
}

fn load_value(load: f64) -> Value {
    match load.fract() == 0.0 {
        true => Value::count(load as u64),
        false => Value::number(load, if load < 10.0 { 4 } else { 2 }),
    }
}

/// `held` and `failed` are those of short probes.
fn outcome(probe: &Probe) -> &'static str {
    match (&probe.outcome, probe.is_full) {
        (Outcome::Passed, true) => "confirmed",
        (Outcome::Failed(_), true) => "disproved",
        (Outcome::TooFew { .. }, true) => "too few",
        (Outcome::Failed(_), false) => "failed",
        (_, false) => "held",
    }
}

fn sweep_section(several: &Several) -> Section {
    let mut entries = vec![Entry::count("steps", "Steps measured", several.steps.len() as u64)];
    let sound = several.sound();
    let points: Vec<Point> = sound.iter().map(|step| step.point).collect();
    if let Some(knee) = knee::knee(&points) {
        let load = |at: usize| sound[at].load;
        entries.push(Entry::number("saturation", "Saturation", load(knee.saturation), 4));
        entries.push(Entry::number("knee", "Knee", load(knee.knee), 4));
    }
    if !several.slo.limits.is_empty() {
        entries.push(Entry::text("limits", "Limits", several.slo.to_string()));
        if several.slo.limits.iter().any(|limit| limit.percentile.is_some()) {
            // Of several repeats of a load each has to keep them.
            let is_broken = |load: f64| several.steps.iter().any(|step| step.load == load && !step.is_kept());
            let kept = several.steps.iter().filter(|step| !is_broken(step.load));
            let most = kept.map(|step| step.load).reduce(f64::max);
            entries.push(Entry::optional("holds", "Highest load that kept them", most, 4));
        }
    }
    if !several.is_complete {
        entries.push(Entry::text("ended", "Ended", "before the last step"));
    }
    Section::entries("sweep", "Sweep", entries)
}

fn max_section(several: &Several, found: &Found) -> Section {
    let axis = several.axis.map_or("load", Axis::name);
    let unit = match several.axis {
        Some(Axis::Rate) => "req/s",
        _ => "in flight",
    };
    let load = |bound: Option<Bound>| bound.map(|bound| bound.load);
    let is_full = |load: f64| found.probes.iter().any(|probe| probe.load == load && probe.is_full);
    let known = |bound: Option<Bound>| match bound {
        Some(bound) if bound.is_confirmed => "for a full duration",
        Some(bound) if is_full(bound.load) => "for a full duration, on too few requests",
        Some(_) => "by a short probe only",
        None => "no",
    };
    let Answer { holds, fails } = found.answer;
    let entries = vec![
        Entry::text("raised", "Raised", format!("{axis} ({unit})")),
        Entry::text("limits", "Limits", several.slo.to_string()),
        Entry::optional("holds", "Highest load that holds", load(holds), 4),
        Entry::text("holds_known", "It was measured", known(holds)),
        Entry::optional("fails", "Lowest load above that fails", load(fails), 4),
        Entry::text("fails_known", "That was measured", known(fails)),
        Entry::text("ended", "Search ended", ended(found.ended, several.failure.is_some())),
    ];
    Section::entries("max_load", "Highest Load", entries)
}

fn ended(ended: Option<Ended>, has_failed: bool) -> &'static str {
    match ended {
        None if has_failed => "by a step that could not be run",
        None => "by a signal",
        Some(Ended::Found) => "found",
        Some(Ended::Most) => "the greatest load that can be set holds",
        Some(Ended::NothingHolds) => "no load holds",
        Some(Ended::Probes) => "the number of probes was used up",
        Some(Ended::Budget) => "the budget was used up",
        Some(Ended::TooFew { .. }) => "too few requests for the percentile",
    }
}

/// The percentiles at the highest load that holds, with their intervals.
fn criteria_of_answer(several: &Several, found: &Found) -> Option<Section> {
    let holds = found.answer.holds?;
    // The longest measurement is the last one.
    let at = found.probes.iter().rposition(|probe| probe.load == holds.load)?;
    slo::criteria(several.steps[at].verdicts())
}

/// What each probe came to, in a sentence.
fn probes_section(found: &Found) -> Section {
    let notes = found.probes.iter().map(|probe| Note {
        key: "probe".into(),
        text: format!(
            "{}{}: {}",
            load_text(probe.load),
            if probe.is_full { ", full duration" } else { "" },
            probe.outcome
        ),
    });
    Section::list("probes", "Probes", notes.collect())
}

/// The table `steps`, unrounded.
pub fn samples(several: &Several) -> Samples {
    let ms = Some("ms");
    let mut table = Table::new(&[
        ("load", None),
        ("seconds", Some("s")),
        ("due_per_s", Some("req/s")),
        ("sent_per_s", Some("req/s")),
        ("ended_per_s", Some("req/s")),
        ("in_flight_mean", None),
        ("successful", None),
        ("failed", None),
        ("unsent", None),
        ("ttft_p50_ms", ms),
        ("ttft_p99_ms", ms),
        ("ttft_scheduled_p50_ms", ms),
        ("ttft_scheduled_p99_ms", ms),
        ("tpot_p50_ms", ms),
        ("tpot_p99_ms", ms),
        ("latency_mean_ms", ms),
        ("latency_p99_ms", ms),
        ("output_tput", Some("tok/s")),
        ("good_share", None),
    ]);
    for step in several.steps.iter().chain(&several.again) {
        let (detail, figures) = (&step.evaluated.detail, &step.evaluated.figures);
        let delivered = &step.evaluated.delivered;
        let scheduled = detail.scheduled_ttft_ms.as_ref();
        table.push(vec![
            step.load.into(),
            step.window_s.into(),
            Cell::from(delivered.due_per_s),
            Cell::from(delivered.sent_per_s),
            step.point.per_second.into(),
            step.point.in_flight.into(),
            figures.successful.into(),
            figures.failed.into(),
            delivered.skipped.unsent.into(),
            detail.ttft_ms.spread.p50.into(),
            detail.ttft_ms.spread.p99.into(),
            Cell::from(scheduled.map(|ttft| ttft.spread.p50)),
            Cell::from(scheduled.map(|ttft| ttft.spread.p99)),
            detail.tpot_ms.spread.p50.into(),
            detail.tpot_ms.spread.p99.into(),
            (step.point.mean_s * 1e3).into(),
            detail.latency_ms.spread.p99.into(),
            figures.output_throughput.into(),
            Cell::from(goodput(step)),
        ]);
    }
    let mut samples = Samples::default();
    samples.tables.insert("steps".into(), table);
    samples
}
