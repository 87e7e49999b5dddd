//! Streams recorded with the reference's client: our result for each, and the intended differences.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use super::{Listed, run};
use crate::support::script::{After, ScriptServer, begin_stream, chunk};

const CASES: &str = include_str!("../../golden/engine/sse-cases.json");

/// Cases in which the reference is wrong: name, succeeded, output tokens, text.
const OURS: [(&str, bool, u64, &str); 6] = [
    // An event without data fails the reference's request.
    ("emptyevent", true, 1, " a"),
    ("pingcomment_only_id", true, 1, " a"),
    // The reference loses the first event after a byte order mark.
    ("bom", true, 1, " bom a"),
    // The reference loses the content of events with certain names.
    ("thread_event", true, 1, " a"),
    // A tool call without usage succeeds, although no token is counted.
    ("toolcall_nousage", true, 0, ""),
    // The text of a failed request is empty in both; our error message differs.
    ("content_number", false, 0, ""),
];

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Sends one case without its pauses, in pieces of at most `split` bytes.
fn play(case: &Value, stream: &mut TcpStream, split: usize) -> After {
    begin_stream(stream);
    for item in case["stream"].as_array().unwrap() {
        let bytes = match (&item["send"], &item["send_hex"]) {
            (Value::String(text), _) => text.clone().into_bytes(),
            (_, Value::String(text)) => hex(text),
            _ if item["end"] == true => {
                let _ = stream.write_all(b"0\r\n\r\n");
                return After::Keep;
            }
            _ if item["drop"] == true => return After::Close,
            _ => continue,
        };
        bytes.chunks(split).for_each(|piece| chunk(stream, piece));
    }
    After::Close
}

fn replay(split: usize) -> HashMap<String, (bool, u64, u64, String, String)> {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let cases: Vec<Value> = cases["cases"].as_array().unwrap().clone();
    let names: Vec<String> = cases
        .iter()
        .map(|case| case["case"].as_str().unwrap().to_owned())
        .collect();
    let by_name: HashMap<String, Value> = names.iter().cloned().zip(cases).collect();
    let server = ScriptServer::start(move |request, stream| {
        let name = std::str::from_utf8(&request.body).unwrap();
        play(&by_name[name], stream, split)
    });
    let mut workload = Listed::new(&names, 4);
    let samples = run(server.url(), &mut workload);
    assert_eq!(samples.records.len(), names.len());
    let texts: HashMap<&str, &str> = workload
        .finished
        .iter()
        .map(|finished| (finished.id.as_str(), finished.text.as_str()))
        .collect();
    let outcome = |record: &lmcache_bench::engine::samples::record::Record| {
        let number: usize = record.id[1..].parse().unwrap();
        let why = record.why_failed().map_or_else(String::new, |failure| failure.text);
        let text = texts[record.id.as_str()].to_owned();
        let counts = (record.input_tokens(), record.output_tokens());
        (
            names[number].clone(),
            (record.succeeded(), counts.0, counts.1, text, why),
        )
    };
    samples.records.iter().map(outcome).collect()
}

#[test]
fn every_recorded_stream_ends_as_in_the_reference_or_as_listed() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    for split in [usize::MAX, 3] {
        let got = replay(split);
        for case in cases["cases"].as_array().unwrap() {
            let name = case["case"].as_str().unwrap();
            let expect = &case["expect"];
            let (mut succeeded, mut output, mut text) = (
                expect["successful"] == true,
                expect["output_tokens"].as_u64().unwrap(),
                expect["text"].as_str().unwrap(),
            );
            let ours = OURS.iter().find(|(case, ..)| *case == name);
            if let Some((_, our_success, our_output, our_text)) = ours {
                (succeeded, output, text) = (*our_success, *our_output, our_text);
            }
            let (got_success, _, got_output, got_text, why) = &got[name];
            assert_eq!((*got_success, *got_output), (succeeded, output), "{name}: {why}");
            assert_eq!(got_text, text, "{name}");
            assert_eq!(
                why.is_empty(),
                succeeded,
                "{name}: a failure has a sentence, a success none: {why}"
            );
            if ours.is_none() {
                assert_eq!(got[name].1, expect["input_tokens"].as_u64().unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn the_engines_error_message_is_in_the_record() {
    let got = replay(usize::MAX);
    for (case, words) in [
        ("errorevent", "engine died"),
        ("errorevent_str", "engine died"),
        ("badjson", "an event of the answer is not JSON"),
        ("utf8_bad", "an event of the answer is not JSON"),
        ("content_number", "content of an event of the answer is not text"),
        ("droppedmid", "Connection error: the answer was cut off"),
        ("doneonly", "the answer ended without a token"),
    ] {
        assert!(got[case].4.starts_with(words), "{case}: {}", got[case].4);
    }
}
