//! What a run keeps of its records to compute its own error.

use lmcache_bench::engine::run::evidence::Evidence;

use super::{Listed, run};
use crate::support::script::{After, ScriptServer, begin_stream, chunk, done, token, usage};

const TOKENS: usize = 60;

/// Tokens of one write have the same stamp; the record has to keep that the first may have waited for the others.
#[test]
fn tokens_that_arrived_together_stay_marked() {
    let server = ScriptServer::start(|_, stream| {
        begin_stream(stream);
        // More than the client reads at once, so that the end is not in the first read.
        chunk(stream, &token("a").repeat(TOKENS));
        chunk(stream, &usage(7, TOKENS as u64));
        done(stream);
        After::Keep
    });
    let samples = run(server.url(), &mut Listed::new(&["{}".to_owned()], 1));
    let record = &samples.records[0];
    assert_eq!(record.answer.gaps, [0], "one gap is enough, and all are too many");
    let evidence = Evidence::of(&samples);
    let lag_ms = record.first_token_lag_ns as f64 / 1e6;
    let write_ms = record.first_write.unwrap().ns_since(record.dispatched) as f64 / 1e6;
    let own_ms = record.lateness_s() * 1e3 + write_ms + lag_ms;
    assert!((evidence.own_ms_p99 - own_ms).abs() < 1e-9, "{own_ms} {evidence:?}");
    assert_eq!(evidence.streams, 1);
}
