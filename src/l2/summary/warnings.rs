//! Decides which figures of a phase get a warning. The limits are here, the messages in `l2::warning`.

use super::{ProbeResult, RunFacts};
use crate::l2::adapter::Operation;
use crate::l2::device;
use crate::l2::samples::PhaseSamples;
use crate::l2::warning::{ProbeWarning, Warning};

/// Creating a file takes about 16 us on an idle ext4; beyond this something slows it down.
const SLOW_CREATE_US: f64 = 100.0;
/// A probe whose slices differ more than this gives no verdict.
const PROBE_SPREAD_MAX: f64 = 2.0;
/// Nothing is faster than the device; a ratio beyond this says that the probe was wrong.
const PROBE_RATIO_MAX: f64 = 1.05;
/// Loads count as proven cold when at least this share came from the device.
const COLD_SHARE_MIN: f64 = 0.95;

/// Adds what the samples of one phase give rise to.
pub fn add(facts: &RunFacts<'_>, phase: &PhaseSamples, warnings: &mut Vec<Warning>) {
    let moved = phase.moved_bytes();
    let device_bytes = device::device_bytes(phase.operation, &phase.traffic);
    let label = device::label(device_bytes, moved);
    if phase.rounds_timed_out > 0 {
        warnings.push(Warning::RoundsTimedOut {
            rounds: phase.rounds_timed_out,
        });
    }
    if phase.tally.already_there > 0 {
        warnings.push(Warning::AlreadyStored {
            keys: phase.tally.already_there,
        });
    }
    if phase.operation == Operation::Store && phase.tally.already_there == 0 {
        let p50_us = phase.latencies.open.percentiles().p50 as f64 / 1e3;
        if p50_us > SLOW_CREATE_US && facts.storage_path.is_some() {
            warnings.push(Warning::SlowCreates { p50_us });
        }
        if let (Some(path), false) = (&facts.storage_path, facts.knows_device) {
            warnings.push(Warning::DeviceUnknown { path: path.clone() });
        }
    }
    if let (Operation::Load, Some((share, kind))) = (phase.operation, label) {
        let resident = phase.residency.map_or(0, |residency| residency.resident_pages_after);
        if facts.storage_path.is_some() && facts.config.cold && (share < COLD_SHARE_MIN || resident > 0) {
            warnings.push(Warning::ColdNotProven {
                resident_pages: resident,
                device_share_pct: share * 100.0,
            });
        } else if facts.storage_path.is_some() && kind != device::Label::Device {
            warnings.push(Warning::CacheWarmLoad {
                share_pct: (1.0 - share).max(0.0) * 100.0,
            });
        }
    }
    if let Some(probe) = ProbeResult::written(phase) {
        if probe.spread > PROBE_SPREAD_MAX {
            warnings.push(Warning::Probe(ProbeWarning::Noisy { spread: probe.spread }));
        } else if probe.ratio[1] > PROBE_RATIO_MAX {
            warnings.push(Warning::Probe(ProbeWarning::BelowResult { ratio: probe.ratio[1] }));
        }
    }
    if phase.rounds.len() == 1 && !warnings.contains(&Warning::SingleRound) {
        warnings.push(Warning::SingleRound);
    }
}
