//! Specs of the types that only LMCache can run, against what LMCache 0.5.6 said to each (recorded; `scripts/interop/bridge.py`
//! compares many more with the real one).

use serde_json::Value;

use super::*;

/// LMCache opens these paths while it checks the fields; here that is left to it.
const OF_PATHS: &str = "Invalid path configuration";

fn recorded() -> Vec<(Value, Option<String>)> {
    let text = include_str!("../../../tests/golden/l2-bridged-specs.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let case = |case: &Value| (case["spec"].clone(), case["message"].as_str().map(str::to_owned));
    cases.iter().map(case).collect()
}

#[test]
fn messages_are_those_of_lmcache() {
    let cases = recorded();
    assert!(cases.len() > 100);
    for (spec, expected) in cases {
        let ours = parse_specs(&[spec.to_string()]);
        match expected.filter(|message| !message.contains(OF_PATHS)) {
            None => assert!(!ours.unwrap().first.kind.is_native(), "{spec}"),
            Some(message) => {
                let ours = ours.unwrap_err().to_string();
                assert_eq!(ours, format!("Error parsing L2 adapter config: {message}"), "{spec}");
            }
        }
    }
}

#[test]
fn misspelled_fields_are_warned_about() {
    let spec = r#"{"type": "plugin", "module_path": "m", "class_name": "C", "adapter_parms": {}}"#;
    let parsed = parse_specs(&[spec.to_owned()]).unwrap();
    let expected = Warning::Spec(SpecWarning::UnknownField {
        field: "adapter_parms".to_owned(),
        nearest: Some("adapter_params".to_owned()),
    });
    assert_eq!(parsed.warnings, [expected]);
    // Mooncake's own fields are not known here.
    let parsed = parse_specs(&[r#"{"type": "mooncake_store", "protocol": "tcp"}"#.to_owned()]).unwrap();
    assert_eq!(parsed.warnings, []);
}
