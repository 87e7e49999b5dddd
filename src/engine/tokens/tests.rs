//! Pools, decoding and encoding against results recorded from Python's tokenizers library.

use std::path::Path;
use std::sync::LazyLock;

use ring::digest;
use serde_json::Value;

use super::pool::WordPool;
use super::*;
use crate::engine::testing::golden;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/engine/tokenizer-vectors.json")).unwrap()
}

/// Loaded once for all cases.
fn tokenizer(name: &Value) -> &'static Tokenizer {
    static TINY: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_folder(&golden("tiny-tokenizer")).unwrap());
    static WORDS: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_folder(&golden("words-tokenizer")).unwrap());
    match name.as_str().unwrap() {
        "TINY" => &TINY,
        "WORDS" => &WORDS,
        other => panic!("{other}"),
    }
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn pools_equal_the_references() {
    for case in vectors()["pool"].as_array().unwrap() {
        let size = case["size"].as_u64().unwrap() as usize;
        let seed = BigInt::parse(&case["seed"].to_string()).unwrap();
        let built = WordPool::build(tokenizer(&case["tokenizer"]), "m", size, &seed);
        if let Some(theirs) = case["error"].as_str() {
            let ours = built.expect_err("too few words").to_string();
            let found = theirs.split(' ').find(|word| word.parse::<u64>().is_ok()).unwrap();
            assert!(ours.contains(&format!("only {found} words")), "{ours} / {theirs}");
            continue;
        }
        let pool = built.unwrap();
        let digest = digest::digest(&digest::SHA256, pool.words().join(" ").as_bytes());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, case["sha256_of_space_joined"], "{case}");
        assert_eq!(pool.starts_with_blank(), case["leading_space"]);
        assert_eq!(pool.first(size.min(3)), case["text_of_first_3"]);
    }
}

/// The expected words are in a recorded request of kv-tier-pressure with seed 42, which draws its system prompt so.
#[test]
fn texts_are_drawn_as_choice_draws() {
    let pool = WordPool::build(tokenizer(&"WORDS".into()), "m", 8000, &BigInt::from(42)).unwrap();
    let text = |seed: i64, tokens| pool.chosen(tokens, &mut PythonRandom::new(&BigInt::from(seed)));
    assert_eq!((text(44, 3), text(44, 0)), (" jip ropu taz".to_owned(), String::new()));
    assert_eq!(text(43, 8), " roho todi tiwe fowa cocu tapu leka metu");
}

#[test]
fn decoded_texts_equal_the_references() {
    for case in vectors()["decode"].as_array().unwrap() {
        let tokenizer = tokenizer(&case["tokenizer"]);
        let text = tokenizer.local().unwrap().decode(&ids(&case["ids"])).unwrap();
        assert_eq!(text, case["text"], "{}", case["ids"]);
    }
}

#[test]
fn encoded_ids_equal_the_references() {
    for case in vectors()["encode"].as_array().unwrap() {
        let tokenizer = tokenizer(&case["tokenizer"]);
        let text = case["text"].as_str().unwrap();
        assert_eq!(
            tokenizer.local().unwrap().encode(text).unwrap(),
            ids(&case["ids"]),
            "{text}"
        );
        assert_eq!(
            tokenizer.count(text).unwrap(),
            case["ids"].as_array().unwrap().len() as u64
        );
    }
}

#[test]
fn without_a_tokenizer_the_reason_is_given() {
    let words = Tokenizer::Words(Some("it is away".into()));
    let refusal = WordPool::build(&words, "org/model", 10, &BigInt::from(1))
        .expect_err("a refusal")
        .to_string();
    assert!(
        refusal.contains("\"org/model\"") && refusal.contains("it is away"),
        "{refusal}"
    );
    assert!(refusal.contains("--tokenizer PATH"), "{refusal}");
    let missing = LocalTokenizer::load(&golden("no-such-folder"))
        .map(|_| ())
        .expect_err("nothing there");
    assert!(missing.contains("could not read"), "{missing}");
    let typed = unusable(Path::new("~/models/m"), &missing).to_string();
    assert!(typed.ends_with("write $HOME/models/m"), "{typed}");
    let named = unusable(Path::new("org/model"), &missing).to_string();
    assert!(named.contains("goes into --model"), "{named}");
    let pointer = crate::testing::temporary_path("pointer");
    std::fs::write(&pointer, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let told = LocalTokenizer::load(&pointer).map(|_| ()).expect_err("a pointer");
    std::fs::remove_file(&pointer).unwrap();
    assert!(told.contains("git lfs pull"), "{told}");
    let no_tokenizer = LocalTokenizer::load(&golden("rng-vectors.json"))
        .map(|_| ())
        .expect_err("no tokenizer");
    assert!(no_tokenizer.contains("could not understand"), "{no_tokenizer}");
}
