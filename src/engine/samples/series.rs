//! A request's part in the seconds of its phase.

use super::record::Record;
use crate::engine::stream::answer::GAP_UNIT_NS;
use crate::engine::timestamp::Stamp;
use crate::load::series::{Observation, Series};

/// Adds a request that has ended, with the gaps between its token events unless its answer was buffered on the way. Seconds count
/// from `began`.
pub fn add(series: &mut Series, record: &Record, began: Stamp) {
    let seconds = |stamp: Stamp| stamp.seconds_since(began);
    let succeeded = record.succeeded();
    let tokens_at = record.first_token().zip(record.last_token()).filter(|_| succeeded);
    series.request(&Observation {
        started_s: seconds(record.dispatched),
        ended_s: seconds(record.finished),
        succeeded,
        tokens_at_s: tokens_at.map(|(first, last)| (seconds(first), seconds(last))),
        ttft_s: succeeded.then(|| record.ttft_s()),
        tokens_in: record.input_tokens(),
        cached: record.cached_tokens().unwrap_or(0),
        tokens_out: record.output_tokens(),
    });
    if !succeeded || record.is_buffered() {
        return;
    }
    let Some(first) = record.answer.first_token else { return };
    let mut at_s = seconds(first);
    for (raw, gap_s) in record.answer.gaps.iter().zip(record.gaps_s()) {
        at_s += f64::from(*raw) * (GAP_UNIT_NS as f64 / 1e9);
        series.gap(at_s, gap_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_gaps_are_in_the_second_in_which_they_arrived() {
        let ms = |ms: i64| Stamp(ms * 1_000_000);
        let mut record = Record::begin("r".into(), ms(400), ms(400));
        for at in [900, 1100, 1300, 2100] {
            record.finished = ms(at);
            let event = br#"{"choices":[{"delta":{"content":"a"}}]}"#;
            record.answer.event(event, record.finished).unwrap();
        }
        let mut series = Series::default();
        add(&mut series, &record, ms(0));
        let rows = series.rows(2.1);
        assert_eq!(
            rows.iter().map(|row| (row.started, row.finished)).collect::<Vec<_>>(),
            [(1, 0), (0, 0), (0, 1)]
        );
        let gaps: Vec<Option<f64>> = rows
            .iter()
            .map(|row| row.itl.map(|itl| (itl.p50 * 1e3).round()))
            .collect();
        assert_eq!(gaps, [None, Some(200.0), Some(800.0)]);
        assert_eq!(rows[0].ttft.map(|ttft| ttft.p50), Some(0.5));
        let tokens: f64 = rows.iter().map(|row| row.tokens_out).sum();
        assert!((tokens - 4.0).abs() < 1e-9);
    }
}
