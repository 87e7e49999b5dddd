//! The sections about service level objectives.

use crate::engine::results::judged::Judged;
use crate::load::slo::{Goodput, Holding, Verdict};
use crate::result::model::{Column, Entry, Row, Section, Value};

/// The limits with the goodput, and a row for each limit on a percentile.
pub fn sections(judged: &Judged) -> Vec<Section> {
    let mut entries = vec![
        Entry::text("limits", "Limits", judged.slo.to_string()),
        Entry::text(
            "clock",
            "Times count from",
            if judged.from_schedule {
                "the schedule"
            } else {
                "dispatch"
            },
        ),
    ];
    entries.extend(judged.goodput.iter().flat_map(goodput));
    let level = Section::entries("slo", "Service Level", entries);
    [level].into_iter().chain(criteria(&judged.verdicts)).collect()
}

/// A row for each limit on a percentile; `None` without one.
pub fn criteria(verdicts: &[Verdict]) -> Option<Section> {
    let ms = |key, label| Column::new(key, label).unit("ms");
    let columns = vec![
        Column::new("verdict", "verdict"),
        ms("value", "value"),
        ms("interval_low", "95 % from"),
        ms("interval_high", "to"),
        Column::new("samples", "samples"),
    ];
    let rows: Vec<Row> = verdicts.iter().map(row).collect();
    (!rows.is_empty()).then(|| Section::table("slo_criteria", "Criteria (ms)", columns, rows))
}

fn goodput(goodput: &Goodput) -> Vec<Entry> {
    let percent = |key, label, share: Option<f64>| Entry::optional(key, label, share.map(|share| share * 100.0), 2);
    let interval = goodput.share_interval;
    vec![
        Entry::count("good", "Requests within all limits", goodput.good),
        Entry::count("judged", "Requests judged", goodput.total),
        percent(
            "good_share",
            "Within all limits (%)",
            (goodput.total > 0).then(|| goodput.share()),
        ),
        percent("good_share_low", "95 % interval from (%)", interval.map(|(low, _)| low)),
        percent(
            "good_share_high",
            "95 % interval to (%)",
            interval.map(|(_, high)| high),
        ),
        Entry::number("goodput", "Goodput (req/s)", goodput.per_second, 2).unit("req/s"),
    ]
}

fn row(verdict: &Verdict) -> Row {
    let ms = |seconds: f64| match seconds.is_finite() {
        true => Value::number(seconds * 1e3, 2),
        false => Value::Absent {},
    };
    let text = match verdict.holding {
        Holding::Kept => "kept",
        Holding::Broken => "broken",
        Holding::NoSamples => "no samples",
    };
    let interval = verdict.interval;
    let limit = verdict.limit.to_string();
    let cells = vec![
        Value::text(text),
        ms(verdict.seconds),
        interval.map_or(Value::Absent {}, |(low, _)| ms(low)),
        interval.map_or(Value::Absent {}, |(_, high)| ms(high)),
        Value::count(verdict.samples),
    ];
    Row::new(limit.clone(), limit, cells)
}
