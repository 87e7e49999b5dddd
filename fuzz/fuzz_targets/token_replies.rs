//! Answers to `/tokenize` and `/detokenize`, and the texts of ids between separators. The first byte is the number of ids.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench::python::json;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let [ids, answer @ ..] = data else { return };
    let (count, listed, text) = bounded(answer, fuzzing::token_reply);
    if let (Some(count), Some(listed), Ok(value)) = (count, &listed, json::loads(answer)) {
        // Without a count the tokens are counted.
        assert!(value["count"].is_u64() || count == listed.len() as u64);
    }
    let Some(text) = text else { return };
    bounded(text.as_bytes(), |bytes| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        fuzzing::token_texts(text, usize::from(*ids)).map(|texts| texts.len())
    });
    if let Some(texts) = fuzzing::token_texts(&text, usize::from(*ids)) {
        assert_eq!(texts.len(), usize::from(*ids));
        assert_eq!(format!("\n|{}\n|", texts.join("\n|")), text);
        assert!(texts.iter().all(|text| !text.contains("\n|")));
    }
});
