//! Limits as typed: `ttft=800ms,tpot.p99=50ms`.

use super::{Limit, Metric, Slo};
use crate::python::quote::quoted;
use crate::units::unit_s;

/// In all uses of the flag together.
const LIMITS_MAX: usize = 64;

impl Slo {
    /// Adds the limits of one use of the flag, or says why it cannot; then nothing was added.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let mut limits = self.limits.clone();
        for part in text.split(',') {
            let limit = limit(part.trim())?;
            let is_same = |other: &Limit| other.metric == limit.metric && other.percentile == limit.percentile;
            if let Some(other) = limits.iter().find(|other| is_same(other)) {
                return Err(format!("{} and {} limit the same; give one of them", other, limit));
            }
            limits.push(limit);
            if limits.len() > LIMITS_MAX {
                return Err(format!("more than {LIMITS_MAX} limits; give fewer"));
            }
        }
        self.limits = limits;
        Ok(())
    }
}

fn limit(part: &str) -> Result<Limit, String> {
    let Some((name, time)) = part.split_once('=') else {
        return Err(format!(
            "{} is no limit; write METRIC=TIME, as ttft=800ms",
            quoted(part)
        ));
    };
    let name = name.trim();
    let (name, qualifier) = match name.split_once('.') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
    let metric =
        metric.ok_or_else(|| format!("{} is no metric; limits are on ttft, tpot, itl and e2el", quoted(name)))?;
    let percentile = qualifier.map(|qualifier| percentile(metric, qualifier)).transpose()?;
    Ok(Limit {
        metric,
        percentile,
        seconds: seconds(part, time.trim())?,
        typed: time.trim().to_owned(),
    })
}

fn percentile(metric: Metric, qualifier: &str) -> Result<f64, String> {
    let number = qualifier.strip_prefix('p').filter(|number| is_plain(number));
    let p = number.and_then(|number| number.parse::<f64>().ok());
    p.filter(|p| *p > 0.0 && *p <= 100.0).ok_or_else(|| {
        let name = metric.name();
        format!(
            "{} behind {name} is no percentile; write {name}.p99 or {name}.p99.9, above 0 and up to 100",
            quoted(qualifier)
        )
    })
}

/// Digits with at most one point, no exponent.
fn is_plain(number: &str) -> bool {
    number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn seconds(part: &str, time: &str) -> Result<f64, String> {
    let number = time.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &time[number.len()..];
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite());
    let Some(value) = value else {
        return Err(format!("{} has no time; write it as 800ms, 1.5s or 2m", quoted(part)));
    };
    let Some(factor) = unit_s(unit) else {
        return Err(match unit {
            "" => format!("{} has no unit; write {number}ms or {number}s", quoted(part)),
            _ => format!("{} is no unit of time; use us, ms, s, m or h", quoted(unit)),
        });
    };
    let seconds = value * factor;
    if seconds > 0.0 && seconds.is_finite() {
        return Ok(seconds);
    }
    Err(format!("the limit of {} must be above 0 and finite", quoted(part)))
}
