//! Config files: LMCache's are read, and exported ones are LMCache's plus keys that it ignores.

use super::*;

fn written(folder: &Folder, text: &str) -> String {
    let path = folder.file("cfg.json");
    fs::write(&path, text).unwrap();
    path
}

/// The recorded command line with a real file in it.
fn with_file(case: &Value, folder: &Folder) -> Vec<String> {
    let path = written(folder, &case["file"].to_string());
    let replaced = |word: &str| match word {
        "cfg.json" => path.clone(),
        "o.json" => folder.file("o.json"),
        other => other.to_string(),
    };
    words(&case["args"]).into_iter().map(replaced).collect()
}

fn typed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Every value that LMCache resolves for the workload is resolved here too, except for intended differences.
fn check(case: &Value, theirs: &Value, config: &EngineConfig) {
    let name = case["case"].as_str().unwrap();
    let same = |key: &str, ours: Value| assert_eq!(ours, theirs[key], "{name}: {key}");
    same("engine_url", config.engine_url.as_str().into());
    same("workload", config.workload.name().text().into());
    same("kv_cache_volume", config.kv_cache_volume_gb.into());
    same("ignore_eos", config.ignore_eos.into());
    same("no_warmup", (!config.warmup).into());
    let keys: &[&str] = match config.workload.name().text() {
        "long-doc-qa" => &[
            "ldqa_query_per_document",
            "ldqa_shuffle_policy",
            "ldqa_num_inflight_requests",
            "ldqa_max_output_length",
            "ldqa_document_length",
        ],
        "multi-round-chat" => &[
            "mrc_shared_prompt_length",
            "mrc_qps",
            "mrc_duration",
            "mrc_output_length",
        ],
        other => panic!("{name}: {other}"),
    };
    let resolved = EngineArgs {
        workload_values: config.workload.values.clone(),
        ..EngineArgs::default()
    };
    for key in keys {
        same(key, resolved.value(key).expect("a value for each flag"));
    }
}

#[test]
fn config_files_of_the_reference_are_read_as_it_reads_them() {
    let models = server("200 OK", r#"{"data":[{"id":"mock"}]}"#);
    let mut compared = 0;
    for case in recorded("config-files.json")["load"].as_array().unwrap() {
        let folder = Folder::new();
        let mut line = with_file(case, &folder);
        let name = case["case"].as_str().unwrap();
        let theirs = &case["resolved"];
        match name {
            // Silently localhost in the reference, errors here.
            "no_engine_url_anywhere" => {
                let refused = refusal(&typed(&line));
                assert!(
                    refused.contains("missing --engine-url;") && refused.contains("leave --config out"),
                    "{refused}"
                );
                continue;
            }
            "no_tokens_per_gb_falls_back_to_local_server" => {
                assert!(refusal(&typed(&line)).contains("missing --tokens-per-gb-kvcache or --lmcache-url"));
                continue;
            }
            "lmcache_url_from_cli" => {
                line.extend(["--model".into(), "m".into()]);
                assert!(refusal(&typed(&line)).contains("http://s:9/status"));
                continue;
            }
            "unknown_keys_and_wrong_types_pass_through" => {
                assert!(refusal(&typed(&line)).contains("ldqa_query_per_document: invalid int value: '2.5'"));
                continue;
            }
            // The reference runs the benchmark.
            "export_flag_is_dropped" => {
                assert_eq!(resolved(&typed(&line), "").0.unwrap(), Outcome::Exported);
                continue;
            }
            // The reference takes the file's values although they were typed.
            "cli_equal_to_default_is_ignored" => {
                let (config, _) = config_of(resolved(&typed(&line), "").0);
                assert_eq!(config.kv_cache_volume_gb, 100.0);
                assert_eq!(config.workload.values.int("ldqa-document-length").unwrap(), 10000);
                continue;
            }
            "defaults_filled" => {
                line.extend(["--engine-url".into(), format!("http://127.0.0.1:{models}")]);
                let (config, _) = config_of(resolved(&typed(&line), "").0);
                assert_eq!(config.model, "mock");
                let mut theirs = theirs.clone();
                theirs["engine_url"] = Value::from(config.engine_url.as_str());
                check(case, &theirs, &config);
            }
            _ => check(case, theirs, &config_of(resolved(&typed(&line), "").0).0),
        }
        compared += 1;
    }
    assert_eq!(compared, 7);
}

#[test]
fn a_files_seed_and_output_settings_count_and_the_command_line_wins() {
    let folder = Folder::new();
    let text = r#"{"engine_url":"http://e:1","model":"m","workload":"random-prefill","tokens_per_gb_kvcache":10,
                   "seed":7,"output_dir":"x","no_csv":true,"json":true,"quiet":true,"no_warmup":true}"#;
    let path = written(&folder, text);
    let (config, _) = config_of(resolved(&["--config", &path], "").0);
    assert_eq!(
        (config.seed.to_string(), config.output.csv, config.output.json_summary),
        ("7".into(), false, true)
    );
    assert_eq!(
        (config.output.folder, config.output.shared.quiet, config.warmup),
        ("x".into(), true, false)
    );
    let (config, _) = config_of(resolved(&["--config", &path, "--seed", "42"], "").0);
    assert_eq!(config.seed.to_string(), "42");
}

/// The reference cannot run these with a config file at all.
#[test]
fn every_workload_can_be_run_from_its_exported_file() {
    for name in [
        "long-doc-qa",
        "multi-round-chat",
        "long-doc-permutator",
        "prefix-suffix-tuner",
        "random-prefill",
    ] {
        let folder = Folder::new();
        let path = folder.file("o.json");
        let line = [
            "--engine-url",
            "http://e:1",
            "--model",
            "m\u{f6}del",
            "--workload",
            name,
            "--tokens-per-gb-kvcache",
            "100",
            "--seed",
            "123456789012345678901234567890",
            "--tokenizer",
            "t.json",
            "--stall-timeout-s",
            "2.5",
        ];
        let direct = config_of(resolved(&line, "").0).0;
        let (outcome, printed) = resolved(&[&line[..], &["--export-config", &path]].concat(), "");
        assert_eq!(outcome.unwrap(), Outcome::Exported);
        assert!(
            printed.starts_with(&format!("Configuration exported to {path}\n")),
            "{printed}"
        );
        let again = config_of(resolved(&["--engine-url", "http://e:1", "--config", &path], "").0).0;
        assert_eq!(again, direct);
    }
}

#[test]
fn exports_are_the_references_files() {
    let mut exported = 0;
    for case in recorded("config-files.json")["export"].as_array().unwrap() {
        exported += 1;
        let folder = Folder::new();
        let path = folder.file("o.json");
        let line: Vec<&str> = words(&case["args"])
            .into_iter()
            .map(|word| if word == "o.json" { path.as_str() } else { word })
            .collect();
        let (outcome, printed) = resolved(&line, "");
        assert_eq!(outcome.unwrap(), Outcome::Exported, "{line:?}");
        let ours = fs::read_to_string(&path).unwrap();
        // Ours adds the seed, which the reference ignores; the rest is the same to the byte.
        let without = ours.replace(",\n  \"seed\": 9\n}", "\n}");
        assert_ne!(ours, without);
        assert_eq!(without, case["file"].as_str().unwrap());
        let theirs = case["stdout"]
            .as_str()
            .unwrap()
            .replace("lmcache bench engine", "lmcache-bench engine");
        assert_eq!(printed, theirs.replace("o.json", &path));
        assert!(!ours.contains("sk-secret") && !ours.contains("http://e:1"), "{ours}");
    }
    assert_eq!(exported, 6);
}

#[test]
fn exports_have_no_output_settings() {
    let folder = Folder::new();
    let (path, other) = (folder.file("o.json"), folder.file("other"));
    let base = [
        "--engine-url",
        "http://e:1",
        "--model",
        "m",
        "--tokens-per-gb-kvcache",
        "10",
    ];
    let base = [&base[..], &["--workload", "random-prefill", "--export-config", &path]].concat();
    assert_eq!(resolved(&base, "").0.unwrap(), Outcome::Exported);
    let plain = fs::read_to_string(&path).unwrap();
    let save = format!("json={other}");
    let outputs = [
        "--save",
        &save,
        "--output",
        &other,
        "--requests-jsonl",
        &other,
        "--format",
        "json",
    ];
    assert_eq!(
        resolved(&[&base[..], &outputs].concat(), "").0.unwrap(),
        Outcome::Exported
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), plain);
}

/// Variables of the chat template and the results file are not exported, as in LMCache; a file may give them all the same.
#[test]
fn settings_without_a_question_are_read_from_files_too() {
    let folder = Folder::new();
    let path = written(
        &folder,
        r#"{"workload": "rag-qa-quality", "tokens_per_gb_kvcache": 1, "model": "m", "rag_dataset": "d.jsonl",
            "rag_template_kwargs": ["a=1", "b=x"], "rag_output": "r.json"}"#,
    );
    let line = ["--engine-url", "http://e:1", "--config", &path];
    let config = config_of(resolved(&line, "").0).0;
    assert_eq!(config.workload.values.texts("rag-template-kwargs"), ["a=1", "b=x"]);
    assert_eq!(config.workload.values.text("rag-output").unwrap(), "r.json");
    let (config, notes) = config_of(resolved(&[&line[..], &["--workload", "random-prefill"]].concat(), "").0);
    assert_eq!((config.workload.name().text(), notes.len()), ("random-prefill", 0));
    let typed = [
        "--engine-url",
        "http://e:1",
        "--workload",
        "random-prefill",
        "--model",
        "m",
    ];
    let more = ["--tokens-per-gb-kvcache", "1", "--rag-template-kwargs", "no pair"];
    let (_, notes) = config_of(resolved(&[&typed[..], &more].concat(), "").0);
    assert_eq!(
        notes,
        ["--rag-template-kwargs has no effect with the workload random-prefill"]
    );
    assert!(
        refusal(&[
            "--engine-url",
            "http://e:1",
            "--config",
            &written(&folder, r#"{"workload": "rag-qa-quality", "tokens_per_gb_kvcache": 1}"#)
        ])
        .contains("missing --rag-dataset")
    );
}

#[test]
fn invalid_files_are_refused_with_their_name() {
    let folder = Folder::new();
    for (text, expected) in [
        ("", "is not JSON"),
        ("[1]", "holds no JSON object"),
        ("{\"workload\": \"long-doc-qa\",}", "is not JSON"),
    ] {
        let path = written(&folder, text);
        let refused = refusal(&["--config", &path]);
        assert!(
            refused.contains(&format!("--config {path}: it {expected}")),
            "{refused}"
        );
    }
    let absent = folder.file("absent.json");
    assert!(refusal(&["--config", &absent]).contains("could not open it"));
    let nowhere = folder.file("no/such/o.json");
    let line = [
        "--engine-url",
        "u",
        "--model",
        "m",
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
    ];
    let refused = refusal(&[&line[..], &["--export-config", &nowhere]].concat());
    assert!(
        refused.contains(&format!("could not write the config file {nowhere}")),
        "{refused}"
    );
}

/// Editors on Windows write it.
#[test]
fn a_byte_order_mark_is_skipped() {
    let folder = Folder::new();
    let text = r#"{"engine_url":"u","model":"m","workload":"random-prefill","tokens_per_gb_kvcache":10}"#;
    let path = written(&folder, &format!("\u{feff}{text}"));
    assert_eq!(config_of(resolved(&["--config", &path], "").0).0.model, "m");
    let wide: Vec<u8> = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(&path, wide).unwrap();
    assert!(refusal(&["--config", &path]).ends_with("it is UTF-16; save it as UTF-8"));
    // No value may silently become another.
    written(&folder, &text.replace("10", "NaN"));
    assert!(refusal(&["--config", &path]).contains("it is not JSON"));
}

#[test]
fn paths_that_no_shell_has_expanded_are_noted() {
    let line = [
        "--engine-url",
        "u",
        "--model",
        "m",
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
        "--output-dir=~/results",
        "--requests-jsonl=file:///tmp/r.jsonl",
    ];
    let (_, notes) = config_of(resolved(&line, "").0);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("--output-dir ~/results is taken as it stands: "));
    assert!(notes[0].ends_with("write $HOME/results"));
    assert!(notes[1].ends_with("write /tmp/r.jsonl"), "{notes:?}");
    // Without files in the folder it does not matter.
    let (_, notes) = config_of(resolved(&[&line[..9], &["--no-csv"]].concat(), "").0);
    assert!(notes.is_empty(), "{notes:?}");
    let refused = refusal(&["--config=~/no-such-folder/c.json"]);
    assert!(refused.ends_with("write $HOME/no-such-folder/c.json"), "{refused}");
    let refused = refusal(&[&line[..8], &["--export-config", "file:///tmp/c.json"]].concat());
    assert!(refused.ends_with("write /tmp/c.json"), "{refused}");
}

#[test]
fn missing_settings_are_listed() {
    assert!(refusal(&["--no-interactive"]).contains(
        "missing --engine-url, --workload, --tokens-per-gb-kvcache or --lmcache-url; give it, or leave --no-interactive out"
    ));
}

#[test]
fn flags_of_other_workloads_are_noted_to_have_no_effect() {
    let line = [
        "--engine-url",
        "u",
        "--model",
        "m",
        "--workload",
        "random-prefill",
        "--tokens-per-gb-kvcache",
        "1",
    ];
    let (_, notes) = config_of(
        resolved(
            &[&line[..], &["--mrc-qps", "3", "--ldp-num-contexts", "2"]].concat(),
            "",
        )
        .0,
    );
    assert_eq!(
        notes,
        ["--ldp-num-contexts, --mrc-qps has no effect with the workload random-prefill"]
    );
    assert!(Path::new(&golden("config-files.json")).exists() && EngineArgs::default().config.is_none());
}

/// Python reads every float to the nearest; a reader that is one bit off would not write the same file again.
#[test]
fn floats_of_seventeen_digits_round_trip() {
    for number in 1..2000 {
        let exact = f64::from(number).sqrt() / 1e3;
        let parsed: serde_json::Value = serde_json::from_str(&exact.to_string()).unwrap();
        assert_eq!(parsed.as_f64().unwrap().to_bits(), exact.to_bits(), "{exact}");
    }
}
