//! The workload custom in config files and questions: it is not in the menu, needs a file, and no size of the KV cache.

use super::*;

const LINE: [&str; 6] = ["--engine-url", "u", "--model", "m", "--workload", "custom"];

#[test]
fn only_the_file_is_missing() {
    let refused = refusal(&[&LINE[..], &["--no-interactive"]].concat());
    assert!(refused.contains("missing --prompts;"), "{refused}");
    let (config, notes) = config_of(resolved(&[&LINE[..], &["--prompts", "p.jsonl"]].concat(), "").0);
    assert_eq!((config.tokens_per_gb_kvcache, notes.len()), (0, 0));
    assert_eq!(config.settings["prompts"], "p.jsonl");
    assert!(!config.settings.contains_key("tokens-per-gb-kvcache"));
    let negative = ["--prompts", "p", "--tokens-per-gb-kvcache", "-1"];
    let (outcome, _) = resolved(&[&LINE[..], &negative].concat(), "");
    assert!(outcome.unwrap_err().to_string().contains("must be positive, got -1"));
}

/// The second step would find a pipe empty. A device stands for one here.
#[test]
fn what_can_be_read_only_once_does_not_go_with_steps() {
    let refused = |more: &[&str]| {
        let line = [&LINE[..], &["--prompts", "/dev/null"], more].concat();
        resolved(&line, "").0.map(drop)
    };
    assert_eq!(
        refused(&["--request-rate", "1"]).map_err(|error| error.to_string()),
        Ok(())
    );
    let loads = [&["--sweep", "rate=1,2"][..], &["--find-max", "--slo", "ttft.p99=1s"]];
    for more in loads {
        let error = refused(more).unwrap_err();
        let expected = format!(
            "--prompts /dev/null is not a regular file, and {} reads it again for every step; write the prompts to a file and \
             give its name",
            more[0]
        );
        assert!(matches!(&error, Error::Usage(why) if *why == expected), "{error}");
        let line = [&LINE[..], &["--prompts", "/dev/null/x"], more].concat();
        assert!(resolved(&line, "").0.is_ok(), "told where it is read");
    }
}

#[test]
fn its_settings_are_exported_and_read_again() {
    let folder = Folder::new();
    let path = folder.file("out.json");
    let more = [
        "--prompts",
        "a/p.jsonl",
        "--custom-max-tokens",
        "9",
        "--export-config",
        &path,
    ];
    assert_eq!(resolved(&[&LINE[..], &more].concat(), "").0.unwrap(), Outcome::Exported);
    let fields: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&fields["prompts"], &fields["custom_max_tokens"]),
        (&"a/p.jsonl".into(), &9.into())
    );
    assert_eq!(fields["custom_num_inflight_requests"], 1);
    assert!(fields.get("tokens_per_gb_kvcache").is_none());
    let (config, notes) = config_of(resolved(&["--config", &path, "--engine-url", "u"], "").0);
    assert_eq!(
        (config.workload.values.text("prompts").unwrap(), notes.len()),
        ("a/p.jsonl", 0)
    );
    assert_eq!(config.workload.values.int("custom-max-tokens").unwrap(), 9);
}

#[test]
fn the_file_is_asked_for_and_the_menu_stays_the_references() {
    // The file, the defaults of both groups, and quit.
    let (outcome, printed) = resolved(&LINE, "my.jsonl\n1\n1\n3\n");
    assert_eq!(outcome.unwrap(), Outcome::Quit);
    assert!(
        printed.contains("Prompts file") && printed.contains("my.jsonl"),
        "{printed}"
    );
    assert!(
        !printed.contains("LMCache Server") && !printed.contains("Tokens of KV cache"),
        "{printed}"
    );
    let (_, printed) = resolved(&["--engine-url", "u"], "");
    assert!(
        printed.contains("7) random-prefill") && !printed.contains("custom"),
        "{printed}"
    );
    // Of the workload's own only the requests in flight are asked for: what has no default may be left out.
    let (outcome, printed) = resolved(&LINE, "my.jsonl\n1\n2\n4\n1\n");
    let (config, _) = config_of(outcome);
    assert_eq!(config.workload.values.int("custom-num-inflight-requests").unwrap(), 4);
    assert_eq!(config.workload.values.get("custom-max-tokens"), None, "{printed}");
}
