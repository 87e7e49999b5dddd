//! Pitfalls of measuring a stream: each test has events that could give a wrong number.

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
fn a_late_usage_and_a_late_end_change_neither_the_last_token_nor_tpot() {
    let record = record(&[(20, &token("a")), (25, &token("b")), (225, &usage(7, 2)), (425, DONE)]);
    assert_eq!(ms(record.token_latency_s()), Some(25.0));
    assert_eq!(ms(record.tpot_s()), Some(5.0));
    // The reference's formula is kept.
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
fn one_token_has_a_ttft_and_no_tpot() {
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
fn a_running_usage_gives_the_tokens_of_the_first_event() {
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
fn without_usage_pieces_are_counted_and_zeros_of_a_running_usage_are_ignored() {
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
fn a_failure_keeps_only_its_latency() {
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
fn the_wait_before_dispatch_is_in_the_scheduled_ttft_only() {
    let mut record = record(&[(20, &token("a")), (21, DONE)]);
    record.scheduled = Stamp(-30 * MS);
    assert_eq!(ms(Some(record.ttft_s())), Some(20.0));
    assert_eq!(ms(record.scheduled_ttft_s()), Some(50.0));
    assert_eq!(ms(Some(record.lateness_s())), Some(30.0));
}

/// Like `token`, with the engine's count so far.
fn counted(text: &str, tokens: u64) -> String {
    format!(
        r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":{tokens}}}}}"#
    )
}

fn mean_gap_ms(record: &Record) -> Option<f64> {
    let gaps: Vec<f64> = record.gaps_s().collect();
    ms(Some(gaps.iter().sum::<f64>() / gaps.len() as f64))
}

#[test]
fn tpot_and_mean_itl_agree_when_events_are_regular() {
    // Six tokens in the first event, as when a reasoning parser holds them back: 50 ms a token.
    let hidden = record(&[
        (50, &counted("", 1)),
        (350, &counted("a", 7)),
        (400, &counted("b", 8)),
        (401, DONE),
    ]);
    assert_eq!((ms(hidden.tpot_s()), mean_gap_ms(&hidden)), (Some(50.0), Some(50.0)));
    assert_eq!(hidden.unplaced_tokens(), 0);
    // Two tokens an event, the first one too.
    let pairs: Vec<(i64, String)> = (1..=5).map(|n| (20 * n, counted("ab", 2 * n as u64))).collect();
    let pairs: Vec<(i64, &str)> = pairs.iter().map(|(at, event)| (*at, event.as_str())).collect();
    let pairs = record(&pairs);
    assert_eq!((ms(pairs.tpot_s()), mean_gap_ms(&pairs)), (Some(10.0), Some(10.0)));
    // More events than tokens.
    let halves = record(&[
        (10, &token("a")),
        (20, &token("b")),
        (30, &token("c")),
        (40, &token("d")),
        (41, &usage(3, 2)),
    ]);
    assert_eq!((ms(halves.tpot_s()), mean_gap_ms(&halves)), (Some(20.0), Some(20.0)));
}

#[test]
fn tokens_of_unknown_position_are_counted() {
    let hidden = [(350, token("a")), (400, token("b")), (401, usage(3, 8))];
    let events: Vec<(i64, &str)> = hidden.iter().map(|(at, event)| (*at, event.as_str())).collect();
    // Less the end of sequence, which has no event.
    assert_eq!(record(&events).unplaced_tokens(), 5);
    let plain = record(&[(10, &token("a")), (20, &token("b")), (21, &usage(3, 3))]);
    assert_eq!(plain.unplaced_tokens(), 0);
    let one = record(&[(10, &token("a b c d")), (21, &usage(3, 8))]);
    assert_eq!(one.unplaced_tokens(), 0, "one event has no time per token");
}

#[test]
fn tokens_that_arrive_together_after_a_long_time_have_no_tpot() {
    let all_at = |at: i64, times: u64| -> Vec<(i64, String)> { (0..times).map(|_| (at, token("a"))).collect() };
    let of = |events: &[(i64, String)]| {
        let events: Vec<(i64, &str)> = events.iter().map(|(at, event)| (*at, event.as_str())).collect();
        record(&events)
    };
    let one = of(&all_at(200, 8));
    assert!(one.succeeded() && one.is_buffered() && one.tpot_s().is_none());
    let several = of(&[all_at(200, 3), all_at(260, 3), all_at(320, 3)].concat());
    assert!(several.is_buffered() && several.tpot_s().is_none());
    // A few pairs are not a buffered answer, and neither is an answer that really was that fast.
    let some = of(&[all_at(200, 2), all_at(220, 1), all_at(240, 1)].concat());
    assert!(!some.is_buffered() && some.tpot_s().is_some());
    assert!(!of(&all_at(7, 8)).is_buffered());
    assert!(!record(&[(200, &token("a")), (205, &token("b"))]).is_buffered());
    assert!(!record(&[(200, &token("a"))]).is_buffered());
}

#[test]
fn impossible_counts_are_removed_and_the_first_is_named() {
    let with = |usage: &str| {
        let usage = format!(r#"{{"choices":[],"usage":{usage}}}"#);
        let mut record = record(&[(20, &token("a")), (25, &token("b")), (26, &usage), (27, DONE)]);
        record.bytes_sent = 1000;
        record.drop_impossible_counts(2);
        record
    };
    let fine = with(r#"{"prompt_tokens":900.0,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":900}}"#);
    assert_eq!(
        (fine.input_tokens(), fine.output_tokens(), fine.cached_tokens()),
        (900, 2, Some(900))
    );
    assert_eq!(fine.answer.impossible_count, None);
    for (usage, named) in [
        (
            r#"{"completion_tokens":9223372036854775808}"#,
            "completion_tokens 9223372036854775808",
        ),
        (r#"{"completion_tokens":-5,"prompt_tokens":1}"#, "completion_tokens -5"),
        (
            r#"{"completion_tokens":2,"prompt_tokens":1e12}"#,
            "prompt_tokens 1000000000000",
        ),
        (
            r#"{"completion_tokens":2,"prompt_tokens":7,"prompt_cache_hit_tokens":8}"#,
            "cached_tokens 8",
        ),
        (r#"{"completion_tokens":2.5}"#, "completion_tokens 2.5"),
    ] {
        let record = with(usage);
        assert_eq!(record.answer.impossible_count.as_deref(), Some(named));
        assert_eq!(record.output_tokens(), 2, "{usage}: pieces of text count instead");
        assert!(record.input_tokens() <= 7 && record.cached_tokens().is_none());
    }
    // Within max_tokens, but impossible in the time.
    let mut quick = record(&[(20, &token("a")), (25, &usage(1, 1 << 40))]);
    quick.drop_impossible_counts(u64::MAX);
    assert_eq!(quick.answer.usage.completion_tokens, None);
}

#[test]
fn an_answer_that_does_not_end_fails() {
    let event = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    let mut long = Answer::new(true, 8);
    let piece = event(&"x".repeat(6 << 20));
    assert!(long.event(piece.as_bytes(), Stamp(0)).is_ok() && long.event(piece.as_bytes(), Stamp(1)).is_ok());
    let failure = long.event(piece.as_bytes(), Stamp(2)).unwrap_err();
    assert!(failure.text.contains("does not end"), "{}", failure.text);
    let mut many = Answer::new(false, 8);
    many.token_events = (1 << 20) - 1;
    assert!(many.event(event("x").as_bytes(), Stamp(0)).is_ok());
    assert!(many.event(event("x").as_bytes(), Stamp(1)).is_err());
}
