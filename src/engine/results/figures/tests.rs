//! Reports, CSV files and summaries of the reference are reproduced from its results.

use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::engine::report::sections::{self, Facts};
use crate::engine::results::delivered::Delivered;
use crate::engine::results::detail::Detail;
use crate::engine::run::evidence::StatedError;
use crate::report::Renderer;
use crate::report::json::ReferenceJson;
use crate::report::terminal::Terminal;

const VECTORS: &str = include_str!("../../../../tests/golden/engine/report-vectors.json");

/// The rows of the reference's CSV file.
fn rows(csv: &str) -> Vec<Row> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.splitn(11, ',').collect();
        let number = |at: usize| fields[at].parse::<f64>().unwrap();
        Row {
            request_id: fields[0].to_owned(),
            successful: fields[1] == "True",
            ttft: number(2),
            request_latency: number(3),
            num_input_tokens: fields[4].parse().unwrap(),
            num_output_tokens: fields[5].parse().unwrap(),
            decode_speed: number(6),
            submit_time: number(7),
            first_token_time: number(8),
            finish_time: number(9),
            error: fields[10].trim_matches('"').replace("\"\"", "\""),
        }
    };
    csv.trim_end().split("\r\n").skip(1).map(line).collect()
}

/// One number in the reference's summary, parsed from its text.
fn number_in(summary: &str, key: &str) -> f64 {
    let (_, rest) = summary.split_once(&format!("\"{key}\": ")).unwrap();
    rest.split([',', '\n']).next().unwrap().parse().unwrap()
}

fn summary_config(case: &Value) -> SummaryConfig {
    let wanted: Value = serde_json::from_str(case["summary_json"].as_str().unwrap()).unwrap();
    let config = &wanted["config"];
    let text = |key: &str| config[key].as_str().unwrap().to_owned();
    let flag = |key: &str| config[key].as_bool().unwrap();
    SummaryConfig {
        engine_url: text("engine_url"),
        model: text("model"),
        workload: text("workload"),
        kv_cache_volume_gb: config["kv_cache_volume_gb"].as_f64().unwrap(),
        tokens_per_gb_kvcache: config["tokens_per_gb_kvcache"].as_i64().unwrap(),
        seed: BigInt::parse(&config["seed"].to_string()).unwrap(),
        output_dir: text("output_dir"),
        export_csv: flag("export_csv"),
        export_json: flag("export_json"),
        quiet: flag("quiet"),
        ignore_eos: flag("ignore_eos"),
        warmup: config["warmup_policy"] == "run",
    }
}

/// The lines before the first section that the reference does not have.
fn reference_part(text: &str, first_of_ours: &str) -> String {
    let lines = text.lines().take_while(|line| !line.contains(first_of_ours));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_references_reports_are_reproduced_byte_for_byte() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let rows = rows(case["csv"].as_str().unwrap());
        let summary = case["summary_json"].as_str().unwrap();
        // The elapsed time as the reference computed it, which differs from the case's number in the last digits.
        let figures = Figures::of(&rows, number_in(summary, "elapsed_time"));
        assert_eq!(rows_csv(&rows), case["csv"].as_str().unwrap(), "{name}");
        assert_eq!(
            summary_json(&summary_config(case), &figures),
            case["summary_json"].as_str().unwrap(),
            "{name}"
        );
        let config = |key: &str| case["config"][key].as_str().unwrap();
        let facts = Facts {
            engine_url: config("engine_url"),
            model: config("model"),
            workload: config("workload"),
            figures: &figures,
            delivered: &Delivered::default(),
            judged: None,
            detail: &Detail::default(),
            client_error: &StatedError::default(),
            prompt_sources: None,
            ledger: Vec::new(),
            of_workload: None,
            warnings: &[],
            interrupted: None,
        };
        let result = sections::result(&facts, Instant::now());
        let rendered = |renderer: &dyn Renderer| String::from_utf8(renderer.render(&result)).unwrap();
        // A workload's own section stands where ours begin.
        let has_extra = !case["extra_sections"].as_array().unwrap().is_empty();
        let last = "=".repeat(56);
        let end_of_theirs = if has_extra { "- Answer Quality -" } else { &last };
        let theirs = reference_part(case["terminal"].as_str().unwrap(), end_of_theirs);
        assert_eq!(
            reference_part(&rendered(&Terminal), "- Latencies (ms) -"),
            theirs,
            "{name}"
        );
        let ours: Value = serde_json::from_str(&rendered(&ReferenceJson)).unwrap();
        let theirs: Value = serde_json::from_str(case["json"].as_str().unwrap()).unwrap();
        for section in ["config", "results", "ttft", "decode"] {
            let (ours, theirs) = (&ours["metrics"][section], &theirs["metrics"][section]);
            assert_eq!(ours.to_string(), theirs.to_string(), "{name}: {section}");
        }
    }
}
