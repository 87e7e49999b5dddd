//! Hits on what was still being computed or stored when a request was sent.

use super::ExpectedRequest;
use super::play::{Input, Timed};
use crate::ledger::causes::History;

/// Tokens of a phase that were expected to be found though the only requests that had sent them had not ended yet. Whether such
/// tokens are found depends on the engine's steps: another request may be admitted between two of them, and compute them again.
pub fn at_risk(input: &Input, number: usize, expected: &[Option<ExpectedRequest>]) -> u64 {
    let mut history = History::new(&input.catalog);
    for earlier in input.phases[..number].iter().flatten() {
        history.sent(earlier.entry);
        history.answered(earlier.entry);
    }
    let mut order: Vec<(&Timed, &Option<ExpectedRequest>)> = input.phases[number].iter().zip(expected).collect();
    let mut ends: Vec<&Timed> = input.phases[number].iter().collect();
    order.sort_by_key(|(of, _)| of.sent_ns);
    ends.sort_by_key(|of| of.done_ns);
    let mut ends = ends.into_iter().peekable();
    let mut tokens = 0;
    for (of, expected) in order {
        while let Some(ended) = ends.next_if(|ended| ended.done_ns <= of.sent_ns) {
            history.sent(ended.entry);
            history.answered(ended.entry);
        }
        let Some(expected) = expected else { continue };
        let length = input.catalog.entries[of.entry].tokens() as u64;
        let certain = input.units.possible(length, &history.known(of.entry));
        tokens += expected.served.cached().saturating_sub(certain);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::causes::Units;
    use crate::ledger::expect::Request;
    use crate::ledger::simulate::{Catalog, Prompt, Served};

    #[test]
    fn only_what_an_unfinished_request_sent_first_is_at_risk() {
        let prompt = Prompt::of((0..300).collect::<Vec<u32>>());
        let request = |sent_ns, done_ns| Request {
            prompt: prompt.clone(),
            sent_ns,
            first_token_ns: Some(done_ns),
            done_ns,
            succeeded: true,
            cached_tokens: None,
        };
        let requests = [request(0, 10), request(5, 15), request(10, 20), request(30, 40)];
        let (catalog, entries) = Catalog::new(16, 256, requests.iter().map(|request| &request.prompt));
        let timed = requests
            .iter()
            .zip(&entries)
            .map(|(request, entry)| Timed::new(request, *entry));
        let mut input = Input {
            phases: vec![timed.collect()],
            units: Units {
                block_tokens: 16,
                chunk_tokens: Some(256),
            },
            catalog,
        };
        let found = |tokens| {
            let served = Served {
                hbm: tokens,
                computed: 300 - tokens,
                ..Served::default()
            };
            Some(ExpectedRequest {
                served,
                ..ExpectedRequest::default()
            })
        };
        let expected = [found(0), found(288), found(288), found(288)];
        // The second was sent while the first was in flight; when the third was sent, the first had just ended.
        assert_eq!(at_risk(&input, 0, &expected), 288);
        let again = input.phases[0].clone();
        input.phases.push(again);
        assert_eq!(at_risk(&input, 1, &expected), 0);
    }
}
