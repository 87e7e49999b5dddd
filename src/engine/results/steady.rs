//! The steady state of a phase: the time with nearly the highest concurrency, without the ramps at both ends.

use crate::engine::samples::record::Record;
use crate::engine::timestamp::Stamp;

/// Share of the highest concurrency that counts as steady.
const STEADY_SHARE: f64 = 0.95;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SteadyWindow {
    pub seconds: f64,
    pub output_throughput: f64,
}

/// From the first to the last moment with at least 95 % of the highest concurrency. `None` if these are the same, or if
/// requests did not overlap.
pub fn window(records: &[&Record]) -> Option<SteadyWindow> {
    let mut edges: Vec<(Stamp, i64)> = Vec::with_capacity(records.len() * 2);
    for record in records {
        edges.push((record.dispatched, 1));
        edges.push((record.finished, -1));
    }
    // At equal times ends come before starts, so that back-to-back requests do not count as concurrent.
    edges.sort();
    let mut now = 0;
    let levels = edges.iter().map(|(_, change)| {
        now += change;
        now
    });
    let levels: Vec<i64> = levels.collect();
    let highest = *levels.iter().max()?;
    if highest < 2 {
        return None;
    }
    let is_steady = |level: &i64| *level as f64 >= STEADY_SHARE * highest as f64;
    let begin = edges[levels.iter().position(is_steady)?].0;
    let end = edges.get(levels.iter().rposition(is_steady)? + 1)?.0;
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

/// The request's tokens within the window, if they are spread evenly from the first to the last token.
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

    /// `from` and `to` are in seconds; the tokens are spread over the whole time.
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
    fn sequential_requests_have_no_steady_state() {
        let records = [record(0, 1, 10), record(1, 2, 10), record(2, 3, 10)];
        assert_eq!(window(&records.iter().collect::<Vec<_>>()), None);
        assert_eq!(window(&[]), None);
    }
}
