//! Typed URLs and paths: passwords never appear in messages.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lmcache_bench::url::{literal_path_advice, literal_path_note, with_scheme, without_password};
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(text.as_bytes(), |data| {
        let text = std::str::from_utf8(data).unwrap_or_default();
        (
            without_password(text),
            with_scheme(text),
            literal_path_advice(Path::new(text)),
        )
    });
    let shown = without_password(text);
    assert_eq!(without_password(&shown), shown);
    let _ = literal_path_note("--flag", Path::new(text));
    if !text.contains(['/', '@', ':', '?', '#']) {
        assert_eq!(
            without_password(&format!("http://user:{text}@host/path")),
            "http://user:***@host/path"
        );
    }
});
