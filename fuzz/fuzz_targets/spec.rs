//! Adapter specs: parsing is deterministic, and error messages contain no control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::l2::spec::parse_specs;
use lmcache_bench_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = bounded(text.as_bytes(), |data| {
        let text = String::from_utf8_lossy(data).into_owned();
        parse_specs(&[text])
    });
    match parsed {
        Ok(parsed) => {
            assert!(
                !parsed.first.shown.chars().any(|c| c.is_control() && !c.is_whitespace()),
                "{:?}",
                parsed.first.shown
            );
            let again = parse_specs(&[parsed.first.raw.clone()]).expect("the same text");
            assert_eq!(format!("{again:?}"), format!("{parsed:?}"));
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
        }
    }
});
