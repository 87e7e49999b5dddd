//! The steady state of a phase: the time during which nearly as many requests were under way as ever were, without the
//! ramps at both ends. Plain arithmetic over records.

use crate::engine::samples::record::Record;
use crate::engine::timestamp::Stamp;

/// Of the highest concurrency.
const STEADY_SHARE: f64 = 0.95;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SteadyWindow {
    pub seconds: f64,
    pub output_throughput: f64,
}

/// From the first to the last moment at which at least 95 % of the highest concurrency was there; nothing when that is no
/// time at all or there was never more than one request.
pub fn window(records: &[&Record]) -> Option<SteadyWindow> {
    let mut edges: Vec<(Stamp, i64)> = Vec::with_capacity(records.len() * 2);
    for record in records {
        edges.push((record.dispatched, 1));
        edges.push((record.finished, -1));
    }
    // At the same moment an end goes before a beginning, so that touching requests do not count twice.
    edges.sort();
    let mut now = 0;
    let levels = edges.iter().map(|(_, change)| {
        now += change;
        now
    });
    let levels: Vec<i64> = levels.collect();
    let most = *levels.iter().max()?;
    if most < 2 {
        return None;
    }
    let enough = |level: &i64| *level as f64 >= STEADY_SHARE * most as f64;
    let begin = edges[levels.iter().position(enough)?].0;
    let end = edges.get(levels.iter().rposition(enough)? + 1)?.0;
    let seconds = end.seconds_since(begin);
    if seconds <= 0.0 {
        return None;
    }
    let tokens: f64 = records.iter().map(|record| tokens_within(record, begin, end)).sum();
    Some(SteadyWindow {
        seconds,
        output_throughput: tokens / seconds,
    })
}

/// The request's tokens in the window, spread evenly between its first and its last.
fn tokens_within(record: &Record, begin: Stamp, end: Stamp) -> f64 {
    let (Some(first), Some(last)) = (record.first_token(), record.last_token()) else {
        return 0.0;
    };
    let tokens = record.output_tokens() as f64;
    let span = last.ns_since(first);
    if span == 0 {
        return if (begin..=end).contains(&first) { tokens } else { 0.0 };
    }
    let inside = last.min(end).ns_since(first.max(begin));
    tokens * inside as f64 / span as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stream::answer::Answer;
    use crate::engine::stream::counts::Usage;

    const SECOND: i64 = 1_000_000_000;

    /// From and to are seconds; tokens come evenly over the whole time.
    fn record(from: i64, to: i64, tokens: u64) -> Record {
        let mut record = Record::begin("r".into(), Stamp(from * SECOND), Stamp(from * SECOND));
        record.finished = Stamp(to * SECOND);
        record.answer = Answer {
            first_token: Some(Stamp(from * SECOND)),
            last_token: Some(Stamp(to * SECOND)),
            usage: Usage {
                completion_tokens: Some(tokens),
                ..Usage::default()
            },
            ..Answer::default()
        };
        record
    }

    #[test]
    fn ramps_are_left_out() {
        let records = [record(0, 10, 100), record(2, 8, 60), record(4, 6, 0)];
        let two: Vec<&Record> = records[..2].iter().collect();
        let window_of_two = window(&two).unwrap();
        assert_eq!((window_of_two.seconds, window_of_two.output_throughput), (6.0, 20.0));
        let three: Vec<&Record> = records.iter().collect();
        assert_eq!(window(&three).unwrap().seconds, 2.0);
    }

    #[test]
    fn one_after_another_there_is_no_steady_state() {
        let records = [record(0, 1, 10), record(1, 2, 10), record(2, 3, 10)];
        assert_eq!(window(&records.iter().collect::<Vec<_>>()), None);
        assert_eq!(window(&[]), None);
    }
}
