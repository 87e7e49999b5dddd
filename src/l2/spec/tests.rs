//! Whole specs through `parse_specs`: LMCache's messages word for word, and what is warned about.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::l2::adapters::fs::config::{FsConfig, Names, Temporary};
use crate::l2::adapters::mock::MockConfig;
use crate::l2::adapters::registry::AdapterConfig;
use crate::result::warning::Warning as _;

fn parse_all(specs: &[&str]) -> Result<ParsedSpecs, String> {
    let specs: Vec<String> = specs.iter().map(|spec| (*spec).to_owned()).collect();
    parse_specs(&specs).map_err(|error| {
        assert!(matches!(error, Error::Usage(_)));
        error.to_string()
    })
}

pub fn message(spec: &str) -> String {
    let text = parse_all(&[spec]).unwrap_err();
    text.strip_prefix("Error parsing L2 adapter config: ")
        .unwrap()
        .to_owned()
}

pub fn parse_one(spec: &str) -> ParsedSpecs {
    parse_all(&[spec]).unwrap()
}

/// What a valid spec means, and its warnings.
pub fn config<C: AdapterConfig + Clone>(spec: &str) -> (C, Vec<Warning>) {
    let parsed = parse_one(spec);
    let config = parsed.first.kind.get::<C>().expect("a config of this type");
    (config.clone(), parsed.warnings)
}

/// The message about one more field of a spec that is right without it.
pub fn message_about(start: &str, field: &str) -> String {
    let text = message(&format!("{{{start}, {field}}}"));
    text.split_once("'): ").unwrap().1.to_owned()
}

const FS: &str = r#""type": "fs", "base_path": "/x""#;
const MOCK: &str = r#""type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 2"#;

#[test]
fn no_spec_is_its_own_message() {
    assert_eq!(
        parse_all(&[]).unwrap_err(),
        "Error: No L2 adapter configuration provided.\n\
         Use --l2-adapter JSON or set L2_ADAPTER_JSON environment variable."
    );
}

#[test]
fn messages_before_the_type_is_known() {
    let cases = [
        (
            "x",
            "Invalid JSON for --l2-adapter #1: Expecting value: line 1 column 1 (char 0)",
        ),
        ("[]", "--l2-adapter #1: expected a JSON object, got list"),
        ("1.5", "--l2-adapter #1: expected a JSON object, got float"),
        ("{}", "--l2-adapter #1: missing 'type' field"),
        (r#"{"type": null}"#, "--l2-adapter #1: missing 'type' field"),
        (
            r#"{"type": "nope"}"#,
            "--l2-adapter #1: unknown adapter type 'nope'. Known: aerospike, bigtable, dax, fault_inject, fs, \
             fs_native, hf3fs, hfbucket, mock, mooncake_store, native_plugin, nixl_native, nixl_store, \
             nixl_store_dynamic, p2p, plugin, raw_block, resp, s3, sagemaker-hyperpod, valkey",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(message(spec), expected, "{spec}");
    }
    assert!(message(r#"{"type": 5}"#).starts_with("--l2-adapter #1: unknown adapter type 5. Known: "));
    let quoted = message(r#"{"type": "a'b"}"#);
    assert!(quoted.starts_with(r#"--l2-adapter #1: unknown adapter type "a'b". Known: "#));
}

#[test]
fn what_only_python_reads_is_refused_with_advice() {
    for number in ["NaN", "1e999", r#""\ud800""#] {
        let text = message(&format!(r#"{{"type": "mock", "max_size_gb": {number}}}"#));
        assert!(
            text.starts_with("Invalid JSON for --l2-adapter #1: ") && text.contains("; replace NaN"),
            "{text}"
        );
    }
}

#[test]
fn too_long_and_too_deep_are_refused() {
    let text = message(&format!("{{{FS}}}{}", " ".repeat(1 << 20)));
    assert!(text.contains("at most 1.0 MiB"), "{text}");
    let nested = |levels: usize| format!(r#"{{{FS}, "x": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(parse_all(&[&nested(NESTING_MAX - 1)]).is_ok());
    assert!(message(&nested(NESTING_MAX)).contains("nests deeper than 127 levels"));
    let brackets = "[".repeat(200);
    assert!(parse_all(&[&format!(r#"{{{FS}, "x": "\"{brackets}"}}"#)]).is_ok());
}

#[test]
fn the_whole_line_names_the_spec_and_its_type() {
    let good = format!("{{{FS}}}");
    let bad = format!(r#"{{{FS}, "use_odirect": 1}}"#);
    assert_eq!(
        parse_all(&[&bad]).unwrap_err(),
        "Error parsing L2 adapter config: --l2-adapter #1 ('fs'): use_odirect must be a boolean"
    );
    assert!(parse_all(&[&good, &bad]).unwrap_err().contains("#2 ('fs'): "));
}

#[test]
fn no_message_steers_the_terminal() {
    let text = message("{\"type\": \"bigtable\", \"bigtable_table_name\": \"\x7ft\"}");
    assert!(text.ends_with("table= t"), "{text:?}");
}

#[test]
fn fs_fields_are_checked() {
    for bad in ["1", "null", "\"\""] {
        let text = message(&format!(r#"{{"type": "fs", "base_path": {bad}}}"#));
        assert_eq!(text, "--l2-adapter #1 ('fs'): base_path must be a non-empty string");
    }
    assert_eq!(
        message_about(FS, r#""relative_tmp_dir": 1"#),
        "relative_tmp_dir must be a string"
    );
    for bad in ["0", "-1", "8192.0", "false", "\"8\""] {
        let text = message_about(FS, &format!(r#""read_ahead_size": {bad}"#));
        assert_eq!(text, "read_ahead_size must be a positive integer", "{bad}");
    }
    assert_eq!(
        message_about(FS, r#""use_odirect": null"#),
        "use_odirect must be a boolean"
    );

    let full = format!(r#"{{{FS}, "relative_tmp_dir": "t", "read_ahead_size": true, "use_odirect": true}}"#);
    let parsed = parse_all(&[&full]).unwrap();
    let expected = FsConfig {
        class_name: "FSL2Adapter",
        base_path: PathBuf::from("/x"),
        names: Names::Data,
        temporary: Temporary::Inside("t".to_owned()),
        read_ahead_size: Some(1),
        use_odirect: true,
        threads: None,
        capacity_bytes: None,
    };
    assert_eq!(parsed.first.kind.get::<FsConfig>(), Some(&expected));
    assert_eq!(
        (parsed.first.type_name, parsed.first.raw.as_str()),
        ("fs", full.as_str())
    );
    assert_eq!(parsed.warnings, []);
}

#[test]
fn mock_fields_are_checked() {
    for bad in ["0", "-1", "\"1\"", "false", "null"] {
        let text = message(&format!(
            r#"{{"type": "mock", "max_size_gb": {bad}, "mock_bandwidth_gb": 1}}"#
        ));
        assert_eq!(
            text, "--l2-adapter #1 ('mock'): max_size_gb must be a positive number",
            "{bad}"
        );
        let text = message(&format!(
            r#"{{"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": {bad}}}"#
        ));
        assert_eq!(
            text, "--l2-adapter #1 ('mock'): mock_bandwidth_gb must be a positive number",
            "{bad}"
        );
    }
    for field in ["store_latency_us", "lookup_latency_us", "load_latency_us"] {
        let text = message_about(MOCK, &format!(r#""{field}": -1"#));
        assert_eq!(text, format!("{field} must be a non-negative number"));
    }
    let spec = r#"{"type": "mock", "max_size_gb": 0.5, "mock_bandwidth_gb": true, "store_latency_us": 100,
                   "lookup_latency_us": 0, "load_latency_us": 1.5}"#;
    let expected = MockConfig {
        capacity_bytes: 512 << 20,
        bandwidth_bytes_per_s: Some(1 << 30),
        store_latency: Duration::from_micros(100),
        lookup_latency: Duration::ZERO,
        load_latency: Duration::from_nanos(1500),
    };
    assert_eq!(config::<MockConfig>(spec), (expected, vec![]));

    let null_device = r#"{"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": "inf"}"#;
    assert_eq!(config::<MockConfig>(null_device).0.bandwidth_bytes_per_s, None);
}

#[test]
fn common_fields_are_checked() {
    let policy = "eviction.eviction_policy must be 'LRU', 'ARC', 'IsolatedLRU', or 'noop', got ";
    let cases = [
        (
            r#""affinity_tag": " ""#,
            "affinity_tag must be a non-empty string".to_owned(),
        ),
        (
            r#""affinity_tag": 3"#,
            "affinity_tag must be a non-empty string".to_owned(),
        ),
        (r#""eviction": {"eviction_policy": "FIFO"}"#, format!("{policy}'FIFO'")),
        (r#""eviction": {}"#, format!("{policy}None")),
        (r#""eviction": []"#, "'eviction' must be a dict, got list".to_owned()),
        (
            r#""eviction": {"eviction_policy": "LRU", "eviction_ratio": "much"}"#,
            "eviction.eviction_ratio must be a number".to_owned(),
        ),
        (r#""serde": 3"#, "'serde' must be a dict, got int".to_owned()),
        (r#""serde": {}"#, "'serde' dict must include a 'type' field".to_owned()),
    ];
    for (field, expected) in cases {
        assert_eq!(message_about(FS, field), expected);
    }
}

#[test]
fn the_first_message_is_the_one_lmcache_comes_to_first() {
    let text = message(r#"{"type": "fs", "serde": 1, "eviction": {}, "use_odirect": 1, "affinity_tag": ""}"#);
    assert!(text.ends_with("affinity_tag must be a non-empty string"), "{text}");
    let text = message(r#"{"type": "fs", "serde": 1, "eviction": {}, "use_odirect": 1}"#);
    assert!(text.ends_with("base_path must be a non-empty string"), "{text}");
    let text = message_about(FS, r#""serde": 1, "eviction": {}"#);
    assert!(text.starts_with("eviction."), "{text}");
}

#[test]
fn types_this_program_cannot_run_get_the_common_checks() {
    let spec = r#"{"type": "aerospike", "hosts": "h:1", "eviction": {"eviction_policy": "ARC"}}"#;
    let parsed = parse_all(&[spec]).unwrap();
    assert!(!parsed.first.kind.is_native());
    let codes: Vec<_> = parsed.warnings.iter().map(Warning::code).collect();
    assert_eq!(codes, ["field-without-effect"]);
}

#[test]
fn what_has_no_effect_is_warned_about() {
    let first = format!(
        r#"{{{FS}, "use_odirct": true, "colour": 1, "shared": false, "persist_enabled": true, "affinity_tag": "a",
            "serde": {{"type": "fp8"}}, "eviction": {{"eviction_policy": "LRU", "trigger_watermark": "0.9"}}}}"#
    );
    let parsed = parse_all(&[&first, &format!(r#"{{{MOCK}, "typo": 1}}"#)]).unwrap();
    let unknown = |field: &str, nearest: Option<&str>| {
        Warning::Spec(SpecWarning::UnknownField {
            field: field.to_owned(),
            nearest: nearest.map(str::to_owned),
        })
    };
    let expected = [
        Warning::Spec(SpecWarning::OnlyFirstAdapter { given: 2 }),
        unknown("use_odirct", Some("use_odirect")),
        unknown("colour", None),
    ];
    assert_eq!(parsed.warnings[..3], expected);
    let without_effect = |warning: &Warning| match warning {
        Warning::Spec(SpecWarning::FieldWithoutEffect { field, .. }) => field.clone(),
        other => panic!("{other:?}"),
    };
    let fields: Vec<_> = parsed.warnings[3..].iter().map(without_effect).collect();
    assert_eq!(
        fields,
        ["affinity_tag", "shared", "persist_enabled", "eviction", "serde"]
    );
}

#[test]
fn a_spec_of_very_many_values_is_refused() {
    let raw = format!(r#"{{"type": "mock", "x": [{}0]}}"#, "0,".repeat(100_000));
    let error = parse_specs(&[raw]).expect_err("a list").to_string();
    assert!(
        error.contains("--l2-adapter #1: it has too many parts") && error.ends_with("; shorten it"),
        "{error}"
    );
}
