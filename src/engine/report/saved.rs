//! The samples of the result file: one row for each request, and histograms of TTFT, gaps between token events, and latency.

use crate::engine::samples::phase::PhaseSamples;
use crate::engine::samples::record::Record;
use crate::engine::timestamp::Stamp;
use crate::load::series::{Percentiles, Series};
use crate::result::samples::{Cell, Histogram, Samples, Table};
use crate::stats::histogram::LatencyHistogram;

/// The table `requests` in completion order, the table `series` with a row for each second, and the histograms `ttft`, `itl` and
/// `latency` (to the last token) over requests that succeeded. `itl` has the gaps of the report: none of buffered answers, and an
/// even sample of very many.
pub fn samples(phase: &PhaseSamples) -> Samples {
    let ms = Some("ms");
    let mut requests = Table::new(&[
        ("request_id", None),
        ("successful", None),
        ("error_class", None),
        ("scheduled_ms", ms),
        ("dispatched_ms", ms),
        ("ttft_ms", ms),
        ("tpot_ms", ms),
        ("latency_ms", ms),
        ("prompt_tokens", None),
        ("completion_tokens", None),
        ("cached_tokens", None),
    ]);
    let (mut ttft, mut latency) = (LatencyHistogram::new(), LatencyHistogram::new());
    for record in &phase.records {
        requests.push(row(record, phase.began));
        if record.succeeded() {
            ttft.record_ns(nanoseconds(record.ttft_s()));
            record
                .token_latency_s()
                .into_iter()
                .for_each(|latency_s| latency.record_ns(nanoseconds(latency_s)));
        }
    }
    let mut itl = LatencyHistogram::new();
    phase.gaps.seconds().for_each(|gap| itl.record_ns(nanoseconds(gap)));
    let mut samples = Samples::default();
    samples.tables.insert("requests".into(), requests);
    if let Some(series) = &phase.series {
        let seconds = phase.ended.seconds_since(phase.began);
        samples.tables.insert("series".into(), seconds_table(series, seconds));
    }
    for (name, histogram) in [("ttft", &ttft), ("itl", &itl), ("latency", &latency)] {
        samples.histograms.insert(name.into(), Histogram::from(histogram));
    }
    samples
}

/// One row for each second of the phase.
fn seconds_table(series: &Series, seconds: f64) -> Table {
    let (ms, s) = (Some("ms"), Some("s"));
    let mut table = Table::new(&[
        ("second", s),
        ("width_s", s),
        ("started", None),
        ("finished", None),
        ("failed", None),
        ("in_flight_mean", None),
        ("in_flight_max", None),
        ("prompt_tokens", None),
        ("cached_tokens", None),
        ("output_tokens", None),
        ("ttft_p50_ms", ms),
        ("ttft_p99_ms", ms),
        ("itl_p50_ms", ms),
        ("itl_p99_ms", ms),
    ]);
    for row in series.rows(seconds) {
        let (ttft, itl) = (row.ttft, row.itl);
        let p50 = |of: Option<Percentiles>| Cell::from(of.map(|of| of.p50 * 1e3));
        let p99 = |of: Option<Percentiles>| Cell::from(of.map(|of| of.p99 * 1e3));
        table.push(vec![
            (row.second as u64).into(),
            row.width_s.into(),
            row.started.into(),
            row.finished.into(),
            row.failed.into(),
            row.in_flight.into(),
            row.in_flight_max.into(),
            row.tokens_in.into(),
            row.cached.into(),
            row.tokens_out.into(),
            p50(ttft),
            p99(ttft),
            p50(itl),
            p99(itl),
        ]);
    }
    table
}

/// Times are relative to the start of the phase. A failed request has no latencies.
fn row(record: &Record, began: Stamp) -> Vec<Cell> {
    let succeeded = record.succeeded();
    let ms = |seconds: f64| seconds * 1e3;
    let measured = |seconds: Option<f64>| Cell::from(seconds.filter(|_| succeeded).map(ms));
    let class = record.why_failed().map(|failure| failure.class.key());
    vec![
        record.id.as_str().into(),
        succeeded.into(),
        class.into(),
        ms(record.scheduled.seconds_since(began)).into(),
        ms(record.dispatched.seconds_since(began)).into(),
        measured(Some(record.ttft_s())),
        measured(record.tpot_s()),
        measured(record.token_latency_s()),
        record.input_tokens().into(),
        record.output_tokens().into(),
        record.cached_tokens().into(),
    ]
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round().max(0.0) as u64
}
