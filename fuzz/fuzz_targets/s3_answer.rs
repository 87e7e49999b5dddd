//! Documents and headers of an S3 service. The first lines are headers; the document follows an empty line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lmcache_bench::fuzzing;
use lmcache_bench_fuzz::bounded;

/// Bytes of a response that is no object, at most.
const TEXT_BYTES_MAX: usize = 64 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((status, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let status = 100 + u16::from_le_bytes(*status) % 500;
    bounded(rest, |rest| {
        let text = String::from_utf8_lossy(&rest[..rest.len().min(TEXT_BYTES_MAX)]);
        let (head, document) = text.split_once("\n\n").unwrap_or(("", &text));
        let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        fuzzing::s3_document(status, &headers, document);
    });
    let text = String::from_utf8_lossy(rest);
    for (begin, body_bytes) in [(0, 100), (u64::from(status), rest.len() as u64)] {
        if let Ok(total) = fuzzing::content_range(&text, begin, body_bytes) {
            assert!(total >= begin + body_bytes, "{text:?} is a part of {total} bytes");
        }
    }
});
