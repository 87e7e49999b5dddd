//! The figures that the reference reports, with its formulas, order and spelling: one row per request, the CSV file, the
//! aggregates, and the JSON summary. All other figures are in `detail`.

use std::fmt::Write;

use serde::{Serialize, Serializer};

use crate::engine::samples::record::Record;
use crate::engine::timestamp::Clock;
use crate::python::big_int::BigInt;
use crate::python::float_text::shortest;
use crate::python::json::dumps_indented;
use crate::report::csv;
use crate::stats::percentile::linear;
use crate::stats::summary::mean;

pub const CSV_FILE: &str = "bench_results.csv";
pub const SUMMARY_FILE: &str = "bench_summary.json";

const CSV_HEADER: &str = "request_id,successful,ttft,request_latency,num_input_tokens,num_output_tokens,decode_speed,\
                          submit_time,first_token_time,finish_time,error\r\n";

/// One request as the reference writes it. Durations are in seconds, times in seconds since 1970; the TTFT of a failed request
/// is -1.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub request_id: String,
    pub successful: bool,
    pub ttft: f64,
    pub request_latency: f64,
    pub num_input_tokens: u64,
    pub num_output_tokens: u64,
    pub decode_speed: f64,
    pub submit_time: f64,
    pub first_token_time: f64,
    pub finish_time: f64,
    pub error: String,
}

impl Row {
    pub fn of(record: &Record, clock: &Clock) -> Row {
        let successful = record.succeeded();
        let first = record.first_token().filter(|_| successful);
        Row {
            request_id: record.id.clone(),
            successful,
            ttft: record.ttft_s(),
            request_latency: record.latency_s(),
            num_input_tokens: record.input_tokens(),
            num_output_tokens: record.output_tokens(),
            decode_speed: record.decode_speed(),
            submit_time: clock.wall_seconds(record.dispatched),
            first_token_time: first.map_or(0.0, |first| clock.wall_seconds(first)),
            finish_time: clock.wall_seconds(record.finished),
            error: record.why_failed().map_or_else(String::new, |failure| failure.text),
        }
    }
}

/// The rows as the reference's CSV file.
pub fn rows_csv(rows: &[Row]) -> String {
    let mut out = CSV_HEADER.to_owned();
    for row in rows {
        let successful = if row.successful { "True" } else { "False" };
        let number = shortest;
        write!(
            out,
            "{},{successful},{},{},{},{},{},{},{},{},{}\r\n",
            csv::field(&row.request_id),
            number(row.ttft),
            number(row.request_latency),
            row.num_input_tokens,
            row.num_output_tokens,
            number(row.decode_speed),
            number(row.submit_time),
            number(row.first_token_time),
            number(row.finish_time),
            csv::field(&row.error),
        )
        .expect("writing to a String cannot fail");
    }
    out
}

/// Mean, and percentiles by linear interpolation; zeros without samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

impl Spread {
    pub(super) fn of_sorted(mean: f64, sorted: &[f64]) -> Spread {
        Spread {
            mean,
            p50: linear(sorted, 50.0),
            p90: linear(sorted, 90.0),
            p99: linear(sorted, 99.0),
        }
    }
}

/// The reference's aggregates. Speeds and throughputs are in tokens per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub successful: u64,
    pub failed: u64,
    pub elapsed_s: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub input_throughput: f64,
    pub output_throughput: f64,
    pub ttft_ms: Spread,
    pub decode_speed: Spread,
    pub latency_ms: Spread,
}

impl Figures {
    pub fn of(rows: &[Row], elapsed_s: f64) -> Figures {
        let good = || rows.iter().filter(|row| row.successful);
        let successful = good().count() as u64;
        let input_tokens = rows.iter().map(|row| row.num_input_tokens).sum();
        let output_tokens = rows.iter().map(|row| row.num_output_tokens).sum();
        let per_second = |tokens: u64| tokens as f64 / elapsed_s.max(1e-9);
        Figures {
            successful,
            failed: rows.len() as u64 - successful,
            elapsed_s,
            input_tokens,
            output_tokens,
            input_throughput: per_second(input_tokens),
            output_throughput: per_second(output_tokens),
            ttft_ms: spread(good().map(|row| row.ttft), 1000.0),
            decode_speed: spread(good().map(|row| row.decode_speed), 1.0),
            latency_ms: spread(good().map(|row| row.request_latency), 1000.0),
        }
    }
}

/// In the reference's order of operations: the mean is scaled after the division, the samples before sorting.
fn spread(values: impl Iterator<Item = f64>, scale: f64) -> Spread {
    let values: Vec<f64> = values.collect();
    let mean = mean(&values) * scale;
    let mut sorted: Vec<f64> = values.iter().map(|value| value * scale).collect();
    sorted.sort_by(f64::total_cmp);
    Spread::of_sorted(mean, &sorted)
}

/// The part of the settings that the JSON summary repeats, in the reference's order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummaryConfig {
    pub engine_url: String,
    pub model: String,
    pub workload: String,
    pub kv_cache_volume_gb: f64,
    pub tokens_per_gb_kvcache: i64,
    pub seed: BigInt,
    pub output_dir: String,
    pub export_csv: bool,
    pub export_json: bool,
    pub quiet: bool,
    pub ignore_eos: bool,
    #[serde(rename = "warmup_policy", serialize_with = "warmup_policy")]
    pub warmup: bool,
}

fn warmup_policy<S: Serializer>(warmup: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *warmup { "run" } else { "skip" })
}

/// The results of the JSON summary, in the reference's order.
#[derive(Serialize)]
struct SummaryResults {
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    elapsed_time: f64,
    mean_ttft_ms: f64,
    mean_decode_speed: f64,
    mean_request_latency_ms: f64,
    input_throughput: f64,
    output_throughput: f64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    p50_ttft_ms: f64,
    p90_ttft_ms: f64,
    p99_ttft_ms: f64,
    p50_decode_speed: f64,
    p90_decode_speed: f64,
    p99_decode_speed: f64,
    p50_request_latency_ms: f64,
    p90_request_latency_ms: f64,
    p99_request_latency_ms: f64,
}

impl SummaryResults {
    fn of(figures: &Figures) -> SummaryResults {
        let (ttft, decode, latency) = (&figures.ttft_ms, &figures.decode_speed, &figures.latency_ms);
        SummaryResults {
            total_requests: figures.successful + figures.failed,
            successful_requests: figures.successful,
            failed_requests: figures.failed,
            elapsed_time: figures.elapsed_s,
            mean_ttft_ms: ttft.mean,
            mean_decode_speed: decode.mean,
            mean_request_latency_ms: latency.mean,
            input_throughput: figures.input_throughput,
            output_throughput: figures.output_throughput,
            total_input_tokens: figures.input_tokens,
            total_output_tokens: figures.output_tokens,
            p50_ttft_ms: ttft.p50,
            p90_ttft_ms: ttft.p90,
            p99_ttft_ms: ttft.p99,
            p50_decode_speed: decode.p50,
            p90_decode_speed: decode.p90,
            p99_decode_speed: decode.p99,
            p50_request_latency_ms: latency.p50,
            p90_request_latency_ms: latency.p90,
            p99_request_latency_ms: latency.p99,
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    config: &'a SummaryConfig,
    results: SummaryResults,
}

/// The reference's JSON summary: unrounded numbers, no newline at its end.
pub fn summary_json(config: &SummaryConfig, figures: &Figures) -> String {
    let results = SummaryResults::of(figures);
    dumps_indented(&Summary { config, results })
}

#[cfg(test)]
mod tests;
