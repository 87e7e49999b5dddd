//! Whether an answer ended successfully: the rule of docs/measurement.md, and the finish reasons by which engines report a
//! failure.

use serde_json::Value;

use super::answer::Answer;
use crate::engine::failure::{Failure, FailureClass};

/// Longer finish reasons are cut, because reports list them.
pub const REASON_CHARS_MAX: usize = 60;
/// A finish reason that contains one of these, in any case, means failure. vLLM, SGLang: `abort`, `error`; TensorRT-LLM:
/// `cancelled`, `timeout`; Dynamo: `cancelled`, `error: ...`; others: `aborted`, `canceled`, `network_error`,
/// `insufficient_system_resource`, `failed`.
const FAILURE_PARTS: [&str; 7] = [
    "abort",
    "error",
    "cancel",
    "timeout",
    "timed_out",
    "fail",
    "insufficient",
];
/// What some servers send instead of null.
const NO_REASONS: [&str; 5] = ["", "null", "none", "not_finished", "unspecified"];

/// Whether this finish reason means that the engine gave up on the answer.
pub fn is_failure(reason: &str) -> bool {
    let lower = reason.to_ascii_lowercase();
    FAILURE_PARTS.iter().any(|part| lower.contains(part))
}

/// The failure of an answer that did not end successfully. An answer without any event passes: that it has no token is a
/// failure of its own.
pub fn check(answer: &Answer) -> Result<(), Failure> {
    let broken = |text: String| Err(Failure::new(FailureClass::StreamBroken, text));
    match &answer.finish_reason {
        Some(reason) if is_failure(reason) => {
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

/// The reason in this text; `None` for values that mean "not finished".
pub fn reason(text: &str) -> Option<&str> {
    let is_none = NO_REASONS.iter().any(|none| text.eq_ignore_ascii_case(none));
    (!is_none).then_some(text)
}

/// A finish reason in any form: text, an object with a `type` (SGLang), or an object with the reason as its key (Dynamo).
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
    fn reasons_that_mean_failure_are_told_from_those_that_do_not() {
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
            assert!(is_failure(word), "{word}");
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
            assert!(!is_failure(word), "{word}");
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

    fn ends_well(events: &[&str]) -> bool {
        let mut answer = Answer::default();
        for event in events {
            answer.event(event.as_bytes(), Stamp(0)).expect("no error event");
        }
        check(&answer).is_ok()
    }

    #[test]
    fn an_answer_succeeds_with_a_reason_a_usage_or_done() {
        let text = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
        let counted = r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}"#;
        let usage = r#"{"choices":[],"usage":{"completion_tokens":1}}"#;
        let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        let abort = r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#;
        for good in [&[text, stop][..], &[text, usage], &[text, "[DONE]"], &[usage], &[]] {
            assert!(ends_well(good), "{good:?}");
        }
        // A running count says nothing about the end, and a good reason before or after a failure does not undo it.
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
