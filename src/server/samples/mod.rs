//! The samples of a run: latencies of each operation and the result of each sequence. Memory is bounded for runs of any length.
//! Each client has samples of its own, which are merged at the end.

use std::time::{Duration, Instant};

use super::transport::Transfer;

mod series;

pub use series::{Figures, Series};

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

/// The samples of one kind of operation.
#[derive(Clone, Debug, Default)]
pub struct OperationSamples {
    pub latency: Series,
    /// Transfers only: the time spent waiting for the server, and the time spent copying in this process.
    pub wait: Series,
    pub copy: Series,
    /// CPU time, user and kernel: of this process, or of the client's thread if there are several clients.
    pub cpu: Series,
    /// GPU time, in `--mode gpu`.
    pub gpu: Series,
    pub bytes: u64,
}

impl OperationSamples {
    fn series_mut(&mut self) -> [&mut Series; 5] {
        let OperationSamples {
            latency,
            wait,
            copy,
            cpu,
            gpu,
            bytes: _,
        } = self;
        [latency, wait, copy, cpu, gpu]
    }

    fn merge(&mut self, mut other: OperationSamples) {
        for (series, more) in self.series_mut().into_iter().zip(other.series_mut()) {
            series.merge(more);
        }
        self.bytes += other.bytes;
    }

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

    /// Adds the results of another client.
    fn merge(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        for (count, more) in self.failures.iter_mut().zip(other.failures) {
            *count += more;
        }
        let room = SENTENCES_MAX.saturating_sub(self.sentences.len());
        self.sentences.extend(other.sentences.into_iter().take(room));
        self.chunks_compared += other.chunks_compared;
        self.server_chunks_compared += other.server_chunks_compared;
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
    /// When the first store had ended.
    pub first_store: Option<Instant>,
    /// Why the run ended before its last sequence, unless by a signal.
    pub aborted: Option<String>,
    /// From the start of the passes to the end of the last sequence.
    pub elapsed: Duration,
    /// The sum of this time over all clients, and what of it they spent filling, overwriting and comparing.
    pub client_time: Duration,
    pub own_work: Duration,
}

impl RunSamples {
    /// The samples of one of so many clients. Together they keep as many single latencies as one client alone.
    pub fn of_one_of(clients: u32) -> RunSamples {
        let mut samples = RunSamples::default();
        for operation in &mut samples.operations {
            for series in operation.series_mut() {
                series.share(clients);
            }
        }
        samples
    }

    /// Adds the samples of another client, which ran at the same time.
    pub fn merge(&mut self, other: RunSamples) {
        for (operation, more) in self.operations.iter_mut().zip(other.operations) {
            operation.merge(more);
        }
        self.tally.merge(other.tally);
        self.late_commits += other.late_commits;
        self.longest_commit = self.longest_commit.max(other.longest_commit);
        self.first_store = self.first_store.into_iter().chain(other.first_store).min();
        self.aborted = self.aborted.take().or(other.aborted);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.client_time += other.client_time;
        self.own_work += other.own_work;
    }

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

    #[test]
    fn clients_are_pooled() {
        let client = |ms: u64, sentences: usize| {
            let mut samples = RunSamples::of_one_of(2);
            let transfer = Transfer {
                bytes: 10,
                wait: Duration::from_millis(1),
                ..Transfer::default()
            };
            let (latency, cpu) = (Duration::from_millis(ms), Duration::from_millis(1));
            samples
                .of_mut(Measured::ColdStore)
                .record_transfer(latency, cpu, &transfer);
            samples.tally.record(&[]);
            let failures: Vec<_> = (0..sentences).map(|n| (Failure::Missed, n.to_string())).collect();
            samples.tally.record(&failures);
            samples.tally.chunks_compared = 3;
            (samples.late_commits, samples.longest_commit) = (1, latency);
            samples.elapsed = latency;
            (samples.client_time, samples.own_work) = (latency, cpu);
            samples
        };
        let mut pooled = RunSamples::default();
        pooled.merge(client(4, 6));
        pooled.merge(client(2, 5));
        let store = pooled.of(Measured::ColdStore);
        let latency = store.latency.figures();
        assert_eq!(
            (latency.count, latency.min, latency.max, latency.mean),
            (2, 2.0, 4.0, 3.0)
        );
        assert_eq!((store.bytes, store.wait.count(), store.cpu.sum_ms()), (20, 2, 2.0));
        assert_eq!(
            (store.gpu.count(), pooled.of(Measured::ColdLookup).latency.count()),
            (0, 0)
        );
        let tally = &pooled.tally;
        assert_eq!((tally.passed, tally.failed, tally.count(&Failure::Missed)), (2, 2, 2));
        assert_eq!((tally.sentences.len(), tally.chunks_compared), (SENTENCES_MAX, 6));
        assert_eq!(
            (pooled.late_commits, pooled.longest_commit),
            (2, Duration::from_millis(4))
        );
        let ms = Duration::from_millis;
        assert_eq!(
            (pooled.elapsed, pooled.client_time, pooled.own_work),
            (ms(4), ms(6), ms(2))
        );
    }
}
