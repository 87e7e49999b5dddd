//! The `fault_inject` adapter: wraps another adapter and drops some of its loads. As in LMCache the bytes of a dropped key
//! are loaded, only its result becomes a failure. The keys are a function of the spec and the task.

pub mod config;

use std::collections::HashSet;
use std::time::Duration;

use self::config::FaultInjectConfig;
use crate::l2::adapter::{
    Adapter, Capabilities, Completion, IoPath, Item, Operation, Outcome, ProbeSlice, Residency, Submit, Task,
};
use crate::l2::blake2b;
use crate::l2::keys::ObjectKey;
use crate::l2::warning::Warning;

const BUCKETS: u64 = 1_000_000;

/// Which loads are dropped.
struct Faults {
    seed: String,
    /// How many of a million buckets are dropped, from the first on.
    dropped_buckets: u64,
    indices: HashSet<u64>,
    tail_ratios: Vec<f64>,
}

impl Faults {
    fn new(config: &FaultInjectConfig) -> Faults {
        Faults {
            seed: config.seed.clone(),
            dropped_buckets: (config.rate * BUCKETS as f64) as u64,
            indices: config.gap_indices.iter().copied().collect(),
            tail_ratios: config.gap_tail_ratios.clone(),
        }
    }

    /// Positions named by a share of the way from the end, halves rounded to even.
    fn tail_positions(&self, keys: usize) -> HashSet<u64> {
        let last = keys.saturating_sub(1) as f64;
        let position = |ratio: &f64| ((1.0 - ratio) * last).round_ties_even() as u64;
        self.tail_ratios.iter().map(position).collect()
    }

    fn drops_key(&self, key: &ObjectKey) -> bool {
        let digest = || blake2b::digest8(key.fault_identity(&self.seed).as_bytes());
        self.dropped_buckets > 0 && u64::from_be_bytes(digest()) % BUCKETS < self.dropped_buckets
    }

    fn apply(&self, items: &mut [Item]) {
        let tail = self.tail_positions(items.len());
        for (position, item) in (0u64..).zip(items) {
            let dropped = tail.contains(&position) || self.indices.contains(&position) || self.drops_key(&item.key);
            if dropped && item.outcome.is_success() {
                item.outcome = Outcome::Failed("dropped on purpose by fault_inject".to_owned());
            }
        }
    }
}

pub struct FaultInjectAdapter {
    capabilities: Capabilities,
    inner: Box<dyn Adapter>,
    faults: Faults,
}

impl FaultInjectAdapter {
    pub fn new(config: &FaultInjectConfig, inner: Box<dyn Adapter>) -> FaultInjectAdapter {
        FaultInjectAdapter {
            capabilities: Capabilities {
                class_name: "FaultInjectL2Adapter",
                ..inner.capabilities().clone()
            },
            inner,
            faults: Faults::new(config),
        }
    }

    fn edited(&self, mut completion: Completion) -> Completion {
        if completion.operation == Operation::Load {
            self.faults.apply(&mut completion.items);
        }
        completion
    }
}

impl Adapter for FaultInjectAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, operation: Operation) -> Result<IoPath, String> {
        self.inner.prepare(operation)
    }

    fn submit(&mut self, task: Task) -> Submit {
        match self.inner.submit(task) {
            Submit::Done(completion) => Submit::Done(self.edited(completion)),
            other => other,
        }
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let completion = self.inner.wait(timeout)?;
        Some(self.edited(completion))
    }

    fn unlock(&mut self, keys: &[ObjectKey]) {
        self.inner.unlock(keys);
    }

    fn cancel(&mut self) {
        self.inner.cancel();
    }

    fn make_cold(&mut self, keys: &mut dyn Iterator<Item = ObjectKey>) -> Result<Residency, String> {
        self.inner.make_cold(keys)
    }

    fn probe(&mut self, operation: Operation, items: Vec<Item>) -> (Vec<Item>, Result<ProbeSlice, String>) {
        self.inner.probe(operation, items)
    }

    fn take_warnings(&mut self) -> Vec<Warning> {
        self.inner.take_warnings()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::keys::bench_key;

    fn dropped(faults: &Faults, keys: u64) -> Vec<usize> {
        let mut items: Vec<Item> = (0..keys).map(|index| Item::new(bench_key(index), None)).collect();
        for item in &mut items {
            item.outcome = Outcome::Loaded;
        }
        faults.apply(&mut items);
        let failed = |(position, item): (usize, &Item)| (!item.outcome.is_success()).then_some(position);
        items.iter().enumerate().filter_map(failed).collect()
    }

    fn faults(rate: f64, indices: &[u64], tail_ratios: &[f64]) -> Faults {
        Faults {
            seed: "0".to_owned(),
            dropped_buckets: (rate * BUCKETS as f64) as u64,
            indices: indices.iter().copied().collect(),
            tail_ratios: tail_ratios.to_vec(),
        }
    }

    #[test]
    fn the_dropped_keys_are_lmcaches() {
        assert_eq!(
            blake2b::digest8(bench_key(0).fault_identity("0").as_bytes()),
            0x113b_f901_25bd_643c_u64.to_be_bytes()
        );
        assert_eq!(dropped(&faults(0.5, &[], &[]), 12), [0, 3, 4, 5]);
        assert_eq!(dropped(&faults(0.0, &[1], &[0.0, 0.5, 1.0]), 8), [0, 1, 4, 7]);
        assert_eq!(dropped(&faults(0.0, &[], &[]), 8), [0usize; 0]);
        assert_eq!(dropped(&faults(1.0, &[], &[]), 3), [0, 1, 2]);
        assert_eq!(dropped(&faults(0.0, &[99], &[0.5]), 0), [0usize; 0]);
    }

    #[test]
    fn what_failed_by_itself_keeps_its_reason() {
        let mut items = vec![Item::new(bench_key(0), None)];
        items[0].outcome = Outcome::Missing;
        faults(1.0, &[], &[]).apply(&mut items);
        assert_eq!(items[0].outcome, Outcome::Missing);
    }
}
