//! Computes the report from the samples: LMCache's sections with its keys and labels, then further sections. Does no I/O.

use std::time::{Duration, Instant};

use super::config::RunConfig;
use super::rpc::Generation;
use super::samples::{Failure, Figures, Measured, OperationSamples, RunSamples};
use super::warning::Warning;
use crate::result::RunResult;
use crate::result::model::{Column, Entry, Name, Row, Section, Value};
use crate::units::GIB;

/// With fewer sequences, p99 and p99.9 are the slowest request.
const FEW_SEQUENCES: u64 = 10;
/// Clients that fill and check for more of their time than this keep the server waiting.
const CLIENT_BOUND_PERCENT: f64 = 50.0;

/// What the report needs besides the samples.
pub struct RunFacts<'a> {
    pub config: &'a RunConfig,
    pub server: ServerFacts<'a>,
    pub seed: u64,
    pub cache_salt: &'a str,
    /// From the start of the process to the first request, and to the first reply.
    pub start_to_first_rpc: Duration,
    pub start_to_first_reply: Duration,
    /// Start of the process.
    pub started: Instant,
    /// The signal that ended the run.
    pub interrupted: Option<&'static str>,
}

/// The server under test.
pub struct ServerFacts<'a> {
    pub generation: Generation,
    /// As its HTTP API reports it.
    pub release: Option<&'a str>,
    pub chunk_tokens: usize,
    pub chunk_bytes: usize,
    pub chunks_per_request: usize,
    pub transport: &'a str,
}

/// The whole result.
pub fn result(facts: &RunFacts<'_>, samples: &RunSamples, mut warnings: Vec<Warning>) -> RunResult {
    let mut result = RunResult::new("server", "Server Bench Result", facts.started);
    result.partial = partial(facts, samples).map(Name::from);
    result.settings = super::result::settings(facts.config, facts.cache_salt);
    result.target = super::result::target(facts);
    let mut sections = reference_sections(facts.config, facts.server.generation, samples);
    sections.push(server_section(facts));
    sections.extend(detail_section(samples));
    sections.extend(gpu_section(samples));
    sections.push(verify_section(facts.config, samples));
    sections.push(run_section(facts, samples));
    add_warnings(facts.config, samples, &mut warnings);
    sections.push(Section::warnings(&warnings));
    result.sections = sections;
    result
}

/// The sections that LMCache prints.
fn reference_sections(config: &RunConfig, generation: Generation, samples: &RunSamples) -> Vec<Section> {
    let tally = &samples.tally;
    let total = tally.completed();
    let rate = if total > 0 {
        tally.passed as f64 / total as f64 * 100.0
    } else {
        0.0
    };
    let elapsed_s = samples.elapsed.as_secs_f64();
    let requests_per_s = if elapsed_s > 0.0 { total as f64 / elapsed_s } else { 0.0 };
    let mut sections = vec![
        Section::entries(
            "config",
            "Configuration",
            vec![
                Entry::text("rpc_url", "RPC URL", config.rpc_url.to_string()),
                Entry::text("mode", "Mode", config.mode.text()),
                Entry::text("transfer_mode", "Transfer mode", config.transfer_mode.text()),
                Entry::count("num_tokens", "Tokens / request", config.num_tokens as u64),
                Entry::number("interval", "Interval (s)", config.interval.as_secs_f64(), 9).unit("s"),
                Entry::count("concurrency", "Concurrency", u64::from(config.clients)),
            ],
        ),
        Section::entries(
            "results",
            "Results",
            vec![
                Entry::count("total_requests", "Total requests", total),
                Entry::count("checksum_ok", "Checksum OK", tally.passed),
                Entry::count("checksum_fail", "Checksum FAIL", tally.failed),
                Entry::number("pass_rate", generation.pass_rate_label, rate, 2).unit("%"),
                Entry::number("elapsed_s", "Elapsed (s)", elapsed_s, 3).unit("s"),
                Entry::number("requests_per_s", "Requests / s", requests_per_s, 2).unit("1/s"),
            ],
        ),
    ];
    for operation in Measured::ALL {
        let figures = samples.of(operation).latency.figures();
        if figures.count > 0 {
            sections.push(latency_section(operation, &figures));
        }
    }
    sections
}

fn latency_section(operation: Measured, figures: &Figures) -> Section {
    let (key, label) = (operation.key(), operation.label());
    let number = |name: &'static str, value| Entry::number(format!("{key}_{name}"), name, value, 3);
    let entries = vec![
        Entry::count(format!("{key}_count"), "count", figures.count),
        number("mean", figures.mean),
        number("min", figures.min),
        number("max", figures.max),
        number("p50", figures.p50),
        number("p99", figures.p99),
    ];
    Section::entries(key, format!("{label} (ms)"), entries)
}

fn server_section(facts: &RunFacts<'_>) -> Section {
    let server = &facts.server;
    let release = server.release.map_or(Value::Absent {}, Value::text);
    let entries = vec![
        Entry::text("generation", "Protocol of LMCache", server.generation.label),
        Entry::new("release", "Release by HTTP", release),
        Entry::text("transport", "Transfer", server.transport),
        Entry::text("wire", "Wire", facts.config.wire.text()),
        Entry::text("kvcache_shape", "KV shape", facts.config.shape.to_string()),
        Entry::text(
            "block_allocation",
            "Block allocation",
            facts.config.block_allocation.text(),
        ),
        Entry::count("ranks", "Ranks", u64::from(facts.config.ranks)),
        Entry::count("chunk_tokens", "Tokens / chunk", server.chunk_tokens as u64),
        Entry::count("chunk_bytes", "Bytes / chunk and rank", server.chunk_bytes as u64),
        Entry::count(
            "chunks_per_request",
            "Chunks / request",
            server.chunks_per_request as u64,
        ),
    ];
    Section::entries("server", "Server", entries)
}

/// Tail latencies, and the parts of transfer times.
fn detail_section(samples: &RunSamples) -> Option<Section> {
    const COLUMNS: [(&str, &str); 8] = [
        ("p90_ms", "p90"),
        ("p99_9_ms", "p99.9"),
        ("wait_p50_ms", "wait p50"),
        ("wait_p99_ms", "wait p99"),
        ("copy_p50_ms", "copy p50"),
        ("cpu_p50_ms", "CPU p50"),
        ("gib_per_s", "GiB/s"),
        ("copy_gib_per_s", "copy GiB/s"),
    ];
    let measured = |operation: &Measured| samples.of(*operation).latency.count() > 0;
    let rows: Vec<Row> = Measured::ALL
        .into_iter()
        .filter(measured)
        .map(|operation| {
            let (key, label) = (operation.key(), operation.label());
            Row::new(key, label, detail_cells(samples.of(operation)))
        })
        .collect();
    let columns = COLUMNS.map(|(key, label)| Column::new(key, label)).to_vec();
    (!rows.is_empty()).then(|| {
        Section::table(
            "detail",
            "Tails (ms), where the time went (ms), bandwidth",
            columns,
            rows,
        )
    })
}

/// Transfer times by the GPU's clock, between the CUDA events before and after each transfer.
fn gpu_section(samples: &RunSamples) -> Option<Section> {
    let rows: Vec<Row> = Measured::ALL
        .into_iter()
        .filter(|operation| samples.of(*operation).gpu.count() > 0)
        .map(|operation| {
            let of = samples.of(operation);
            let figures = of.gpu.figures();
            let number = |value, decimals| Value::Number { value, decimals };
            let gib = of.bytes as f64 / GIB as f64;
            let rate = match of.gpu.sum_ms() > 0.0 {
                true => number(gib / (of.gpu.sum_ms() / 1e3), 2),
                false => Value::Absent {},
            };
            let (key, label) = (operation.key(), operation.label());
            let cells = vec![
                number(figures.p50, 3),
                number(figures.p99, 3),
                number(figures.max, 3),
                rate,
            ];
            Row::new(key, label, cells)
        })
        .collect();
    const COLUMNS: [(&str, &str); 4] = [
        ("p50_ms", "p50"),
        ("p99_ms", "p99"),
        ("max_ms", "max"),
        ("gib_per_s", "GiB/s"),
    ];
    let columns = COLUMNS.map(|(key, label)| Column::new(key, label)).to_vec();
    (!rows.is_empty()).then(|| Section::table("gpu", "GPU time (ms), bandwidth", columns, rows))
}

fn detail_cells(operation: &OperationSamples) -> Vec<Value> {
    let latency = operation.latency.figures();
    let ms = |value| Value::Number { value, decimals: 3 };
    let mut cells = vec![ms(latency.p90), ms(latency.p999)];
    if operation.wait.count() == 0 {
        return cells;
    }
    let (wait, copy) = (operation.wait.figures(), operation.copy.figures());
    let bandwidth = |sum_ms: f64| match sum_ms > 0.0 && operation.bytes > 0 {
        true => Value::Number {
            value: operation.bytes as f64 / GIB as f64 / (sum_ms / 1e3),
            decimals: 2,
        },
        false => Value::Absent {},
    };
    let server_copies = operation.copy.sum_ms() == 0.0;
    cells.extend([
        ms(wait.p50),
        ms(wait.p99),
        if server_copies { Value::Absent {} } else { ms(copy.p50) },
        ms(operation.cpu.figures().p50),
        bandwidth(operation.latency.sum_ms()),
        bandwidth(operation.copy.sum_ms()),
    ]);
    cells
}

fn verify_section(config: &RunConfig, samples: &RunSamples) -> Section {
    let tally = &samples.tally;
    let mut entries = vec![
        Entry::text("checksum", "Checksum", config.checksum.name()),
        Entry::count("sequences_passed", "Sequences passed", tally.passed),
        Entry::count("sequences_failed", "Sequences failed", tally.failed),
        Entry::count("chunks_compared", "Chunks compared", tally.chunks_compared),
        Entry::count(
            "server_chunks_compared",
            "Chunks compared with the server's checksum",
            tally.server_chunks_compared,
        ),
    ];
    for (failure, key, label) in Failure::ALL {
        entries.push(Entry::count(key, label, tally.count(&failure)));
    }
    Section::entries("verify", "Verification (sequences)", entries)
}

/// Why the run ended early, if it did. Ctrl-C is the normal end of a run without `--end`.
fn partial(facts: &RunFacts<'_>, samples: &RunSamples) -> Option<&'static str> {
    if samples.aborted.is_some() {
        return Some("aborted");
    }
    facts
        .interrupted
        .filter(|signal| facts.config.end.is_some() || *signal != "SIGINT")
}

/// The share of the clients' time in which they filled, overwrote and compared their tensors.
fn own_work_percent(samples: &RunSamples) -> f64 {
    match samples.client_time.as_secs_f64() {
        0.0 => 0.0,
        seconds => samples.own_work.as_secs_f64() / seconds * 100.0,
    }
}

fn run_section(facts: &RunFacts<'_>, samples: &RunSamples) -> Section {
    let state = match (partial(facts, samples), facts.interrupted) {
        (Some(why), _) => format!("partial ({why})"),
        (None, Some(signal)) => format!("complete (until {signal})"),
        (None, None) => "complete".to_owned(),
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let salt = if facts.cache_salt.is_empty() {
        "none"
    } else {
        facts.cache_salt
    };
    let mut entries = vec![
        Entry::text("report", "Report", state),
        Entry::text("version", "lmcache-bench", env!("CARGO_PKG_VERSION")),
        Entry::text("seed", "Seed", facts.seed.cast_signed().to_string()),
        Entry::text("cache_salt", "Cache salt", salt),
        Entry::number(
            "start_to_first_rpc_ms",
            "Start to first RPC (ms)",
            ms(facts.start_to_first_rpc),
            2,
        )
        .unit("ms"),
        Entry::number(
            "start_to_first_reply_ms",
            "Start to server recognised (ms)",
            ms(facts.start_to_first_reply),
            2,
        )
        .unit("ms"),
    ];
    let first_store = samples.first_store.map(|ended| {
        let since = ms(ended.saturating_duration_since(facts.started));
        Entry::number("start_to_first_store_ms", "Start to end of first store (ms)", since, 2).unit("ms")
    });
    entries.extend(first_store);
    entries.push(
        Entry::number(
            "own_work_percent",
            "Filling and checking (% of the clients' time)",
            own_work_percent(samples),
            1,
        )
        .unit("%"),
    );
    Section::entries("run", "Run", entries)
}

fn add_warnings(config: &RunConfig, samples: &RunSamples, warnings: &mut Vec<Warning>) {
    let earlier = samples.tally.count(&Failure::EarlierEntries);
    if earlier > 0 {
        warnings.push(Warning::EarlierEntries { sequences: earlier });
    }
    if samples.late_commits > 0 {
        warnings.push(Warning::LateCommits {
            sequences: samples.late_commits,
            longest_ms: samples.longest_commit.as_secs_f64() * 1e3,
        });
    }
    let percent = own_work_percent(samples);
    if config.clients > 1 && percent > CLIENT_BOUND_PERCENT {
        warnings.push(Warning::ClientBound { percent });
    }
    let sequences = samples.tally.completed();
    if (1..FEW_SEQUENCES).contains(&sequences) {
        warnings.push(Warning::FewSequences { sequences });
    }
}

#[cfg(test)]
mod tests;
