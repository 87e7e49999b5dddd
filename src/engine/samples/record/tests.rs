//! The pitfalls of measuring a stream, each with events that would give a wrong number.

use super::*;
use crate::engine::stream::answer::Answer;

const MS: i64 = 1_000_000;

/// A request dispatched at 0 whose events arrive at the given milliseconds; it ends with the last of them.
fn record(events: &[(i64, &str)]) -> Record {
    let mut record = Record::begin("r".into(), Stamp(0), Stamp(0));
    record.answer = Answer::new(true, 2);
    for (at, data) in events {
        record.answer.event(data.as_bytes(), Stamp(at * MS)).unwrap();
        record.finished = Stamp(at * MS);
    }
    record
}

fn delta(delta: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
}

fn token(text: &str) -> String {
    delta(&format!(r#"{{"content":"{text}"}}"#))
}

const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const DONE: &str = "[DONE]";

fn usage(prompt: u64, completion: u64) -> String {
    format!(r#"{{"choices":[],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}}}"#)
}

fn ms(seconds: Option<f64>) -> Option<f64> {
    seconds.map(|seconds| (seconds * 1e6).round() / 1e3)
}

#[test]
fn a_role_with_empty_content_is_not_a_token() {
    let record = record(&[
        (5, ROLE),
        (20, &token("a")),
        (25, &token("b")),
        (26, &usage(7, 2)),
        (27, DONE),
    ]);
    assert_eq!(ms(Some(record.ttft_s())), Some(20.0));
    assert_eq!(
        (
            record.answer.token_events,
            record.output_tokens(),
            record.input_tokens()
        ),
        (2, 2, 7)
    );
}

#[test]
fn late_usage_and_a_late_end_move_neither_the_last_token_nor_the_time_per_token() {
    let record = record(&[(20, &token("a")), (25, &token("b")), (225, &usage(7, 2)), (425, DONE)]);
    assert_eq!(ms(record.token_latency_s()), Some(25.0));
    assert_eq!(ms(record.tpot_s()), Some(5.0));
    // The reference's own formula stays what it is.
    assert_eq!(ms(Some(record.latency_s())), Some(425.0));
    assert!((record.decode_speed() - 2.0 / 0.405).abs() < 1e-9);
}

#[test]
fn usage_and_text_in_one_event_are_both_read() {
    let both = r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":6,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    let record = record(&[(20, &token("a")), (25, both), (26, DONE)]);
    assert_eq!(
        (record.input_tokens(), record.output_tokens(), record.cached_tokens()),
        (6, 2, Some(4))
    );
    assert_eq!(ms(record.token_latency_s()), Some(25.0));
}

#[test]
fn one_token_has_a_first_token_and_no_time_per_token() {
    let record = record(&[(20, &token("a")), (21, &usage(7, 1)), (22, DONE)]);
    assert!(record.succeeded());
    assert_eq!((ms(Some(record.ttft_s())), record.tpot_s()), (Some(20.0), None));
}

#[test]
fn a_lone_end_of_sequence_stands_for_the_first_token_and_is_flagged() {
    let end = r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"length"}]}"#;
    let one = record(&[(5, ROLE), (20, end), (21, &usage(4, 1)), (22, DONE)]);
    assert!(one.succeeded() && one.first_token_is_assumed());
    assert_eq!(
        (ms(Some(one.ttft_s())), one.tpot_s(), one.output_tokens()),
        (Some(20.0), None, 1)
    );
    let none = record(&[(5, ROLE), (20, end), (21, &usage(4, 0)), (22, DONE)]);
    assert!(!none.succeeded());
    assert_eq!(none.why_failed().unwrap().text, "the answer ended without a token");
    assert_eq!(none.input_tokens(), 4, "an answer that ended well keeps its counts");
}

#[test]
fn reasoning_is_a_token_and_the_first_visible_text_comes_later() {
    for key in ["reasoning", "reasoning_content"] {
        let hidden = delta(&format!(r#"{{"content":"","{key}":"hm"}}"#));
        let record = record(&[
            (5, ROLE),
            (20, &hidden),
            (40, &token("a")),
            (41, &usage(4, 2)),
            (42, DONE),
        ]);
        assert_eq!(
            ms(Some(record.ttft_s())),
            Some(20.0),
            "{key}: empty content hides nothing"
        );
        assert_eq!(ms(record.ttfo_s()), Some(40.0));
        assert_eq!(
            record.answer.text, "a",
            "the text is the reference's, which an empty content does hide"
        );
    }
    let plain = record(&[
        (20, &delta(r#"{"reasoning":"hm"}"#)),
        (30, &delta(r#"{"content":null,"reasoning":"!"}"#)),
    ]);
    assert_eq!(plain.answer.text, "hm!");
}

#[test]
fn tool_calls_and_completions_are_tokens_too() {
    let call = delta(r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}"#);
    assert_eq!(
        ms(Some(record(&[(5, ROLE), (20, &call), (22, DONE)]).ttft_s())),
        Some(20.0)
    );
    let completion = r#"{"choices":[{"index":0,"text":"a"}]}"#;
    assert_eq!(ms(Some(record(&[(20, completion), (22, DONE)]).ttft_s())), Some(20.0));
}

#[test]
fn several_tokens_in_an_event_are_several_tokens() {
    let record = record(&[
        (20, &token("a b")),
        (30, &token("c d")),
        (40, &token("e f")),
        (41, &usage(1, 6)),
        (42, DONE),
    ]);
    assert_eq!(record.tokens_per_event(), Some(2.0));
    // Twenty milliseconds for the four tokens after the first event.
    assert_eq!(ms(record.tpot_s()), Some(5.0));
    let gaps: Vec<f64> = record.gaps_s().map(|gap| (gap * 1e6).round() / 1e3).collect();
    assert_eq!(gaps, [5.0, 5.0]);
}

#[test]
fn a_running_usage_says_how_many_tokens_the_first_event_had() {
    let counted = |text: &str, tokens: u64| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"usage":{{"prompt_tokens":7,"completion_tokens":{tokens}}}}}"#
        )
    };
    let record = record(&[
        (20, &counted("a", 3)),
        (40, &counted("b", 5)),
        (41, &usage(7, 5)),
        (42, DONE),
    ]);
    assert_eq!(record.output_tokens(), 5);
    // Two tokens after the first event's three.
    assert_eq!(ms(record.tpot_s()), Some(10.0));
}

#[test]
fn without_usage_pieces_are_counted_and_zeros_of_a_running_usage_are_not_believed() {
    let record = record(&[(20, &token("a")), (25, &token("b c")), (26, DONE)]);
    assert_eq!((record.output_tokens(), record.input_tokens()), (2, 0));
    let events = [
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":0}}"#,
        &usage(0, 3),
    ];
    let mut answer = Answer::new(false, 0);
    for data in events {
        answer.event(data.as_bytes(), Stamp(1)).unwrap();
    }
    assert_eq!(
        (answer.usage.prompt_tokens, answer.usage.completion_tokens),
        (Some(7), Some(3))
    );
}

#[test]
fn nothing_after_the_end_counts() {
    let record = record(&[(20, &token("a")), (21, DONE), (22, &token("z")), (23, &usage(9, 9))]);
    assert_eq!(
        (
            record.output_tokens(),
            record.input_tokens(),
            record.answer.text.as_str()
        ),
        (1, 0, "a")
    );
    assert_eq!(record.answer.done, Some(Stamp(21 * MS)));
}

#[test]
fn a_failure_loses_its_counts_and_its_times_but_not_its_latency() {
    let mut record = record(&[(20, &token("a")), (25, &usage(7, 1))]);
    record.failure = Some(Failure::new(FailureClass::StreamBroken, "cut"));
    assert_eq!((record.ttft_s(), record.decode_speed()), (-1.0, 0.0));
    assert_eq!(
        (record.input_tokens(), record.output_tokens(), record.succeeded()),
        (0, 0, false)
    );
    assert_eq!(ms(Some(record.latency_s())), Some(25.0));
}

#[test]
fn what_a_request_waited_for_its_turn_is_in_the_schedules_ttft_only() {
    let mut record = record(&[(20, &token("a")), (21, DONE)]);
    record.scheduled = Stamp(-30 * MS);
    assert_eq!(ms(Some(record.ttft_s())), Some(20.0));
    assert_eq!(ms(record.scheduled_ttft_s()), Some(50.0));
    assert_eq!(ms(Some(record.lateness_s())), Some(30.0));
}
