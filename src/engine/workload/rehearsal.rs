//! A workload run in virtual time, without an engine: the requests that a run is going to send, before it begins. Every answer
//! comes at once and has the length that was asked for, so a chat has the right lengths but not the engine's words.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Finished, Phase, Request, Step, Workload};

/// How much is looked at. A list that would be longer is looked at up to there.
const REQUESTS_MAX: usize = 20_000;
const BODY_BYTES_MAX: usize = 256 << 20;
const TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_S: f64 = 0.1;

/// The requests of a phase, in the order of sending.
#[derive(Debug, Default)]
pub struct Rehearsed {
    pub requests: Vec<Request>,
    /// Whether the phase has more than these.
    pub is_partial: bool,
}

/// How much of the phases so far has been looked at.
pub struct Rehearsal {
    until: Instant,
    bytes: usize,
    requests: usize,
}

impl Default for Rehearsal {
    fn default() -> Rehearsal {
        Rehearsal {
            until: Instant::now() + TIME_MAX,
            bytes: 0,
            requests: 0,
        }
    }
}

impl Rehearsal {
    /// Runs a phase of a workload that is not used for anything else. `most`: requests after which it is over in any case.
    pub fn run(&mut self, workload: &mut dyn Workload, phase: Phase, most: Option<u64>) -> Rehearsed {
        let mut rehearsed = Rehearsed::default();
        let most = most.map_or(REQUESTS_MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let mut in_flight: VecDeque<Finished> = VecDeque::new();
        let (mut elapsed, mut finished) = (Duration::ZERO, Vec::new());
        workload.begin(phase);
        while rehearsed.requests.len() < most {
            if self.is_over() {
                rehearsed.is_partial = true;
                break;
            }
            let step = workload.step(elapsed, &finished);
            finished.clear();
            match step {
                Step::Send(request) => {
                    self.bytes += request.body.len();
                    self.requests += 1;
                    in_flight.push_back(answered(&request));
                    rehearsed.requests.push(request);
                    continue;
                }
                Step::Done => break,
                Step::SleepUntil(time) => {
                    elapsed = elapsed.max(time);
                    finished.extend(in_flight.drain(..));
                }
                Step::AwaitUntil(time) if in_flight.is_empty() => elapsed = elapsed.max(time),
                Step::Await | Step::AwaitUntil(_) => {
                    elapsed += Duration::from_secs_f64(ANSWER_S);
                    finished.extend(in_flight.pop_front());
                }
            }
        }
        finished.extend(in_flight);
        workload.end(&finished);
        rehearsed
    }

    fn is_over(&self) -> bool {
        self.requests >= REQUESTS_MAX || self.bytes >= BODY_BYTES_MAX || Instant::now() >= self.until
    }
}

fn answered(request: &Request) -> Finished {
    let words = usize::try_from(request.max_tokens).unwrap_or(usize::MAX).min(1 << 20);
    Finished {
        id: request.id.clone(),
        succeeded: true,
        text: if request.wants_text {
            "word ".repeat(words)
        } else {
            String::new()
        },
        ttft_s: ANSWER_S,
        output_tokens: request.max_tokens,
        cached_tokens: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::config;
    use crate::engine::tokens::Tokenizer;
    use crate::engine::workload::create;

    fn rehearsed(flags: &[&str]) -> [Rehearsed; 2] {
        let config = config(flags);
        let mut workload = create(&config, &Tokenizer::Words(None)).unwrap();
        if let Some(offer) = config.load.first_offer() {
            workload.offer(offer);
        }
        let mut rehearsal = Rehearsal::default();
        [Phase::Warmup, Phase::Measured].map(|phase| rehearsal.run(&mut *workload, phase, Some(1000)))
    }

    #[test]
    fn every_phase_has_the_requests_that_a_run_sends() {
        let long_doc = [
            "--workload",
            "long-doc-qa",
            "--kv-cache-volume",
            "10",
            "--ldqa-document-length",
            "250",
        ];
        let [warmup, measured] = rehearsed(&long_doc);
        // 1,000 tokens are four documents, asked twice each.
        assert_eq!((warmup.requests.len(), measured.requests.len()), (4, 8));
        assert!(!warmup.is_partial && !measured.is_partial);
        let [_, chat] = rehearsed(&["--workload", "multi-round-chat", "--mrc-duration", "20"]);
        let longest = chat.requests.iter().map(|request| request.body.len()).max();
        let shortest = chat.requests.iter().map(|request| request.body.len()).min();
        assert!(longest > shortest, "{longest:?} {shortest:?}");
    }

    #[test]
    fn a_load_without_an_end_of_its_own_ends_too() {
        let [_, measured] = rehearsed(&[
            "--workload",
            "random-prefill",
            "--max-concurrency",
            "2",
            "--duration",
            "1h",
        ]);
        assert_eq!(measured.requests.len(), 1000);
    }
}
