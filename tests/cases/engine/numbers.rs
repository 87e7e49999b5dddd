//! Impossible numbers, as described in public bug reports: what is excluded, and which warning reports it.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lmcache_bench::engine::report::warning;
use lmcache_bench::engine::results::detail::Detail;
use lmcache_bench::engine::results::figures::{Figures, Row};
use lmcache_bench::engine::samples::phase::PhaseSamples;
use lmcache_bench::engine::samples::record::Record;
use lmcache_bench::engine::timestamp::Clock;
use lmcache_bench::result::warning::Warning as _;
use serde_json::Value;

use super::runs::engine;
use super::streamed::{DONE, END, STOP, finish, sent, token, usage};
use super::{Listed, run};
use crate::support::mock::Mock;
use crate::support::script::{After, ScriptServer, begin_stream, chunk};
use crate::support::{Dir, stderr, stdout, warning_codes};

/// The warnings about these records.
fn warnings(records: Vec<Record>) -> Vec<(&'static str, String)> {
    let mut samples = PhaseSamples::default();
    records.iter().for_each(|record| samples.gaps.add(record));
    samples.records = records;
    let clock = Clock::start();
    let rows: Vec<Row> = samples.records.iter().map(|record| Row::of(record, &clock)).collect();
    let warnings = warning::warnings(&Detail::of(&samples, false), &Figures::of(&rows, 1.0));
    warnings
        .iter()
        .map(|warning| (warning.code(), warning.text()))
        .collect()
}

fn text_of(warnings: &[(&'static str, String)], code: &str) -> Option<String> {
    warnings
        .iter()
        .find(|warning| warning.0 == code)
        .map(|warning| warning.1.clone())
}

#[test]
fn buffered_answers_have_no_tpot_and_a_warning() {
    let events = (0..8).map(|_| token("a")).collect::<String>() + STOP + &usage("8") + DONE;
    let server = ScriptServer::start(move |_, stream| {
        begin_stream(stream);
        std::thread::park_timeout(Duration::from_millis(30));
        chunk(stream, events.as_bytes());
        let _ = stream.write_all(END);
        After::Keep
    });
    let samples = run(server.url(), &mut Listed::new(&["{}".to_owned(), "{}".to_owned()], 1));
    assert!(samples.records.iter().all(Record::succeeded));
    let detail = Detail::of(&samples, false);
    assert_eq!(
        (
            detail.buffered,
            detail.tpot_ms.count,
            detail.itl_ms.count,
            detail.decode_mean
        ),
        (2, 0, 0, None)
    );
    let text = text_of(&warnings(samples.records), "buffered-stream").expect("a warning");
    assert!(
        text.contains("2 of 2 answers") && text.contains("proxy_buffering off"),
        "{text}"
    );
}

#[test]
fn unknown_tokens_in_the_first_event_are_a_warning_that_names_the_flag() {
    let record = sent(
        &[
            token("word ").as_str(),
            token("word ").as_str(),
            STOP,
            usage("8").as_str(),
            DONE,
        ]
        .concat(),
    );
    let text = text_of(&warnings(vec![record]), "first-event-tokens").expect("a warning");
    assert!(text.contains("--usage-per-event"), "{text}");
    let plain = sent(
        &[
            token("a").as_str(),
            token("b").as_str(),
            STOP,
            usage("3").as_str(),
            DONE,
        ]
        .concat(),
    );
    assert_eq!(text_of(&warnings(vec![plain]), "first-event-tokens"), None);
}

#[test]
fn impossible_counts_are_in_no_sum() {
    for count in [
        "9223372036854775808",
        "-5",
        "1e300",
        "2.5",
        "18446744073709551615",
        "\"many\"",
    ] {
        let record = sent(
            &[
                token("a").as_str(),
                token("b").as_str(),
                STOP,
                usage(count).as_str(),
                DONE,
            ]
            .concat(),
        );
        assert_eq!(
            (record.succeeded(), record.output_tokens(), record.input_tokens()),
            (true, 2, 30)
        );
        let text = text_of(&warnings(vec![record]), "impossible-counts").expect("a warning");
        assert!(text.contains("1 answers counted"), "{text}");
    }
    for count in ["2.0", "\"2\"", "\"2.0\""] {
        let record = sent(&[token("ab").as_str(), STOP, usage(count).as_str(), DONE].concat());
        assert_eq!(record.output_tokens(), 2, "{count}");
        assert_eq!(text_of(&warnings(vec![record]), "impossible-counts"), None);
    }
}

#[test]
fn finish_reasons_are_kept_and_counted() {
    let records: Vec<Record> = ["\"stop\"", "\"length\"", "\"length\"", "\"abort\""]
        .iter()
        .map(|reason| sent(&[token("a").as_str(), finish(reason).as_str(), DONE].concat()))
        .collect();
    let samples = PhaseSamples {
        records,
        ..PhaseSamples::default()
    };
    let wanted = [("length", 2), ("abort", 1), ("stop", 1)].map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(Detail::of(&samples, false).finish_reasons, wanted);
}

/// The report and the per-request lines of a run against `url`.
fn whole_run(url: &str, more: &[&str]) -> (Value, Vec<Value>) {
    let folder = Dir::new();
    let lines = folder.join("requests.jsonl");
    let mut command = engine(
        url,
        &folder,
        &["--no-interactive", "--no-csv", "--format", "json", "--no-warmup"],
    );
    let output = command.args(more).arg("--requests-jsonl").arg(&lines).output().unwrap();
    let report = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let text = std::fs::read_to_string(lines).unwrap();
    (
        report,
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    )
}

#[test]
fn a_run_reports_finish_reasons_and_buffered_answers() {
    let seen = AtomicUsize::new(0);
    let server = ScriptServer::start(move |_, stream| {
        begin_stream(stream);
        let reason = ["\"stop\"", "\"length\"", "\"abort\""][seen.fetch_add(1, Ordering::SeqCst) % 3];
        std::thread::park_timeout(Duration::from_millis(10));
        let events = [
            token("a"),
            token("b"),
            token("c"),
            finish(reason),
            usage("3"),
            DONE.to_owned(),
        ]
        .concat();
        chunk(stream, events.as_bytes());
        let _ = stream.write_all(END);
        After::Keep
    });
    let (report, lines) = whole_run(server.url(), &["--kv-cache-volume", "1.2"]);
    let metrics = &report["metrics"];
    assert_eq!(
        metrics["finish_reasons"],
        serde_json::json!({"abort": 2, "length": 2, "stop": 2})
    );
    assert_eq!(
        (&metrics["results"]["successful"], &metrics["results"]["failed"]),
        (&Value::from(4), &Value::from(2))
    );
    assert!(metrics["latency_ms"]["tpot"]["mean"].is_null() && metrics["latency_ms"]["itl"]["mean"].is_null());
    assert!(
        warning_codes(&report["metrics"]).contains(&"buffered-stream"),
        "{report}"
    );
    let reasons: Vec<&str> = lines
        .iter()
        .map(|line| line["finish_reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["stop", "length", "abort", "stop", "length", "abort"]);
    assert!(
        lines
            .iter()
            .all(|line| line["in_lumps"] == true && line["tpot_ms"].is_null())
    );
}

#[test]
fn a_count_in_every_event_gives_the_tokens_of_the_first() {
    let mock = Mock::start(&[
        "--model",
        "m",
        "--ttft-ms",
        "5",
        "--itl-ms",
        "5",
        "--tokens-per-event",
        "4",
    ]);
    let url = format!("http://{}", mock.address);
    let flags = ["--ldqa-max-output-length", "16", "--kv-cache-volume", "0.5"];
    let (report, _) = whole_run(&url, &flags);
    assert!(
        warning_codes(&report["metrics"]).contains(&"first-event-tokens"),
        "{report}"
    );
    let (report, lines) = whole_run(&url, &[&flags[..], &["--usage-per-event"]].concat());
    assert!(
        !warning_codes(&report["metrics"]).contains(&"first-event-tokens"),
        "{report}"
    );
    assert!(!lines.is_empty() && lines.iter().all(|line| line["completion_tokens"] == 16));
}
