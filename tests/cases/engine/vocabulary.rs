//! Runs on a machine without the model's files: words and counts come from the engine, or are made up.

use serde_json::{Value, json as value};

use crate::support::mock::{Mock, body_of};

const WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/engine/words-tokenizer");

#[test]
fn the_mock_answers_about_tokens_as_vllm_does() {
    let mock = Mock::start(&["--model", "tiny", "--max-model-len", "8192", "--tokenizer", WORDS]);
    let recorded: Value = serde_json::from_str(include_str!("../../golden/engine/tokenize-replies.json")).unwrap();
    let replies = recorded["replies"].as_array().unwrap();
    assert!(replies.len() > 10);
    for case in replies {
        let reply = mock.ask(case["path"].as_str().unwrap(), &case["request"], "");
        let status = format!("HTTP/1.1 {} ", case["status"]);
        assert!(reply.starts_with(&status), "{case}: {reply}");
        let answer: Value = serde_json::from_str(&body_of(&reply).unwrap()).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        if case["status"] == 200 {
            assert_eq!(keys(&answer), keys(&case["reply"]), "{case}");
        }
        // No text and no tokens are the same with any vocabulary.
        if case["reply"]["prompt"] == "" || case["reply"]["count"] == 0 {
            assert_eq!(answer, case["reply"], "{case}");
        }
    }
    let ids = value!({"prompt": "bet\n<|eos|>", "add_special_tokens": false});
    let ids: Value = serde_json::from_str(&body_of(&mock.ask("/tokenize", &ids, "")).unwrap()).unwrap();
    let text = mock.ask("/detokenize", &value!({"tokens": ids["tokens"]}), "");
    assert_eq!(body_of(&text).unwrap(), r#"{"prompt":"bet\n<|eos|>"}"#);
    let plain = Mock::start(&[]).ask("/detokenize", &value!({"tokens": [1]}), "");
    assert!(
        plain.starts_with("HTTP/1.1 404 ") && plain.contains("--tokenizer"),
        "{plain}"
    );
}
