//! When an answer ended well: the one rule, which docs/measurement.md states. Knows the words that engines use for an answer
//! that they gave up.

use serde_json::Value;

use super::answer::Answer;
use crate::engine::failure::{Failure, FailureClass};

/// Longer reasons are cut: they are words, and reports list them.
pub const REASON_CHARS_MAX: usize = 60;
/// Parts of a reason, in lower case, that mean that the engine gave the answer up. vLLM, SGLang: `abort`, `error`; TensorRT-LLM:
/// `cancelled`, `timeout`; Dynamo: `cancelled`, `error: ...`; others: `aborted`, `canceled`, `network_error`,
/// `insufficient_system_resource`, `failed`.
const GIVEN_UP: [&str; 7] = [
    "abort",
    "error",
    "cancel",
    "timeout",
    "timed_out",
    "fail",
    "insufficient",
];
/// What some servers write where others write null.
const NO_REASONS: [&str; 5] = ["", "null", "none", "not_finished", "unspecified"];

/// Whether this finish reason says that the engine gave the answer up.
pub fn is_given_up(reason: &str) -> bool {
    let lower = reason.to_ascii_lowercase();
    GIVEN_UP.iter().any(|part| lower.contains(part))
}

/// Whether the answer ended well. One without any event says nothing about its end; that it has no token is a failure of its
/// own.
pub fn check(answer: &Answer) -> Result<(), Failure> {
    let broken = |text: String| Err(Failure::new(FailureClass::StreamBroken, text));
    match &answer.finish_reason {
        Some(reason) if is_given_up(reason) => {
            return broken(format!("the engine gave the answer up: its finish reason is {reason}"));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    if answer.has_usage_event || answer.is_done() || answer.first_event.is_none() {
        return Ok(());
    }
    broken(
        "the answer ended without a finish reason, a usage or [DONE]: the engine or something before it cut it off"
            .to_owned(),
    )
}

/// The reason in this text; `None` for what says that the answer goes on.
pub fn reason(text: &str) -> Option<&str> {
    let goes_on = NO_REASONS.iter().any(|none| text.eq_ignore_ascii_case(none));
    (!goes_on).then_some(text)
}

/// A finish reason in any form: text, or an object with a `type` (SGLang), or with the reason as its key (Dynamo).
pub fn reason_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => reason(text).map(str::to_owned),
        Value::Object(members) => match members.get("type") {
            Some(kind) => reason_in(kind),
            None => members.keys().next().and_then(|key| reason(key)).map(str::to_owned),
        },
        Value::Null | Value::Bool(false) | Value::Array(_) => None,
        Value::Bool(true) | Value::Number(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::timestamp::Stamp;

    #[test]
    fn every_engines_word_for_giving_up_is_known_and_none_for_an_end() {
        for word in [
            "abort",
            "aborted",
            "ABORT",
            "FINISH_ABORT",
            "error",
            "error: worker lost",
            "cancelled",
            "canceled",
            "Cancelled",
            "timeout",
            "timed_out",
            "network_error",
            "insufficient_system_resource",
            "failed",
            "generation_error",
        ] {
            assert!(is_given_up(word), "{word}");
        }
        for word in [
            "stop",
            "length",
            "tool_calls",
            "function_call",
            "content_filter",
            "eos",
            "eos_token",
            "stop_sequence",
            "repetition",
            "end_turn",
            "max_tokens",
            "STOP",
            "limit",
            "load",
        ] {
            assert!(!is_given_up(word), "{word}");
        }
    }

    #[test]
    fn reasons_come_in_many_forms() {
        for (value, want) in [
            (json!("stop"), Some("stop")),
            (json!({"type": "abort", "message": "x"}), Some("abort")),
            (json!({"error": "worker lost"}), Some("error")),
            (json!(2), Some("2")),
            (json!(null), None),
            (json!(""), None),
            (json!("NULL"), None),
            (json!("NOT_FINISHED"), None),
            (json!({}), None),
            (json!(false), None),
        ] {
            assert_eq!(reason_in(&value).as_deref(), want, "{value}");
        }
    }

    /// Answers of `events`, as `check` judges them.
    fn ends_well(events: &[&str]) -> bool {
        let mut answer = Answer::default();
        for event in events {
            answer.event(event.as_bytes(), Stamp(0)).expect("no error event");
        }
        check(&answer).is_ok()
    }

    #[test]
    fn an_answer_ends_well_with_a_reason_a_usage_or_done() {
        let text = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
        let counted = r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}"#;
        let usage = r#"{"choices":[],"usage":{"completion_tokens":1}}"#;
        let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        let abort = r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#;
        for good in [&[text, stop][..], &[text, usage], &[text, "[DONE]"], &[usage], &[]] {
            assert!(ends_well(good), "{good:?}");
        }
        // A running count says nothing about the end, and an end that came before the engine gave up does not undo it.
        let bad = [
            &[text][..],
            &[counted, counted],
            &[text, abort, usage, "[DONE]"],
            &[text, stop, abort],
            &[abort, stop],
        ];
        for bad in bad {
            assert!(!ends_well(bad), "{bad:?}");
        }
    }
}
