//! Settings about the form of requests: endpoint and extra fields.

use super::*;
use crate::engine::args::Endpoint;

const LINE: [&str; 8] = [
    "--engine-url",
    "u",
    "--model",
    "m",
    "--workload",
    "random-prefill",
    "--tokens-per-gb-kvcache",
    "10",
];

#[test]
fn they_are_exported_and_read_again_with_every_byte() {
    let folder = Folder::new();
    let path = folder.file("out.json");
    let extra = r#"{"top_p": 1e0, "big": 123456789012345678901234567890}"#;
    let more = [
        "--endpoint",
        "completions",
        "--extra-body",
        extra,
        "--export-config",
        &path,
    ];
    let (outcome, _) = resolved(&[&LINE[..], &more].concat(), "");
    assert_eq!(outcome.unwrap(), Outcome::Exported);
    let (config, notes) = config_of(resolved(&["--config", &path, "--engine-url", "u"], "").0);
    assert_eq!(notes, [""; 0]);
    assert_eq!(
        (config.endpoint, config.extra_body.as_deref()),
        (Endpoint::Completions, Some(extra))
    );
    // What is the default is left out, so that LMCache's files and ours stay the same.
    resolved(&[&LINE[..], &["--export-config", &path]].concat(), "")
        .0
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("endpoint") && !text.contains("extra_body"), "{text}");
}

#[test]
fn a_file_may_hold_the_extra_fields_as_an_object() {
    let folder = Folder::new();
    let path = folder.file("in.json");
    for (value, taken) in [
        (r#"{"top_p": 0.5, "stop": ["a"]}"#, Ok(r#"{"top_p":0.5,"stop":["a"]}"#)),
        (
            r#"{"model": "x"}"#,
            Err("extra_body: the key model cannot be given here"),
        ),
        ("[1]", Err("extra_body: [1] is neither a number nor a text")),
    ] {
        let text =
            format!(r#"{{"workload":"random-prefill","model":"m","tokens_per_gb_kvcache":1,"extra_body":{value}}}"#);
        fs::write(&path, text).unwrap();
        let line = ["--config", &path, "--engine-url", "u"];
        match taken {
            Ok(extra) => assert_eq!(config_of(resolved(&line, "").0).0.extra_body.as_deref(), Some(extra)),
            Err(why) => assert!(refusal(&line).contains(why), "{}", refusal(&line)),
        }
    }
}

#[test]
fn a_workload_of_chats_refuses_the_other_endpoint() {
    for workload in crate::engine::workload::WORKLOADS {
        let refused = workload.check_endpoint(Endpoint::Completions);
        assert_eq!(refused.is_err(), workload.chat_only, "{}", workload.name);
        assert!(workload.check_endpoint(Endpoint::Chat).is_ok());
        if let Err(error) = refused {
            let start = format!("--endpoint completions does not go with the workload {}", workload.name);
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }
}
