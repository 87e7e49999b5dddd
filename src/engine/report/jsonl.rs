//! The file of `--requests-jsonl`: one JSON object per request and line. docs/formats.md lists the keys.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::expected::CAUSES;
use crate::engine::samples::record::Record;
use crate::engine::stream::answer::GAP_UNIT_NS;
use crate::engine::timestamp::{Clock, Stamp};
use crate::ledger::causes::Causes;
use crate::ledger::expect::ExpectedRequest;

/// The lines of all requests, in completion order.
pub fn lines(records: &[Record], clock: &Clock, expected: &HashMap<String, ExpectedRequest>) -> String {
    records
        .iter()
        .map(|record| format!("{}\n", line(record, clock, expected.get(&record.id))))
        .collect()
}

fn line(record: &Record, clock: &Clock, expected: Option<&ExpectedRequest>) -> Value {
    let answer = &record.answer;
    let failure = record.why_failed();
    let ms = |stamp: Option<Stamp>| stamp.map(|stamp| milliseconds(stamp.seconds_since(record.dispatched)));
    let gaps = answer.gaps.iter().map(|gap| f64::from(*gap) * GAP_UNIT_NS as f64 / 1e6);
    let mut line = json!({
        "request_id": record.id,
        "response_id": answer.response_id,
        "successful": record.succeeded(),
        "error_class": failure.as_ref().map(|failure| failure.class.key()),
        "error": failure.as_ref().map(|failure| failure.text.as_str()),
        "http_status": record.status,
        "finish_reason": answer.finish_reason,
        "dispatched_unix_s": clock.wall_seconds(record.dispatched),
        "scheduled_ms": ms(Some(record.scheduled)),
        "first_write_ms": ms(record.first_write),
        "sent_ms": ms(record.sent),
        "headers_ms": ms(record.headers),
        "first_event_ms": ms(answer.first_event),
        "first_token_ms": ms(record.first_token()),
        "first_token_assumed": record.first_token_is_assumed(),
        "first_output_ms": ms(answer.first_output),
        "last_token_ms": ms(answer.last_token),
        "finished_ms": ms(Some(record.finished)),
        "connect_ms": record.connect_ns as f64 / 1e6,
        "tpot_ms": record.tpot_s().map(milliseconds),
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "cached_tokens": answer.usage.cached_tokens,
        "impossible_count": answer.impossible_count,
        "in_lumps": record.is_buffered(),
        "token_events": answer.token_events,
        "text_pieces": answer.pieces,
        "bytes_sent": record.bytes_sent,
        "bytes_received": record.bytes_received,
        "reads": record.reads,
        "reads_without_kernel_stamp": record.reads_without_stamp,
        "first_token_read_lag_ms": record.first_token_lag_ns as f64 / 1e6,
        "gaps_ms": gaps.collect::<Vec<f64>>(),
    });
    if let Some(expected) = expected {
        let served = &expected.served;
        line["expected_computed"] = served.computed.into();
        line["expected_cached_tokens"] = served.cached().into();
        line["expected_hbm"] = served.hbm.into();
        line["expected_l1"] = served.l1.into();
        line["expected_l2"] = served.l2.into();
        line["computed_why"] = causes(&expected.causes);
    }
    line
}

/// The causes that apply.
fn causes(causes: &Causes) -> Value {
    let named = CAUSES.iter().map(|(key, _, of)| (*key, of(causes)));
    named
        .filter(|(_, tokens)| *tokens > 0)
        .map(|(key, tokens)| (key.to_owned(), tokens.into()))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

/// Milliseconds, rounded to the nanosecond.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::Failure;

    #[test]
    fn a_line_has_what_was_measured_and_omits_the_rest() {
        let clock = Clock::start();
        let mut record = Record::begin("r1".into(), Stamp(-2_000_000), Stamp(0));
        record
            .answer
            .event(
                br#"{"id":"cmpl-1","choices":[{"delta":{"content":"a"}}]}"#,
                Stamp(20_000_000),
            )
            .unwrap();
        record
            .answer
            .event(br#"{"choices":[{"delta":{"content":"b"}}]}"#, Stamp(25_000_000))
            .unwrap();
        record.answer.event(b"[DONE]", Stamp(26_000_000)).unwrap();
        record.finished = Stamp(26_000_000);
        let mut failed = Record::begin("r2".into(), Stamp(0), Stamp(0));
        failed.failure = Some(Failure::protocol("no"));
        let text = lines(&[record, failed], &clock, &HashMap::new());
        let parsed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = &parsed[0];
        assert_eq!(first["request_id"], "r1");
        assert_eq!(first["response_id"], "cmpl-1");
        assert_eq!(first["scheduled_ms"], -2.0);
        assert_eq!(
            (&first["first_token_ms"], &first["last_token_ms"]),
            (&json!(20.0), &json!(25.0))
        );
        assert_eq!(first["gaps_ms"], json!([5.0]));
        assert_eq!(first["tpot_ms"], 5.0);
        assert_eq!(first["completion_tokens"], Value::Null);
        assert_eq!(
            (&parsed[1]["error_class"], &parsed[1]["error"]),
            (&json!("protocol"), &json!("no"))
        );
        assert_eq!(parsed[1]["first_token_ms"], Value::Null);
    }
}
