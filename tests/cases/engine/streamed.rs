//! Helpers: answers written event by event, and the record of a request that received one.

use std::io::Write;

use lmcache_bench::engine::failure::FailureClass;
use lmcache_bench::engine::samples::record::Record;

use super::{run_one, timeouts};
use crate::support::script::{After, ScriptServer, begin_stream, chunk};

pub const END: &[u8] = b"0\r\n\r\n";
pub const DONE: &str = "data: [DONE]\n\n";
pub const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";

pub fn token(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub fn finish(reason: &str) -> String {
    STOP.replace("\"stop\"", reason)
}

pub fn usage(tokens: &str) -> String {
    format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":30,\"completion_tokens\":{tokens}}}}}\n\n")
}

/// The record of a request whose engine sends `events` and then ends the body cleanly.
pub fn sent(events: &str) -> Record {
    let events = events.to_owned();
    let server = ScriptServer::start(move |_, stream| {
        begin_stream(stream);
        chunk(stream, events.as_bytes());
        let _ = stream.write_all(END);
        After::Keep
    });
    run_one(server.url(), timeouts())
}

pub fn why(record: &Record) -> (FailureClass, String) {
    let failure = record.why_failed().expect("a failure");
    (failure.class, failure.text)
}
