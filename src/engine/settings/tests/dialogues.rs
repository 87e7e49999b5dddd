//! Recorded LMCache dialogues, replayed through a pipe.

use super::menu::with_todays_menu;
use super::*;

/// A dialogue without the sentences about settings and choices, and without the text of system errors.
fn skeleton(dialogue: &str) -> Vec<String> {
    let is_choice = |line: &str| {
        let rest = line.trim_start_matches([' ', '*']);
        rest.split_once(") ")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let mut lines = Vec::new();
    for line in dialogue.lines() {
        if is_choice(line) {
            lines.push(line.split("  — ").next().unwrap_or_default().to_string());
        } else if !line.starts_with("  ") || line.contains('\x1b') {
            let cut = ["/v1/models: ", "/status: "]
                .iter()
                .find_map(|mark| line.split_once(mark));
            lines.push(cut.map_or(line, |(before, _)| before).to_string());
        }
    }
    lines
}

struct Played {
    outcome: Result<Outcome, Error>,
    exported: Option<String>,
}

/// Plays a recorded dialogue and compares what is printed.
fn play(case: &Value, port: u16) -> Played {
    let folder = Folder::new();
    let name = case["case"].as_str().unwrap();
    let (closed_a, closed_b) = (closed_port().to_string(), closed_port().to_string());
    let ports = |text: &str| {
        let text = text.replace("PORT_A", &closed_a).replace("PORT_B", &closed_b);
        text.replace("PORT", &port.to_string())
    };
    let file = case["exported"]["file"].as_str();
    let path = folder.file(file.unwrap_or("none.json"));
    let expected = case["stdout"].as_str().unwrap();
    // A sentence about a setting that is not set in like the others.
    let expected = expected.replace("Named datasets download from the HuggingFace Hub on first use.\n", "");
    let (answers, expected) = with_todays_menu(case["stdin"].as_str().unwrap(), &expected);
    let mut answers = ports(&answers);
    let mut expected = ports(&expected).replace("lmcache bench engine", "lmcache-bench engine");
    if let Some(file) = file {
        // The file goes into a folder of its own, also where the default name was taken.
        let last = if answers.ends_with("\n\n") {
            "\n"
        } else {
            &format!("{file}\n")
        };
        answers = format!(
            "{}{path}\n",
            answers.strip_suffix(last).expect("a file name at the end")
        );
        expected = expected
            .replace(&format!("Saved to {file}"), &format!("Saved to {path}"))
            .replace(&format!("--config {file}"), &format!("--config {path}"));
    }
    let (outcome, printed) = resolved(&words(&case["args"]), &answers);
    let (ours, theirs) = (skeleton(&printed), skeleton(&expected));
    // After the start of the run LMCache prints further lines.
    let compared = if matches!(outcome, Ok(Outcome::Run { .. })) {
        ours.len() - 1
    } else {
        theirs.len()
    };
    assert_eq!(ours[..compared.min(ours.len())], theirs[..compared], "{name}");
    Played {
        outcome,
        exported: fs::read_to_string(&path).ok(),
    }
}

#[test]
fn dialogues_equal_the_recorded_ones() {
    let port = server("200 OK", r#"{"object":"list","data":[{"id":"mock"}]}"#);
    let mut played = 0;
    for file in ["interactive-pipe-1.json", "interactive-pipe-2.json"] {
        for case in recorded(file)["cases"].as_array().unwrap() {
            let name = case["case"].as_str().unwrap();
            // A usage error before any question.
            if name == "partial_args" {
                continue;
            }
            played += 1;
            let Played { outcome, exported } = play(case, port);
            assert_eq!(exported.as_deref(), case["exported"]["content"].as_str(), "{name}");
            match (name, outcome) {
                ("eof_first", Err(Error::Settings(refused))) => {
                    assert!(
                        refused.contains("the input ended") && refused.contains("--engine-url, --workload"),
                        "{refused}"
                    );
                }
                ("lmcache_yes_export_fails_to_resolve", Err(Error::Environment(refused))) => {
                    assert!(
                        refused.contains("is incomplete: could not auto-detect model"),
                        "{refused}"
                    );
                }
                ("start_random_prefill_crashes" | "start_long_doc_qa", outcome) => {
                    assert_eq!(config_of(outcome).0.model, "mock");
                }
                (_, Ok(Outcome::Exported)) => assert!(exported.is_some(), "{name}"),
                (_, Ok(Outcome::Quit)) => assert_eq!(case["exit_code"], 0, "{name}"),
                (_, outcome) => panic!("{name}: {outcome:?}"),
            }
        }
    }
    assert_eq!(played, 13);
}

/// Both dialogues of LMCache 0.5.7 with its new workload: one in which all is asked for, and one that ends without a number of
/// documents.
#[test]
fn the_dialogues_of_kv_tier_pressure_equal_the_recorded_ones() {
    let mut case = recorded("interactive-pipe-ktp.json");
    let mut second = case["second"].take();
    case["case"] = "all asked for".into();
    second["case"] = "defaults".into();
    let port = closed_port();
    assert_eq!(play(&case, port).outcome.unwrap(), Outcome::Quit);
    let refused = play(&second, port).outcome.expect_err("no run").to_string();
    assert!(
        refused.starts_with("--ktp-pool-size is not given and cannot be derived: there is no --lmcache-url;"),
        "{refused}"
    );
}

/// The reference asks again.
#[test]
fn the_number_of_documents_may_be_left_to_the_server() {
    let status = server(
        "200 OK",
        r#"{"cache_context_meta":{"0":{"model_name":"m","kv_cache_layout":{"cache_size_per_token":67108864}}},
            "storage_manager":{"l1_manager":{"memory_total_bytes":3489660928}},"active_cb_lookups":0}"#,
    );
    let lmcache = format!("127.0.0.1:{status}");
    let line = [
        "--model",
        "m",
        "--workload",
        "kv-tier-pressure",
        "--lmcache-url",
        &lmcache,
    ];
    let (outcome, printed) = resolved(&line, "u\n\n2\n\n1.7\n4\n9\n\n\n\n\n\n1\n");
    let config = config_of(outcome).0;
    assert_eq!(config.workload.values.int("ktp-pool-size").unwrap(), 0, "{printed}");
    assert_eq!((config.cache.l1, config.cache.blends), (L1Memory::Gb(3.25), Some(true)));
    // Without a server it is asked for until there is a number.
    let line = [&line[..4], &["--tokens-per-gb-kvcache", "1"]].concat();
    let (outcome, printed) = resolved(&line, "u\n\n2\n\n-1\n4\n\n4\n9\n\n\n\n\n\n3\n");
    assert_eq!(outcome.unwrap(), Outcome::Quit, "{printed}");
    assert!(
        printed.contains("Please enter a valid integer.") && printed.contains("must be 0 or more, got -1."),
        "{printed}"
    );
}

#[test]
fn settings_that_were_typed_are_not_asked_for_even_if_they_are_defaults() {
    let line = [
        "--engine-url",
        "u",
        "--workload",
        "random-prefill",
        "--model",
        "",
        "--kv-cache-volume",
        "100",
        "--seed",
        "5",
    ];
    let more = [
        "--ignore-eos",
        "--no-warmup",
        "--rp-num-requests",
        "50",
        "--rp-request-length",
        "7",
    ];
    let (outcome, printed) = resolved(&[&line[..], &more].concat(), "n\n10\n3\n");
    assert_eq!(outcome.unwrap(), Outcome::Quit);
    assert!(
        !printed.contains("General settings") && !printed.contains("Workload settings"),
        "{printed}"
    );
}

#[test]
fn answers_out_of_range_are_refused_when_the_run_starts() {
    let (outcome, _) = resolved(&["--engine-url", "u", "--model", "m"], "7\nn\n-5\n1\n1\n1\n");
    let refused = outcome.expect_err("no run").to_string();
    assert!(
        refused.contains("tokens_per_gb_kvcache must be positive, got -5"),
        "{refused}"
    );
}
