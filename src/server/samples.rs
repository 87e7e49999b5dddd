//! The samples of a run: latencies of each operation and the result of each sequence. Memory is bounded for runs of any length.

use std::time::Duration;

use super::transport::Transfer;
use crate::stats::histogram::LatencyHistogram;
use crate::stats::percentile::nearest_rank;

/// With more samples, percentiles come from a histogram with three significant digits.
const EXACT_MAX: usize = 1 << 16;
/// Failure messages kept; further ones are only counted.
const SENTENCES_MAX: usize = 8;

/// The operations that the report shows, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    ColdLookup,
    ColdStore,
    WarmLookup,
    WarmRetrieve,
}

impl Measured {
    pub const ALL: [Measured; 4] = [
        Measured::ColdLookup,
        Measured::ColdStore,
        Measured::WarmLookup,
        Measured::WarmRetrieve,
    ];

    /// The key in LMCache's JSON.
    pub fn key(self) -> &'static str {
        match self {
            Measured::ColdLookup => "cold_lookup",
            Measured::ColdStore => "cold_store",
            Measured::WarmLookup => "warm_lookup",
            Measured::WarmRetrieve => "warm_retrieve",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Measured::ColdLookup => "Cold Lookup",
            Measured::ColdStore => "Cold Store",
            Measured::WarmLookup => "Warm Lookup",
            Measured::WarmRetrieve => "Warm Retrieve",
        }
    }
}

/// The latencies of one kind, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Series {
    exact_ms: Vec<f64>,
    /// Made for the first sample: most kinds of time are not measured for every operation.
    histogram: Option<LatencyHistogram>,
    sum_ms: f64,
    min_ms: f64,
    max_ms: f64,
}

impl Series {
    pub fn record(&mut self, time: Duration) {
        self.record_ms(time.as_secs_f64() * 1e3);
    }

    fn record_ms(&mut self, ms: f64) {
        let first = self.count() == 0;
        self.min_ms = if first { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms += ms;
        self.histogram.get_or_insert_default().record_ns((ms * 1e6) as u64);
        if self.exact_ms.len() < EXACT_MAX {
            self.exact_ms.push(ms);
        }
    }

    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, LatencyHistogram::len)
    }

    /// The first samples in the order of measurement, in milliseconds.
    pub fn exact_ms(&self) -> &[f64] {
        &self.exact_ms
    }

    /// `None` without samples.
    pub fn histogram(&self) -> Option<&LatencyHistogram> {
        self.histogram.as_ref()
    }

    pub fn sum_ms(&self) -> f64 {
        self.sum_ms
    }

    /// All zero without samples.
    pub fn figures(&self) -> Figures {
        let mut sorted = self.exact_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let rough = self.histogram().map(LatencyHistogram::percentiles).unwrap_or_default();
        let exact = self.count() == sorted.len() as u64;
        let at = |p: f64, rough_ns: u64| match exact {
            true => nearest_rank(&sorted, p),
            false => rough_ns as f64 / 1e6,
        };
        Figures {
            count: self.count(),
            mean: if exact && sorted.is_empty() {
                0.0
            } else {
                self.sum_ms / self.count() as f64
            },
            min: self.min_ms,
            max: self.max_ms,
            p50: at(50.0, rough.p50),
            p90: at(90.0, rough.p90),
            p99: at(99.0, rough.p99),
            p999: at(99.9, rough.p999),
        }
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub count: u64,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
}

/// The samples of one kind of operation.
#[derive(Clone, Debug, Default)]
pub struct OperationSamples {
    pub latency: Series,
    /// Transfers only: the time spent waiting for the server, and the time spent copying in this process.
    pub wait: Series,
    pub copy: Series,
    /// CPU time of this process, user and kernel.
    pub cpu: Series,
    /// GPU time, in `--mode gpu`.
    pub gpu: Series,
    pub bytes: u64,
}

impl OperationSamples {
    pub fn record_lookup(&mut self, latency: Duration) {
        self.latency.record(latency);
    }

    /// All ranks of one request together.
    pub fn record_transfer(&mut self, latency: Duration, cpu: Duration, transfer: &Transfer) {
        self.latency.record(latency);
        self.cpu.record(cpu);
        self.wait.record(transfer.wait);
        self.copy.record(transfer.copy);
        if let Some(gpu) = transfer.gpu {
            self.gpu.record(gpu);
        }
        self.bytes += transfer.bytes;
    }
}

/// Why a sequence failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The cold lookup hit entries of an earlier run.
    EarlierEntries,
    /// The warm lookup did not find every stored chunk.
    Missed,
    /// The server refused a store or a retrieve.
    Refused,
    /// Retrieved bytes differ from the stored ones.
    Mismatch,
    /// The server's own checksum differs from that of the bytes.
    ServerMismatch,
    /// A request had no usable reply.
    Rpc,
}

impl Failure {
    pub const ALL: [(Failure, &'static str, &'static str); 6] = [
        (Failure::EarlierEntries, "earlier_entries", "Met earlier entries"),
        (Failure::Missed, "missed", "Missed where a hit was due"),
        (Failure::Refused, "refused", "Transfer refused"),
        (Failure::Mismatch, "mismatched", "Bytes differ"),
        (Failure::ServerMismatch, "server_mismatched", "Server checksum differs"),
        (Failure::Rpc, "rpc_failed", "Request failed"),
    ];
}

/// The results of all sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// Failed sequences by kind, in the order of `Failure::ALL`. A sequence counts once for each kind.
    pub failures: [u64; 6],
    pub sentences: Vec<String>,
    /// Chunks whose checksums were compared in this process, and with the server's.
    pub chunks_compared: u64,
    pub server_chunks_compared: u64,
}

impl Tally {
    /// Counts one sequence, which passed if `failures` is empty.
    pub fn record(&mut self, failures: &[(Failure, String)]) {
        if failures.is_empty() {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        for (index, (kind, _, _)) in Failure::ALL.iter().enumerate() {
            self.failures[index] += u64::from(failures.iter().any(|(failure, _)| failure == kind));
        }
        for (_, sentence) in failures {
            if self.sentences.len() < SENTENCES_MAX {
                self.sentences.push(sentence.clone());
            }
        }
    }

    pub fn completed(&self) -> u64 {
        self.passed + self.failed
    }

    pub fn count(&self, failure: &Failure) -> u64 {
        let index = Failure::ALL.iter().position(|(kind, _, _)| kind == failure);
        index.map_or(0, |index| self.failures[index])
    }
}

/// All samples of a run.
#[derive(Clone, Debug, Default)]
pub struct RunSamples {
    operations: [OperationSamples; 4],
    pub tally: Tally,
    /// Stores whose chunks were not found by the first lookup, and the longest time until they were.
    pub late_commits: u64,
    pub longest_commit: Duration,
    /// Why the run ended before its last sequence, unless by a signal.
    pub aborted: Option<String>,
}

impl RunSamples {
    pub fn of(&self, operation: Measured) -> &OperationSamples {
        &self.operations[operation as usize]
    }

    pub fn of_mut(&mut self, operation: Measured) -> &mut OperationSamples {
        &mut self.operations[operation as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_for_few_samples_and_have_three_digits_for_many() {
        let mut series = Series::default();
        assert_eq!(series.figures(), Figures::default());
        assert!(series.histogram().is_none());
        for ms in [2.951, 1.8894, 2.2704] {
            series.record_ms(ms);
        }
        let got = series.figures();
        assert_eq!(
            (got.count, got.min, got.max, got.p50, got.p99),
            (3, 1.8894, 2.951, 2.2704, 2.951)
        );
        for n in 0..EXACT_MAX {
            series.record_ms(1.0 + n as f64 / EXACT_MAX as f64);
        }
        let got = series.figures();
        assert_eq!(got.count, EXACT_MAX as u64 + 3);
        assert!(
            (got.p50 - 1.5).abs() < 0.002 && (got.p999 - 2.0).abs() < 0.003,
            "{got:?}"
        );
        assert_eq!(got.max, 2.951);
    }

    #[test]
    fn a_sequence_counts_once_for_each_kind_of_failure() {
        let mut tally = Tally::default();
        tally.record(&[]);
        let mismatch = |n| (Failure::Mismatch, format!("chunk {n}"));
        tally.record(&[mismatch(0), mismatch(1), (Failure::Refused, "no".into())]);
        assert_eq!((tally.passed, tally.failed, tally.completed()), (1, 1, 2));
        assert_eq!(
            (tally.count(&Failure::Mismatch), tally.count(&Failure::Refused)),
            (1, 1)
        );
        assert_eq!(tally.sentences.len(), 3);
        (0..100).for_each(|n| tally.record(&[mismatch(n)]));
        assert_eq!(tally.sentences.len(), SENTENCES_MAX);
    }
}
