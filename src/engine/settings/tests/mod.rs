//! Config files and dialogues compared with recorded ones of LMCache. The explanations of settings differ, so dialogues are
//! compared without them.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::setup::{Outcome, resolve};
use crate::engine::api_key::engine_key;
use crate::engine::args::EngineArgs;
use crate::engine::config::{EngineConfig, L1Memory};
use crate::engine::testing::{given, golden};
use crate::error::Error;
use crate::report::prompt::{Ended, Key, Keyboard, Prompter};
use crate::testing::temporary_path;

mod custom;
mod dialogues;
mod files;
mod menu;
mod requests;
mod servers;

/// Lines from a pipe.
struct Script(VecDeque<String>);

impl Keyboard for Script {
    fn is_terminal(&self) -> bool {
        false
    }

    fn line(&mut self) -> Result<String, Ended> {
        self.0.pop_front().ok_or(Ended::EndOfInput)
    }

    fn single_keys(&mut self, _: bool) -> Result<(), Ended> {
        panic!("a pipe has no keys")
    }

    fn key(&mut self) -> Result<Key, Ended> {
        panic!("a pipe has no keys")
    }
}

/// The outcome of a command line with these answers, and the printed text.
fn resolved(words: &[&str], answers: &str) -> (Result<Outcome, Error>, String) {
    let mut script = Script(answers.lines().map(str::to_string).collect());
    let mut printed = Vec::new();
    let mut prompter = Prompter::to(&mut script, &mut printed, true);
    let outcome = resolve(&given(words), &engine_key("sk-secret".into()), &mut prompter);
    drop(prompter);
    (outcome, String::from_utf8(printed).unwrap())
}

fn config_of(outcome: Result<Outcome, Error>) -> (EngineConfig, Vec<String>) {
    match outcome {
        Ok(Outcome::Run { config, notes, .. }) => (*config, notes),
        other => panic!("{other:?}"),
    }
}

fn refusal(words: &[&str]) -> String {
    match resolved(words, "") {
        (Err(Error::Settings(text) | Error::Environment(text)), _) => text,
        (other, _) => panic!("{other:?}"),
    }
}

/// A temporary folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = temporary_path("settings");
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn recorded(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden(name)).unwrap()).unwrap()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap()[2..]
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect()
}

/// The port of a server that gives every request the same JSON response.
fn server(status: &'static str, answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            head_of(&mut stream);
            answer_with(&mut stream, status, answer);
        }
    });
    port
}

/// Reads a request's header section.
fn head_of(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn answer_with(stream: &mut TcpStream, status: &str, answer: &str) {
    let length = answer.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{answer}").as_bytes());
}

/// A port without a listener.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
