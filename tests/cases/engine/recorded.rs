//! Recorded runs of the reference: their commands again, against servers of the tests.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::script::{ScriptServer, Seen};
use crate::support::{Dir, bench, report, warning_codes};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/engine");

pub fn golden(name: &str) -> Value {
    let path = Path::new(FOLDER).join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn is_chat(request: &Seen) -> bool {
    request.head.starts_with("POST /v1/chat/completions ")
}

/// The bodies of the chat requests, in order.
pub fn chats(server: &ScriptServer) -> Vec<String> {
    let seen = server.seen().into_iter().filter(is_chat);
    seen.map(|request| String::from_utf8(request.body).unwrap()).collect()
}

/// A recorded command with `places` in the place of the names in its record, and with the tokenizer that it was run with. It
/// runs in the folder.
pub fn command(case: &Value, folder: &Dir, places: &[(&str, &str)]) -> Command {
    let mut command = bench();
    command.current_dir(folder.path());
    command.env("HF_HOME", folder.path()).env_remove("HF_HUB_CACHE");
    let words = case["args"].as_array().unwrap()[1..].iter();
    let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
    for word in words.iter().filter(|word| **word != "-q") {
        let place = places.iter().find(|(name, _)| name == word);
        command.arg(place.map_or(word, |(_, place)| place));
    }
    for (model, tokenizer) in [("WORDS", "words-tokenizer"), ("TINY", "tiny-tokenizer")] {
        if words.contains(&model) {
            command.arg("--tokenizer").arg(Path::new(FOLDER).join(tokenizer));
        }
    }
    command.args(["--no-certificate", "--no-interactive"]);
    command
}

/// The codes of a run's warnings that are among a workload's own.
pub fn own_codes(output: &Output, own: &[&str]) -> Vec<String> {
    let report = report(output);
    let codes = warning_codes(&report["metrics"]).into_iter();
    codes.filter(|code| own.contains(code)).map(str::to_owned).collect()
}
