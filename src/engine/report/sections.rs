//! The sections of the engine report: LMCache's unchanged, then further ones.

use std::time::Instant;

use super::load;
use super::slo;
use super::warning::Warning;
use crate::engine::results::delivered::Delivered;
use crate::engine::results::detail::{Detail, Distribution};
use crate::engine::results::figures::{Figures, Spread};
use crate::engine::results::judged::Judged;
use crate::engine::run::certificate::ClientError;
use crate::engine::run::evidence::{Evidence, StatedError};
use crate::result::RunResult;
use crate::result::model::{Column, Entry, Name, Note, Row, Section, Value};

/// What the report is made from.
pub struct Facts<'a> {
    pub engine_url: &'a str,
    pub model: &'a str,
    pub workload: &'a str,
    pub figures: &'a Figures,
    pub detail: &'a Detail,
    pub delivered: &'a Delivered,
    pub judged: Option<&'a Judged>,
    pub client_error: &'a StatedError,
    /// Where prompt tokens came from, by the servers' counters.
    pub prompt_sources: Option<Section>,
    /// The sections of the ledger.
    pub ledger: Vec<Section>,
    /// The workload's own section, which follows LMCache's.
    pub of_workload: Option<Section>,
    pub warnings: &'a [Warning],
    /// The name of the signal that ended the run early, such as `SIGINT`.
    pub interrupted: Option<&'static str>,
}

/// The whole result; `started` is the start of the process.
pub fn result(facts: &Facts, started: Instant) -> RunResult {
    let mut result = RunResult::new(
        "engine",
        format!("Engine Benchmark Result ({})", facts.workload),
        started,
    );
    result.partial = facts.interrupted.map(Name::from);
    result.sections = reference_sections(facts);
    result.sections.extend(facts.of_workload.clone());
    result.sections.extend(beyond_sections(facts));
    result.sections.push(Section::warnings(facts.warnings));
    result
}

/// The sections that LMCache prints.
fn reference_sections(facts: &Facts) -> Vec<Section> {
    let figures = facts.figures;
    let mut config = vec![
        Entry::text("engine_url", "Engine URL", facts.engine_url),
        Entry::text("model", "Model", facts.model),
        Entry::text("workload", "Workload", facts.workload),
    ];
    if let Some(signal) = facts.interrupted {
        config.push(Entry::text("partial", "Partial, stopped by", signal));
    }
    let Spread { mean, p50, p90, p99 } = figures.ttft_ms;
    vec![
        Section::entries("config", "Configuration", config),
        Section::entries(
            "results",
            "Results",
            vec![
                Entry::count("successful", "Successful requests", figures.successful),
                Entry::count("failed", "Failed requests", figures.failed),
                Entry::number("duration", "Benchmark duration (s)", figures.elapsed_s, 2).unit("s"),
                Entry::count("input_tokens", "Total input tokens", figures.input_tokens),
                Entry::count("output_tokens", "Total output tokens", figures.output_tokens),
                Entry::number("input_tput", "Input throughput (tok/s)", figures.input_throughput, 2).unit("tok/s"),
                Entry::number("output_tput", "Output throughput (tok/s)", figures.output_throughput, 2).unit("tok/s"),
            ],
        ),
        Section::entries(
            "ttft",
            "Time to First Token",
            vec![
                Entry::number("mean", "Mean TTFT (ms)", mean, 2).unit("ms"),
                Entry::number("p50", "P50 TTFT (ms)", p50, 2).unit("ms"),
                Entry::number("p90", "P90 TTFT (ms)", p90, 2).unit("ms"),
                Entry::number("p99", "P99 TTFT (ms)", p99, 2).unit("ms"),
            ],
        ),
        Section::entries(
            "decode",
            "Decoding Speed",
            vec![
                Entry::number("mean", "Mean decode (tok/s)", figures.decode_speed.mean, 2).unit("tok/s"),
                Entry::number("p99", "P99 decode (tok/s)", figures.decode_speed.p99, 2).unit("tok/s"),
            ],
        ),
    ]
}

fn beyond_sections(facts: &Facts) -> Vec<Section> {
    let detail = facts.detail;
    let mut sections = vec![
        latency_table(facts),
        Section::entries("token_timing", "Token Timing", token_timing(detail)),
    ];
    sections.extend(load::section(facts.delivered));
    sections.extend(facts.judged.into_iter().flat_map(slo::sections));
    sections.extend(facts.prompt_sources.clone());
    sections.extend(facts.ledger.iter().cloned());
    sections.push(Section::entries("traffic", "Traffic", traffic(detail)));
    if detail.finish_reasons.len() > 1 {
        let reasons = detail.finish_reasons.iter();
        let entries = reasons.map(|(reason, count)| Entry::count(reason.clone(), reason.clone(), *count));
        sections.push(Section::entries("finish_reasons", "Finish Reasons", entries.collect()));
    }
    if !detail.failures.is_empty() {
        let entries = detail.failures.iter();
        let entries = entries.map(|(class, count)| Entry::count(class.key(), class.label(), *count));
        sections.push(Section::entries("failures", "Failures", entries.collect()));
        let notes = detail.messages.iter().map(|(text, count)| Note {
            key: "message".into(),
            text: format!("{count} x {text}"),
        });
        sections.push(Section::list("failure_messages", "Failure Messages", notes.collect()));
    }
    sections.push(Section::entries("client", "Client", client(facts)));
    sections
}

fn latency_table(facts: &Facts) -> Section {
    let detail = facts.detail;
    let columns = [
        ("mean", "mean"),
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("max", "max"),
    ];
    let columns = columns.map(|(key, label)| Column::new(key, label).unit("ms")).to_vec();
    let rows = [
        ("ttft", "TTFT", Some(&detail.ttft_ms)),
        ("ttfo", "TTFO", detail.ttfo_ms.as_ref()),
        ("ttft_scheduled", "TTFT sched.", detail.scheduled_ttft_ms.as_ref()),
        (
            "latency_scheduled",
            "Latency sched.",
            detail.scheduled_latency_ms.as_ref(),
        ),
        ("slot_wait", "Wait for a slot", facts.delivered.slot_wait_ms.as_ref()),
        ("tpot", "TPOT", Some(&detail.tpot_ms)),
        ("itl", "ITL", Some(&detail.itl_ms)),
        ("latency", "Latency", Some(&detail.latency_ms)),
    ];
    let rows = rows
        .into_iter()
        .filter_map(|(key, label, distribution)| Some(Row::new(key, label, cells(distribution?))));
    Section::table("latency_ms", "Latencies (ms)", columns, rows.collect())
}

fn cells(distribution: &Distribution) -> Vec<Value> {
    if distribution.count == 0 {
        return vec![Value::Absent {}; 5];
    }
    let number = |value| Value::number(value, 2);
    let Spread { mean, p50, p90, p99 } = distribution.spread;
    [mean, p50, p90, p99, distribution.max].map(number).to_vec()
}

fn token_timing(detail: &Detail) -> Vec<Entry> {
    let mut entries = vec![
        Entry::optional("decode_mean", "Mean decode, 1/TPOT (tok/s)", detail.decode_mean, 2),
        Entry::optional("decode_p1", "Slow side, p1 (tok/s)", detail.decode_p1, 2),
        Entry::optional("tokens_per_event", "Tokens per event", detail.tokens_per_event, 3),
    ];
    if let Some(cached) = detail.cached_tokens {
        entries.push(Entry::count("cached_tokens", "Prompt tokens from cache", cached));
        entries.push(Entry::optional(
            "cached_share",
            "Prompt tokens from cache (%)",
            detail.cached_share.map(|share| share * 100.0),
            2,
        ));
    }
    if detail.assumed_first_tokens > 0 {
        entries.push(Entry::count(
            "assumed_first_tokens",
            "First tokens without text",
            detail.assumed_first_tokens,
        ));
    }
    if let Some(window) = &detail.steady {
        entries.push(Entry::number("steady_s", "At full concurrency (s)", window.seconds, 2).unit("s"));
        entries.push(
            Entry::number("steady_output_tput", "Output then (tok/s)", window.output_throughput, 2).unit("tok/s"),
        );
    }
    entries
}

fn traffic(detail: &Detail) -> Vec<Entry> {
    vec![
        Entry::count("in_flight_peak", "Most requests in flight", detail.in_flight_peak),
        Entry::number("bytes_sent_mib", "Sent (MiB)", mebibytes(detail.bytes_sent), 2).unit("MiB"),
        Entry::number(
            "bytes_received_mib",
            "Received (MiB)",
            mebibytes(detail.bytes_received),
            2,
        )
        .unit("MiB"),
        Entry::count("connections_reused", "On an open connection", detail.connections_reused),
        Entry::count(
            "connections_opened",
            "Connections opened late",
            detail.connections_opened,
        ),
        Entry::optional("connect_ms_max", "Slowest late connect (ms)", detail.connect_ms_max, 2),
    ]
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

fn client(facts: &Facts) -> Vec<Entry> {
    let detail = facts.detail;
    let error = facts.client_error;
    let mut entries = vec![Entry::text("error", "Client error", error.sentence())];
    entries.extend(
        error
            .basis()
            .map(|basis| Entry::text("error_basis", "Stated by", basis)),
    );
    entries.extend(error.replay.as_ref().map(replay).unwrap_or_default());
    entries.extend(own_part(&error.run));
    entries.extend([
        Entry::text("stamps", "Arrival stamps", detail.stamps()),
        Entry::number(
            "first_token_lag_ms_p99",
            "Read lag, first token p99 (ms)",
            detail.first_token_lag_ms_p99,
            3,
        )
        .unit("ms"),
        Entry::number("lag_ms_mean", "Read lag, mean (ms)", detail.lag_ms_mean, 3).unit("ms"),
        Entry::number(
            "lateness_ms_p50",
            "Dispatch lateness p50 (ms)",
            detail.lateness_ms.spread.p50,
            3,
        )
        .unit("ms"),
        Entry::number(
            "lateness_ms_p99",
            "Dispatch lateness p99 (ms)",
            detail.lateness_ms.spread.p99,
            3,
        )
        .unit("ms"),
        Entry::number(
            "lateness_ms_max",
            "Dispatch lateness max (ms)",
            detail.lateness_ms.max,
            3,
        )
        .unit("ms"),
        Entry::number("cpu_percent", "CPU of one core (%)", detail.cpu_percent, 1).unit("%"),
        Entry::optional(
            "cpu_us_per_event",
            "CPU per token event (us)",
            detail.cpu_us_per_event,
            2,
        ),
    ]);
    entries
}

/// The client's error as seen in the run itself.
fn own_part(run: &Evidence) -> [Entry; 3] {
    [
        Entry::number("run_own_ms_mean", "Own part of TTFT, mean (ms)", run.own_ms_mean, 3).unit("ms"),
        Entry::number("run_own_ms_p99", "Own part of TTFT, p99 (ms)", run.own_ms_p99, 3).unit("ms"),
        Entry::number("run_events_per_s", "Token events per second", run.events_per_s, 0),
    ]
}

/// The client's error in the replay.
fn replay(error: &ClientError) -> Vec<Entry> {
    vec![
        Entry::number(
            "error_ttft_ms_mean",
            "Replay TTFT error, mean (ms)",
            error.ttft_ms_mean,
            3,
        )
        .unit("ms"),
        Entry::number("error_ttft_ms_p99", "Replay TTFT error, p99 (ms)", error.ttft_ms_p99, 3).unit("ms"),
        Entry::number(
            "error_lateness_ms_p99",
            "Replay lateness, p99 (ms)",
            error.lateness_ms_p99,
            3,
        )
        .unit("ms"),
        Entry::number(
            "error_whole_ms_p99",
            "Replay error + lateness, p99 (ms)",
            error.whole_ms_p99,
            3,
        )
        .unit("ms"),
        Entry::optional(
            "error_decode_percent",
            "Replay decode error, mean (%)",
            error.decode_percent,
            3,
        ),
        Entry::number(
            "error_events_per_s",
            "Replayed events per second",
            error.events_per_s,
            0,
        ),
        Entry::count("error_streams", "Replayed streams", error.streams),
    ]
}
