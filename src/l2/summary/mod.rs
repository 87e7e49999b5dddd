//! Computes the report from the samples. LMCache's sections keep their keys, labels and formulas, except for the errors that
//! docs/measurement.md lists; further sections follow.

use std::time::{Duration, Instant};

use crate::l2::adapter::{Operation, ProbeSlice};
use crate::l2::config::RunConfig;
use crate::l2::device;
use crate::l2::samples::{PhaseSamples, Round, VerifyTally};
use crate::l2::warning::Warning;
use crate::result::RunResult;
use crate::result::model::{Column, Entry, Name, Row, Section, Value};
use crate::stats::histogram::LatencyHistogram;
use crate::stats::percentile::linear;
use crate::stats::summary::Summary;
use crate::sys::storage::Storage;
use crate::units::{GIB, MIB};

mod warnings;

const TITLE: &str = "L2 Adapter Benchmark Result";
/// What the report needs besides the samples.
pub struct RunFacts<'a> {
    pub config: &'a RunConfig,
    pub adapter_json: &'a str,
    pub knows_device: bool,
    pub storage_path: Option<String>,
    /// What is behind that path.
    pub storage: Storage,
    pub interrupted: Option<&'static str>,
    /// Sections of the adapter.
    pub adapter_sections: Vec<Section>,
    /// LMCache's class name of the adapter.
    pub adapter_class: &'a str,
    /// Start of the process.
    pub started: Instant,
}

/// The whole result. `warnings` are those from before and during the run.
pub fn result(facts: &RunFacts<'_>, phases: &[PhaseSamples], warnings: Vec<Warning>) -> RunResult {
    let mut result = RunResult::new("l2", TITLE, facts.started);
    result.partial = partial(facts, phases);
    result.settings = super::result::settings(facts.config, facts.adapter_json);
    result.target = super::result::target(facts);
    result.sections = sections(facts, phases, warnings);
    result
}

fn sections(facts: &RunFacts<'_>, phases: &[PhaseSamples], mut warnings: Vec<Warning>) -> Vec<Section> {
    let mut sections = vec![config_section(facts)];
    for (index, phase) in phases.iter().enumerate() {
        sections.push(operation_section(index, facts.config, phase));
        sections.push(detail_section(index, phase));
        sections.push(latency_section(index, phase));
        warnings::add(facts, phase, &mut warnings);
    }
    let verified = phases.iter().find_map(|phase| phase.verify.as_ref());
    sections.extend(verified.map(verify_section));
    sections.extend(facts.adapter_sections.iter().cloned());
    sections.push(run_section(facts, phases));
    if !warnings.is_empty() {
        sections.push(Section::warnings(&warnings));
    }
    sections
}

/// Why the run ended early, if it did.
fn partial(facts: &RunFacts<'_>, phases: &[PhaseSamples]) -> Option<Name> {
    // A phase that could not start has no samples.
    let aborted = phases.len() < facts.config.operations.len() || phases.iter().any(|phase| phase.aborted.is_some());
    let interrupted = facts.interrupted.map(Name::from);
    interrupted.or_else(|| aborted.then(|| "aborted".into()))
}

fn config_section(facts: &RunFacts<'_>) -> Section {
    let config = facts.config;
    let keys = config.plan.keys_per_round();
    let data_mb = (keys * config.object_bytes as u64) as f64 / MIB as f64;
    let mut entries = vec![
        Entry::text("l2_adapter_json", "L2 adapter JSON", facts.adapter_json),
        Entry::count("num_keys", "Keys / submit", config.plan.num_keys()),
        Entry::count("in_flight", "In-flight / round", config.plan.in_flight()),
        Entry::count("keys_per_round", "Keys / round", keys),
        Entry::count("data_size_kb", "Data size / key (KB)", config.data_size_kb).unit("KiB"),
        Entry::number("data_per_round_mb", "Data / round (MB)", data_mb, 2).unit("MiB"),
        Entry::count("measurement_rounds", "Measurement rounds", config.rounds),
        Entry::count("warmup_rounds", "Warmup rounds", config.warmup_rounds),
    ];
    if config.runs(Operation::Lookup) {
        let rate = config.lookup_max_hit_rate;
        entries.push(Entry::number("lookup_max_hit_rate", "Lookup max hit rate", rate, 4));
    }
    Section::entries("config", "Configuration", entries)
}

fn operation_section(index: usize, config: &RunConfig, phase: &PhaseSamples) -> Section {
    let keys = config.plan.keys_per_round();
    let per_second = |amount: f64, duration: Duration| {
        let seconds = duration.as_secs_f64();
        if seconds > 0.0 { amount / seconds } else { 0.0 }
    };
    let of = |value: &dyn Fn(&Round) -> f64| Summary::of(&phase.rounds.iter().map(value).collect::<Vec<f64>>());
    let duration = of(&|round| round.duration.as_secs_f64() * 1e3);
    let throughput = of(&|round| per_second(round.moved_bytes as f64 / MIB as f64, round.duration));
    // Every answered lookup counts as an operation; stores and loads count only when they succeeded.
    let ops = of(&|round| {
        let done = if phase.operation == Operation::Lookup {
            keys
        } else {
            round.success
        };
        per_second(done as f64, round.duration)
    });
    let rounds = phase.rounds.len() as u64;
    let success: u64 = phase.rounds.iter().map(|round| round.success).sum();
    let mut entries = vec![
        Entry::text("operation", "Operation", phase.operation.label()),
        Entry::count("rounds", "Rounds", rounds),
        Entry::count("rounds_timed_out", "Rounds timed out", phase.rounds_timed_out),
        Entry::count("keys_per_round", "Keys / round", keys),
        Entry::count("total_keys", "Total keys", rounds * keys),
        Entry::count("total_success", "Total success", success),
        Entry::number("duration_avg_ms", "Duration avg (ms)", duration.avg, 2).unit("ms"),
        Entry::number("duration_min_ms", "Duration min (ms)", duration.min, 2).unit("ms"),
        Entry::number("duration_max_ms", "Duration max (ms)", duration.max, 2).unit("ms"),
        Entry::number("duration_p50_ms", "Duration p50 (ms)", duration.p50, 2).unit("ms"),
        Entry::number("duration_p99_ms", "Duration p99 (ms)", duration.p99, 2).unit("ms"),
        Entry::number("duration_std_ms", "Duration std (ms)", duration.std, 2).unit("ms"),
        Entry::number("throughput_avg_mbps", "Throughput avg (MB/s)", throughput.avg, 2).unit("MiB/s"),
        Entry::number("throughput_min_mbps", "Throughput min (MB/s)", throughput.min, 2).unit("MiB/s"),
        Entry::number("throughput_max_mbps", "Throughput max (MB/s)", throughput.max, 2).unit("MiB/s"),
        Entry::number("ops_per_sec_avg", "Avg ops/s", ops.avg, 2),
        Entry::number(
            "latency_per_key_ms",
            "Avg latency / key (ms)",
            duration.avg / keys as f64,
            3,
        )
        .unit("ms"),
    ];
    let rate = config.lookup_max_hit_rate.clamp(0.0, 1.0);
    if phase.operation == Operation::Lookup && rate > 0.0 {
        let expected = config.plan.per_round_hits() * rounds;
        let actual = if rounds > 0 {
            success as f64 / (rounds * keys) as f64
        } else {
            0.0
        };
        entries.push(Entry::number("expected_max_hit_rate", "Expected max hit rate", rate, 4));
        entries.push(Entry::count("expected_hit_count", "Expected hit keys", expected));
        entries.push(Entry::number("actual_hit_rate", "Actual hit rate", actual, 4));
    }
    Section::entries(format!("op_{index}"), phase.operation.label(), entries)
}

fn detail_section(index: usize, phase: &PhaseSamples) -> Section {
    let mut entries = vec![
        Entry::text("io_path", "I/O path", phase.io_path.name.clone()),
        Entry::count(
            "queue_depth_requested",
            "Queue depth requested",
            phase.io_path.depth as u64,
        ),
        Entry::optional(
            "queue_depth_achieved",
            "Queue depth achieved",
            phase.achieved_depth(),
            2,
        ),
    ];
    entries.extend(traffic_entries(phase));
    entries.extend(key_entries(phase));
    if phase.rounds_not_run > 0 {
        entries.push(Entry::count("rounds_not_run", "Rounds not run", phase.rounds_not_run));
    }
    if let Some(residency) = phase.residency {
        let (before, after) = (residency.resident_pages_before, residency.resident_pages_after);
        entries.push(Entry::count("cold_objects", "Objects made cold", residency.objects));
        entries.push(Entry::count("cold_pages_before", "Cached pages before", before));
        entries.push(Entry::count("cold_pages_after", "Cached pages after", after));
    }
    entries.extend(probe_entries(phase));
    let label = format!("{}: detail", phase.operation.label());
    Section::entries(format!("detail_{index}"), label, entries)
}

/// Bytes moved, bytes to or from the device, and CPU time. Lookups move none.
fn traffic_entries(phase: &PhaseSamples) -> Vec<Entry> {
    if phase.operation == Operation::Lookup {
        return Vec::new();
    }
    let moved = phase.moved_bytes();
    let gib = moved as f64 / GIB as f64;
    let device_bytes = device::device_bytes(phase.operation, &phase.traffic);
    let label = device::label(device_bytes, moved).map(|(_, label)| label.text());
    let label = label.map_or(Value::Absent {}, Value::text);
    let device_mb = device_bytes.map(|bytes| bytes as f64 / MIB as f64);
    let cpu = (gib > 0.0).then(|| phase.cpu.as_secs_f64() / gib);
    vec![
        Entry::number("moved_mb", "Data moved (MB)", moved as f64 / MIB as f64, 2).unit("MiB"),
        Entry::optional("device_mb", "Data across the device (MB)", device_mb, 2).unit("MiB"),
        Entry::new("device_label", "Measured", label),
        Entry::optional("cpu_s_per_gib", "CPU time (s/GiB)", cpu, 3).unit("s/GiB"),
    ]
}

fn key_entries(phase: &PhaseSamples) -> Vec<Entry> {
    let tally = &phase.tally;
    let missing = Entry::count("keys_missing", "Keys missing", tally.missing);
    let failed = Entry::count("keys_failed", "Keys failed", tally.failed);
    match phase.operation {
        Operation::Store => {
            let already = Entry::count("keys_already_there", "Keys already there", tally.already_there);
            vec![already, failed]
        }
        Operation::Load => vec![
            missing,
            Entry::count("keys_short", "Keys truncated", tally.short),
            failed,
        ],
        Operation::Lookup => {
            let label = "Keys found though never stored";
            let unexpected = Entry::count("keys_unexpected", label, tally.unexpected_hits);
            vec![missing, unexpected, failed]
        }
    }
}

fn probe_entries(phase: &PhaseSamples) -> Vec<Entry> {
    let Some(written) = ProbeResult::written(phase) else {
        let reason = phase.probe_error.clone();
        return reason.map_or_else(Vec::new, |reason| {
            vec![Entry::text("probe_error", "No raw probe", reason)]
        });
    };
    let mut entries = vec![
        Entry::number("probe_mbps_p50", "Raw device p50 (MB/s)", written.mbps_p50, 2).unit("MiB/s"),
        Entry::number("probe_spread", "Raw device max / min", written.spread, 2),
        Entry::number("probe_ratio_p25", "Share of raw device p25", written.ratio[0], 3),
        Entry::number("probe_ratio_p50", "Share of raw device p50", written.ratio[1], 3),
        Entry::number("probe_ratio_p75", "Share of raw device p75", written.ratio[2], 3),
    ];
    if let Some(fresh) = ProbeResult::fresh(phase) {
        entries.extend([
            Entry::number("fresh_mbps_p50", "Raw fresh space p50 (MB/s)", fresh.mbps_p50, 2).unit("MiB/s"),
            Entry::number("fresh_spread", "Raw fresh space max / min", fresh.spread, 2),
            Entry::number("fresh_ratio_p50", "Share of raw fresh space p50", fresh.ratio[1], 3),
        ]);
    }
    entries
}

/// The ratio of each round to the mean of the probe slices before and after it.
struct ProbeResult {
    mbps_p50: f64,
    spread: f64,
    ratio: [f64; 3],
}

impl ProbeResult {
    fn of(phase: &PhaseSamples, pick: impl Fn(&ProbeSlice) -> Option<Duration>) -> Option<ProbeResult> {
        let sides = phase.rounds.iter().map(|round| round.probe).chain([phase.last_probe]);
        let probes: Option<Vec<f64>> = sides
            .map(|slice| Some(pick(&slice?)?.as_secs_f64().max(1e-9)))
            .collect();
        let probes = probes.filter(|probes| probes.len() > 1)?;
        let bytes = phase.rounds.iter().map(|round| round.moved_bytes).max();
        let bytes = bytes.filter(|bytes| *bytes > 0)? as f64;
        // The harmonic mean of two speeds for the same bytes is the bytes over the mean of the two times.
        let ratio = |(round, sides): (&Round, &[f64])| {
            let probe_s = (sides[0] + sides[1]) / 2.0;
            round.moved_bytes as f64 / bytes * probe_s / round.duration.as_secs_f64().max(1e-9)
        };
        let mut ratios: Vec<f64> = phase.rounds.iter().zip(probes.windows(2)).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let mut speeds: Vec<f64> = probes.iter().map(|probe| bytes / MIB as f64 / probe).collect();
        speeds.sort_by(f64::total_cmp);
        Some(ProbeResult {
            mbps_p50: linear(&speeds, 50.0),
            spread: speeds.last()? / speeds.first()?,
            ratio: [25.0, 50.0, 75.0].map(|p| linear(&ratios, p)),
        })
    }

    fn written(phase: &PhaseSamples) -> Option<ProbeResult> {
        ProbeResult::of(phase, |slice| Some(slice.written))
    }

    fn fresh(phase: &PhaseSamples) -> Option<ProbeResult> {
        ProbeResult::of(phase, |slice| slice.fresh)
    }
}

fn latency_section(index: usize, phase: &PhaseSamples) -> Section {
    const COLUMNS: [(&str, &str); 5] = [
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("p99_9", "p99.9"),
        ("max", "max"),
    ];
    let columns = COLUMNS.map(|(key, label)| Column::new(key, label).unit("us")).to_vec();
    let row = |key: &'static str, label: &'static str, histogram: &LatencyHistogram| {
        let percentiles = histogram.percentiles();
        let cells = [
            percentiles.p50,
            percentiles.p90,
            percentiles.p99,
            percentiles.p999,
            percentiles.max,
        ];
        let us = |ns: u64| Value::number(ns as f64 / 1e3, 1);
        Row::new(key, label, cells.map(us).to_vec())
    };
    let latencies = &phase.latencies;
    let mut rows = vec![row("queued", "Queued", &latencies.queued)];
    let steps = [
        ("open", &latencies.open),
        ("transfer", &latencies.transfer),
        ("publish", &latencies.publish),
    ];
    for ((key, histogram), label) in steps.into_iter().zip(phase.step_labels) {
        if !label.is_empty() && phase.operation != Operation::Lookup {
            rows.push(row(key, label, histogram));
        }
    }
    rows.push(row("service", "Key total", &latencies.service));
    rows.push(row("task_slat", "Task slat", &latencies.task_slat));
    rows.push(row("task_clat", "Task clat", &latencies.task_clat));
    Section::table(
        format!("latency_{index}"),
        format!("{}: latency (us)", phase.operation.label()),
        columns,
        rows,
    )
}

fn verify_section(tally: &VerifyTally) -> Section {
    let core_s = tally.core_time.as_secs_f64();
    let speed = (core_s > 0.0).then(|| tally.bytes as f64 / GIB as f64 / core_s);
    let mut entries = vec![
        Entry::count("objects", "Objects checked", tally.objects),
        Entry::count("good", "Objects good", tally.good),
        Entry::count("bad", "Objects bad", tally.bad_count()),
        Entry::optional("gib_per_core_s", "Check speed per core (GiB/s)", speed, 2).unit("GiB/s"),
    ];
    for (name, count) in &tally.bad {
        entries.push(Entry::count(*name, format!("Bad: {}", name.replace('_', " ")), *count));
    }
    Section::entries("verify", "Verification", entries)
}

fn run_section(facts: &RunFacts<'_>, phases: &[PhaseSamples]) -> Section {
    let first = |time: fn(&PhaseSamples) -> Option<Duration>| {
        let found = phases.iter().find_map(time);
        found.map(|time| time.as_secs_f64() * 1e3)
    };
    let state = partial(facts, phases).map_or("complete".to_owned(), |why| format!("partial ({why})"));
    let entries = vec![
        Entry::text("report", "Report", state),
        Entry::text("version", "lmcache-bench", env!("CARGO_PKG_VERSION")),
        Entry::count("seed", "Seed", facts.config.seed),
        Entry::optional(
            "start_to_first_submit_ms",
            "Start to first submit (ms)",
            first(|phase| phase.first_submit),
            2,
        )
        .unit("ms"),
        Entry::optional(
            "first_buffers_ms",
            "Of which buffers (ms)",
            first(|phase| phase.first_buffers),
            2,
        )
        .unit("ms"),
    ];
    Section::entries("run", "Run", entries)
}

#[cfg(test)]
mod tests;
