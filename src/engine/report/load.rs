//! The section about the load: what was asked for, what was delivered, and what was left out.

use crate::engine::results::delivered::{Delivered, SteadyState};
use crate::result::model::{Entry, Section};

/// `None` where the workload paced itself by its answers and nothing else was asked for.
pub fn section(delivered: &Delivered) -> Option<Section> {
    let asked = &delivered.asked;
    if asked.per_second.is_none() && asked.max_concurrency.is_none() && asked.measured.is_none() {
        return None;
    }
    let mut entries = Vec::new();
    let mut rate = |key, label, value: Option<f64>| {
        entries.extend(value.map(|value| Entry::number(key, label, value, 2).unit("req/s")));
    };
    rate("rate_configured", "Configured rate (req/s)", asked.per_second);
    rate("rate_due", "Due by the schedule (req/s)", delivered.due_per_s);
    rate("rate_sent", "Sent (req/s)", delivered.sent_per_s);
    let limit = asked.max_concurrency;
    entries.extend(limit.map(|limit| Entry::count("concurrency_configured", "Configured concurrency", limit)));
    entries.push(Entry::number(
        "in_flight_mean",
        "In flight, mean",
        delivered.in_flight_mean,
        2,
    ));
    if asked.per_second.is_some() {
        entries.push(Entry::count("unsent", "Due, but never sent", delivered.skipped.unsent));
    }
    let unmeasured = &delivered.unmeasured;
    if unmeasured.requests > 0 {
        entries.push(Entry::count(
            "unmeasured",
            "Sent before the measured time",
            unmeasured.requests,
        ));
        entries.push(Entry::count("unmeasured_failed", "Of these, failed", unmeasured.failed));
    }
    if delivered.skipped.repeats > 0 {
        let repeats = delivered.skipped.repeats;
        entries.push(Entry::count(
            "list_repeats",
            "Restarts of the list of requests",
            repeats,
        ));
    }
    match &delivered.steady {
        Some(SteadyState::Since(seconds)) => {
            entries.push(Entry::number("steady_since_s", "Steady since (s)", *seconds, 2).unit("s"));
        }
        Some(SteadyState::Not(reason)) => entries.push(Entry::text("not_steady", "Not steady", reason.clone())),
        None => {}
    }
    Some(Section::entries("load", "Load", entries))
}
