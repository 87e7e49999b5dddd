//! The section `kv_break_even`: TTFT by source as a fixed part and a part for each token, and the length from which loading is
//! faster than computing.

use super::Climbed;
use crate::ledger::staircase::Tier;
use crate::ledger::staircase::probes::{Source, SourceLine};
use crate::result::model::{Column, Row, Section, Value};

/// `None` where no prompt was measured.
pub fn section(climbed: &Climbed) -> Option<Section> {
    let probes = climbed.probes.as_ref().filter(|probes| !probes.sent().is_empty())?;
    let columns = vec![
        Column::new("fixed_ms", "fixed").unit("ms"),
        Column::new("per_token_us", "per token").unit("us"),
        Column::new("per_token_low_us", "from").unit("us"),
        Column::new("per_token_high_us", "to").unit("us"),
        Column::new("residual_ms", "off by").unit("ms"),
        Column::new("gb_per_s", "GB/s").unit("GB/s"),
        Column::new("break_even_tokens", "even at"),
        Column::new("break_even_low_tokens", "from"),
        Column::new("break_even_high_tokens", "to"),
    ];
    let lines = probes.lines();
    let rows = lines.iter().filter_map(|line| row(climbed, line)).collect();
    Some(Section::table(
        "kv_break_even",
        "TTFT by Source, Break-Even Length",
        columns,
        rows,
    ))
}

pub fn key(source: Source) -> &'static str {
    match source {
        Source::Computed => "computed",
        Source::From(Tier::Hbm) => "hbm",
        Source::From(Tier::L1) => "l1",
        Source::From(Tier::L2) => "l2",
    }
}

fn row(climbed: &Climbed, line: &SourceLine) -> Option<Row> {
    let fit = line.line.as_ref().ok()?;
    let us = |seconds: Option<f64>| Value::optional(seconds.map(|seconds| seconds * 1e6), 2);
    let slope = fit.per_token_interval_s;
    // Computing moves no KV cache.
    let bytes = climbed.bytes_per_token.filter(|_| line.source != Source::Computed);
    let even = line.break_even;
    let finite = |tokens: Option<f64>| Value::optional(tokens.filter(|tokens| tokens.is_finite()), 0);
    let interval = even.and_then(|even| even.interval);
    let cells = vec![
        Value::number(fit.base_s * 1e3, 2),
        us(Some(fit.per_token_s)),
        us(slope.map(|slope| slope.0)),
        us(slope.map(|slope| slope.1)),
        Value::number(fit.residual_s * 1e3, 2),
        Value::optional(bytes.and_then(|bytes| fit.gb_per_s(bytes)), 2),
        finite(even.and_then(|even| even.tokens)),
        finite(interval.map(|interval| interval.0)),
        finite(interval.map(|interval| interval.1)),
    ];
    Some(Row::new(key(line.source), line.source.name(), cells))
}
