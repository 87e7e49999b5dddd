//! Engines for unit tests: `/tokenize` and `/detokenize` in the form of several engines, or with any answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Tokenizer;
use super::library::{Library, Special};
use super::remote::EngineTokenizer;
use crate::engine::api_key::engine_key;
use crate::testing::temporary_path;

/// A status and a JSON body.
pub type Answer = (u16, Value);

/// Whose form the answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Vllm,
    /// Fails at ids that the vocabulary does not have.
    Sglang,
    /// Says how many ids there are, and must not be asked for others.
    LlamaCpp,
}

/// Starts an engine that answers with what `answer` makes of a path and a JSON body; returns its base URL.
pub fn server(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    url
}

fn serve(stream: TcpStream, answer: &(impl Fn(&str, &Value) -> Answer + ?Sized)) {
    let mut stream_out = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                return;
            }
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().to_owned();
            }
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (status, text) = answer(&path, &serde_json::from_slice(&body).unwrap_or_default());
        let text = text.to_string();
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", text.len());
        if stream_out.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// An answer of an engine with this tokenizer.
pub fn answered(library: &Library, form: Form, path: &str, body: &Value) -> Answer {
    let ids = library.vocabulary().values().max().unwrap() + 1;
    match path {
        "/tokenize" => {
            let text = body[if form == Form::LlamaCpp { "content" } else { "prompt" }]
                .as_str()
                .unwrap();
            let tokens = library.encode(text).unwrap();
            match form {
                Form::LlamaCpp => (200, json!({"tokens": tokens})),
                _ => (
                    200,
                    json!({"count": tokens.len(), "max_model_len": 9, "tokens": tokens}),
                ),
            }
        }
        "/detokenize" => {
            let tokens: Vec<u32> = serde_json::from_value(body["tokens"].clone()).unwrap();
            if form != Form::Vllm && tokens.iter().any(|id| *id >= ids) {
                assert!(form == Form::Sglang, "an id that the engine does not have");
                return (500, json!({"error": {"message": "out of range"}}));
            }
            let skips = form == Form::Sglang && body["skip_special_tokens"] == true;
            let text = library
                .decode(&tokens, if skips { Special::Skipped } else { Special::Kept })
                .unwrap();
            let key = match form {
                Form::Vllm => "prompt",
                Form::Sglang => "text",
                Form::LlamaCpp => "content",
            };
            (200, json!({key: text}))
        }
        "/v1/models" if form == Form::LlamaCpp => (200, json!({"data": [{"id": "m", "meta": {"n_vocab": ids}}]})),
        _ => (404, json!({"detail": "Not Found"})),
    }
}

/// A connected tokenizer of an engine.
pub fn connect(base_url: &str) -> Result<EngineTokenizer, String> {
    EngineTokenizer::connect(base_url, "m", &engine_key("k".into()), true)
}

/// The tokenizer of an engine that counts what `count` says of a text, and does not decode.
pub fn counting(count: fn(&str) -> u64) -> Tokenizer {
    let url = server(move |path, body| match path {
        "/tokenize" => (
            200,
            json!({"count": count(body["prompt"].as_str().unwrap()), "tokens": []}),
        ),
        _ => (404, Value::Null),
    });
    Tokenizer::Engine(Arc::new(connect(&url).unwrap()))
}

/// The tokenizer of a file with this content.
pub fn of_json(content: &Value) -> Tokenizer {
    let folder = temporary_path("tokenizer");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), content.to_string()).unwrap();
    let tokenizer = Tokenizer::from_folder(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    tokenizer.unwrap()
}

/// The engine's tokenizer where the engine has this one.
pub fn through_engine(library: Library, form: Form) -> Tokenizer {
    let url = server(move |path, body| answered(&library, form, path, body));
    Tokenizer::Engine(Arc::new(connect(&url).unwrap()))
}
