//! The cost of the bridge: the time of a submit as this process measures it, less the time inside LMCache's adapter. Shown as
//! sections at the end of the report.

use std::time::Duration;

use crate::l2::adapter::Operation;
use crate::result::model::{Column, Entry, Row, Section, Value};
use crate::stats::histogram::LatencyHistogram;
use crate::units::duration_ns;

/// Times of tasks of one kind.
struct Split {
    bridge: LatencyHistogram,
    adapter: LatencyHistogram,
}

impl Split {
    fn new() -> Split {
        Split {
            bridge: LatencyHistogram::new(),
            adapter: LatencyHistogram::new(),
        }
    }

    fn add(&mut self, whole: Duration, adapter_ns: u64) {
        self.bridge.record_ns(duration_ns(whole).saturating_sub(adapter_ns));
        self.adapter.record_ns(adapter_ns);
    }
}

/// The facts of the section beside the times.
pub struct Facts {
    pub python: String,
    pub python_version: String,
    pub lmcache_version: String,
    pub keys_per_submit: usize,
}

pub struct Cost {
    facts: Facts,
    mock: Split,
    /// In the order of [`OPERATIONS`].
    phases: [Split; 3],
}

const OPERATIONS: [(Operation, &str, &str); 3] = [
    (Operation::Store, "store", "Store"),
    (Operation::Lookup, "lookup", "Lookup"),
    (Operation::Load, "load", "Load"),
];

impl Cost {
    pub fn new(facts: Facts) -> Cost {
        Cost {
            facts,
            mock: Split::new(),
            phases: [Split::new(), Split::new(), Split::new()],
        }
    }

    /// A submit to LMCache's mock, which does almost nothing, with no other in flight.
    pub fn add_mock(&mut self, whole: Duration, adapter_ns: u64) {
        self.mock.add(whole, adapter_ns);
    }

    pub fn add(&mut self, operation: Operation, whole: Duration, adapter_ns: u64) {
        let index = OPERATIONS.iter().position(|(known, ..)| *known == operation);
        if let Some(phase) = index.and_then(|index| self.phases.get_mut(index)) {
            phase.add(whole, adapter_ns);
        }
    }

    pub fn sections(&self) -> Vec<Section> {
        let facts = &self.facts;
        let us = |ns: u64| ns as f64 / 1e3;
        let bridge = self.mock.bridge.percentiles();
        let entries = vec![
            Entry::text("python", "Python", &facts.python),
            Entry::text("python_version", "Python version", &facts.python_version),
            Entry::text("lmcache_version", "LMCache version", &facts.lmcache_version),
            Entry::count("bridge_submits", "Submits to LMCache's mock", self.mock.bridge.len()),
            Entry::count("bridge_keys_per_submit", "Keys / submit", facts.keys_per_submit as u64),
            Entry::number(
                "bridge_submit_us_p50",
                "Bridge cost / submit p50 (us)",
                us(bridge.p50),
                1,
            ),
            Entry::number(
                "bridge_submit_us_p99",
                "Bridge cost / submit p99 (us)",
                us(bridge.p99),
                1,
            ),
        ];
        vec![Section::entries("bridge", "Bridge to LMCache", entries), self.table()]
    }

    fn table(&self) -> Section {
        let columns = [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "max")];
        let row = |key: String, label: String, histogram: &LatencyHistogram| {
            let percentiles = histogram.percentiles();
            let cells = [percentiles.p50, percentiles.p90, percentiles.p99, percentiles.max];
            let us = |ns: u64| Value::Number {
                value: ns as f64 / 1e3,
                decimals: 1,
            };
            Row::new(key, label, cells.map(us).to_vec())
        };
        let mut rows = Vec::new();
        let mut push = |key: &str, label: &str, split: &Split| {
            if !split.adapter.is_empty() {
                rows.push(row(
                    format!("{key}_lmcache"),
                    format!("{label}: LMCache"),
                    &split.adapter,
                ));
                rows.push(row(format!("{key}_bridge"), format!("{label}: bridge"), &split.bridge));
            }
        };
        push("mock", "Mock", &self.mock);
        for ((_, key, label), phase) in OPERATIONS.iter().zip(&self.phases) {
            push(key, label, phase);
        }
        let columns = columns.map(|(key, label)| Column::new(key, label)).to_vec();
        Section::table("bridge_latency", "Bridge: task latency (us)", columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_what_the_adapter_did_not_take() {
        let mut cost = Cost::new(Facts {
            python: "python3".to_owned(),
            python_version: "3".to_owned(),
            lmcache_version: "0".to_owned(),
            keys_per_submit: 2,
        });
        cost.add_mock(Duration::from_micros(100), 60_000);
        cost.add(Operation::Load, Duration::from_micros(10), 11_000);
        assert_eq!(cost.mock.bridge.percentiles().max, 40_000);
        assert_eq!(cost.phases[2].bridge.percentiles().max, 0);
        let Section { body, .. } = cost.table();
        let crate::result::model::Body::Table { rows, .. } = body else {
            panic!("a table")
        };
        let keys: Vec<_> = rows.iter().map(|row| row.key.as_ref()).collect();
        assert_eq!(keys, ["mock_lmcache", "mock_bridge", "load_lmcache", "load_bridge"]);
    }
}
