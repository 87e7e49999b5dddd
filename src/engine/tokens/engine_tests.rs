//! The engine's tokenizer: pools equal to those of the file, and engines that answer badly.

use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest;
use serde_json::{Value, json};

use super::pool::WordPool;
use super::testing::{Answer, Form, answered, connect, counting, of_json, server, through_engine};
use super::*;
use crate::engine::api_key::engine_key;
use crate::engine::testing::{config, golden};
use crate::python::big_int::BigInt;

fn library(folder: &str) -> library::Library {
    let bytes = std::fs::read(golden(folder).join("tokenizer.json")).unwrap();
    library::Library::read(&bytes).unwrap()
}

fn pool(tokenizer: &Tokenizer, size: usize, seed: u64) -> Result<WordPool, String> {
    let seed = BigInt::parse(&seed.to_string()).unwrap();
    WordPool::build(tokenizer, "m", size, &seed).map_err(|error| error.to_string())
}

#[test]
fn pools_are_those_of_the_vectors_whoever_has_the_vocabulary() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/golden/engine/word-pool-vectors.json")).unwrap();
    let engines =
        [Form::Vllm, Form::Sglang, Form::LlamaCpp].map(|form| through_engine(library("words-tokenizer"), form));
    let cases = vectors["pools"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for (at, case) in cases.iter().enumerate() {
        for tokenizer in &engines[..if at == 0 { 3 } else { 1 }] {
            let size = case["size"].as_u64().unwrap() as usize;
            let pool = pool(tokenizer, size, case["seed"].as_u64().unwrap()).unwrap();
            let digest = digest::digest(&digest::SHA256, pool.words().join(" ").as_bytes());
            let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, case["sha256_of_blank_joined"], "{case}");
            assert_eq!(json!(pool.words()[..6]), case["first"]);
            assert_eq!(json!(pool.words()[size - 2..]), case["last"]);
        }
    }
}

/// Too few words is the same refusal as with the file.
#[test]
fn a_small_vocabulary_is_refused_like_its_file() {
    let local = Tokenizer::from_folder(&golden("tiny-tokenizer")).unwrap();
    let engine = through_engine(library("tiny-tokenizer"), Form::Vllm);
    let ours = pool(&engine, 8000, 1).unwrap_err();
    assert!(ours.contains("has only 2350 words"), "{ours}");
    assert!(pool(&local, 8000, 1).unwrap_err().contains("has only 2350 words"));
    assert_eq!(
        pool(&engine, 2350, 1).unwrap().words(),
        pool(&local, 2350, 1).unwrap().words()
    );
}

/// As Llama 2 has it: a blank is put before every text and dropped from every decoded one, and bytes are tokens.
fn sentencepiece() -> Value {
    let mut vocabulary = serde_json::Map::new();
    let mut merges: Vec<String> = Vec::new();
    let add = |token: &str, vocabulary: &mut serde_json::Map<String, Value>| {
        let id = vocabulary.len();
        vocabulary.entry(token.to_owned()).or_insert(id.into());
    };
    add("<unk>", &mut vocabulary);
    (0..=255).for_each(|byte| add(&format!("<0x{byte:02X}>"), &mut vocabulary));
    ("▁|;".chars().chain('a'..='z')).for_each(|character| add(&character.to_string(), &mut vocabulary));
    for word in ["the", "cat", "dog", "sun", "sky", "red", "old", "ant"] {
        let mut before = "▁".to_owned();
        for letter in word.chars() {
            merges.push(format!("{before} {letter}"));
            before.push(letter);
            add(&before, &mut vocabulary);
        }
    }
    add("▁▁", &mut vocabulary);
    merges.push("▁ ▁".to_owned());
    json!({
        "version": "1.0", "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": vocabulary, "merges": merges},
    })
}

#[test]
fn a_vocabulary_that_drops_blanks_gives_the_same_pool() {
    let text = sentencepiece();
    let local = of_json(&text);
    let engine = through_engine(library::Library::read(text.to_string().as_bytes()).unwrap(), Form::Vllm);
    let (ours, theirs) = (pool(&engine, 12, 5).unwrap(), pool(&local, 12, 5).unwrap());
    assert!(!theirs.starts_with_blank(), "a text begins with a blank by itself");
    assert_eq!(
        (ours.words(), ours.starts_with_blank()),
        (theirs.words(), theirs.starts_with_blank())
    );
    let all = |tokenizer| {
        pool(tokenizer, 99, 5)
            .unwrap_err()
            .split(" words")
            .next()
            .unwrap()
            .split(' ')
            .next_back()
            .map(str::to_owned)
    };
    assert_eq!(all(&engine), all(&local));
}

/// An engine with the WORDS tokenizer whose answers about ids are changed, after the three that find the separator. The
/// function gets the number of the question, the question and the right answer.
fn spoiled(spoil: impl Fn(u64, &Value, Answer) -> Answer + Send + Sync + 'static) -> remote::EngineTokenizer {
    let (library, asked) = (library("words-tokenizer"), AtomicU64::new(0));
    let url = server(move |path, body| {
        let right = answered(&library, Form::Vllm, path, body);
        if path != "/detokenize" {
            return right;
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0..3 => right,
            number => spoil(number - 3, body, right),
        }
    });
    connect(&url).unwrap()
}

fn pool_of(engine: remote::EngineTokenizer) -> Result<WordPool, String> {
    pool(&Tokenizer::Engine(Arc::new(engine)), 8000, 42)
}

#[test]
fn answers_that_fail_now_and_then_change_nothing() {
    let failing = spoiled(|number, _, right| match number {
        0 | 3 | 4 => (500, json!({"error": "busy"})),
        _ => right,
    });
    assert_eq!(pool_of(failing).unwrap().words()[..2], ["fuje", "bugo"]);
    // A token whose text holds the separator makes its block ambiguous.
    let odd = spoiled(|_, question, (status, right)| {
        let holds = question["tokens"].as_array().unwrap().contains(&json!(7000));
        let text = right["prompt"].as_str().unwrap();
        (
            status,
            if holds {
                json!({"prompt": format!("{text}\n|")})
            } else {
                right
            },
        )
    });
    let lost = library("words-tokenizer")
        .decode(&[7000], library::Special::Kept)
        .unwrap();
    let pool = pool_of(odd).unwrap();
    assert!(
        lost.starts_with(' ') && !pool.words().contains(&lost[1..].to_owned()),
        "{lost}"
    );
}

#[test]
fn hostile_vocabularies_end() {
    // Every id has a text, without end.
    let endless = spoiled(|_, question, _| {
        let tokens = question["tokens"].as_array().unwrap();
        let blocks = tokens.len() / 3;
        (200, json!({"prompt": format!("\n|{}", " no\n|".repeat(blocks))}))
    });
    let why = pool_of(endless).unwrap_err();
    assert!(
        why.contains("has only 0 words") || why.contains("has only 1 words"),
        "{why}"
    );
    // No block can be told apart.
    let ambiguous = spoiled(|_, _, _| (200, json!({"prompt": "\n|\n|\n|\n|"}))).bounded(300, u64::MAX);
    let why = pool_of(ambiguous).unwrap_err();
    assert!(why.contains("were not found within 300 questions"), "{why}");
    // More than anyone needs.
    let huge = spoiled(|_, _, _| (200, json!({"prompt": "x".repeat(1 << 20)}))).bounded(u64::MAX, 5 << 20);
    let why = pool_of(huge).unwrap_err();
    assert!(
        why.contains("5 MB of answers") && why.contains("--tokenizer PATH"),
        "{why}"
    );
    // Nothing but errors: no word, with few questions.
    let errors = spoiled(|_, _, _| (500, Value::Null)).bounded(20, u64::MAX);
    assert!(pool_of(errors).unwrap_err().contains("has only 0 words"));
    // A gateway's error means all others will fail too.
    let gone = spoiled(|_, _, _| (503, Value::Null)).bounded(20, u64::MAX);
    let why = pool_of(gone).unwrap_err();
    assert!(
        why.contains("503") && why.contains("could not be asked to decode tokens"),
        "{why}"
    );
}

#[test]
fn a_first_prompt_of_made_up_words_that_is_too_long_is_refused() {
    let url = server(|path, _| match path {
        "/v1/models" => (200, json!({"data": [{"id": "m", "max_model_len": 1000}]})),
        _ => (404, json!({"detail": "Not Found"})),
    });
    let key = engine_key("k".into());
    let config = |workload| config(&["--engine-url", &url, "--workload", workload]);
    let permutator = config("long-doc-permutator");
    let tokenizer = Tokenizer::open(&permutator, &key).unwrap();
    let check = |config: &EngineConfig, bytes| tokenizer.check_first_body(config, &key, bytes);
    let why = check(&permutator, 4004).unwrap_err().to_string();
    assert!(
        why.contains("more than 1001 tokens") && why.contains("takes 1000 (max_model_len)"),
        "{why}"
    );
    assert!(check(&permutator, 4003).is_ok());
    // Its filler is one token a word.
    assert!(check(&config("prefix-suffix-tuner"), 4004).is_ok());
}

#[test]
fn what_does_not_decode_only_counts_and_what_does_not_count_is_none() {
    let page = |tokenize: Answer, detokenize: Answer| {
        server(move |path, _| match path {
            "/tokenize" => tokenize.clone(),
            "/detokenize" => detokenize.clone(),
            _ => (404, Value::Null),
        })
    };
    let counts = (200, json!({"count": 1, "tokens": [5]}));
    let none = (404, json!({"detail": "Not Found"}));
    for (detokenize, why) in [
        (
            none.clone(),
            "/detokenize does not decode tokens: it answered 404 Not Found (Not Found)",
        ),
        (
            (200, json!({"prompt": "x"})),
            "/detokenize decodes no text in the same way twice",
        ),
        (
            (200, json!({"tokens": []})),
            "/detokenize does not decode tokens: its answer has none (",
        ),
        (
            (200, json!({"prompt": ""})),
            "/detokenize decodes no text in the same way twice",
        ),
    ] {
        let engine = connect(&page(counts.clone(), detokenize)).unwrap();
        assert!(engine.no_text().unwrap().contains(why), "{why}: {:?}", engine.no_text());
        let refused = pool(&Tokenizer::Engine(Arc::new(engine)), 10, 1).unwrap_err();
        assert!(
            refused.starts_with("this workload needs the tokenizer") && refused.contains(why),
            "{refused}"
        );
    }
    let many = (200, json!({"count": 900, "tokens": vec![5; 900]}));
    let engine = connect(&page(many, none.clone())).unwrap();
    assert!(
        engine.no_text().unwrap().contains("/tokenize does not count tokens"),
        "{:?}",
        engine.no_text()
    );
    let why = connect(&page(none.clone(), none)).unwrap_err();
    assert!(
        why.contains("/tokenize does not count tokens: it answered 404") && why.contains("/detokenize does not decode"),
        "{why}"
    );
}

#[test]
fn made_up_words_are_not_cut_by_a_count_that_does_not_grow() {
    let tokenizer = counting(|_| 7);
    let mut pool = WordPool::build_or_make_up(&tokenizer, "m", 50, &BigInt::from(1)).unwrap();
    let text = pool.first(50);
    let refused = pool.fit(&tokenizer, 50, &text).unwrap_err().to_string();
    assert!(refused.contains("/tokenize counts 7 tokens for 50 words"), "{refused}");
}

#[test]
fn texts_are_counted_and_decoded_within_bounds() {
    let connected = |calls| {
        let library = library("words-tokenizer");
        let url = server(move |path, body| answered(&library, Form::Vllm, path, body));
        let engine = connect(&url).unwrap();
        let asked = engine.calls();
        Tokenizer::Engine(Arc::new(engine.bounded_texts(asked + calls)))
    };
    for ask in [
        |tokenizer: &Tokenizer| tokenizer.count("a b").map(drop),
        |tokenizer: &Tokenizer| tokenizer.decode(&[300]).map(drop),
    ] {
        let tokenizer = connected(3);
        (0..3).for_each(|_| ask(&tokenizer).unwrap());
        let why = ask(&tokenizer).unwrap_err().to_string();
        assert!(
            why.contains("the texts of the prompts were not found within ") && why.contains("give --tokenizer PATH"),
            "{why}"
        );
        tokenizer.start_over();
        ask(&tokenizer).unwrap();
    }
}
