//! The documents of a staircase: random words, one request in flight, answers of one token. The first pass over a working set is
//! the warmup, the others are measured. A text is drawn for its request, so memory holds one at a time; the same document has the
//! same text in every pass.

use std::sync::Arc;

use super::body::Bodies;
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::config::EngineConfig;
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::WordPool;
use crate::error::Error;
use crate::ledger::staircase::circle::Circle;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

/// Words that documents are drawn from.
const POOL_WORDS: usize = 1000;
/// The words of the text by which the tokens of a word are counted.
const SAMPLE_WORDS: u64 = 500;

/// What all documents of a run are drawn from. Documents have numbers, and another text each.
pub struct Documents {
    bodies: Bodies,
    pool: WordPool,
    /// 1 for words of one token each.
    words_per_token: f64,
    seed: BigInt,
}

impl Documents {
    /// Reads the vocabulary; nothing of it is asked for later.
    pub fn new(config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Arc<Documents>, Error> {
        let pool = WordPool::build_or_make_up(tokenizer, &config.model, POOL_WORDS, &config.seed)?;
        let words_per_token = match pool.needs_fitting() {
            false => 1.0,
            true => {
                let sample = pool.text(SAMPLE_WORDS, &mut PythonRandom::new(&config.seed));
                let tokens = tokenizer.count_words(&sample, SAMPLE_WORDS, 0)?;
                SAMPLE_WORDS as f64 / tokens.max(1) as f64
            }
        };
        Ok(Arc::new(Documents {
            bodies: Bodies::new(config),
            pool,
            words_per_token,
            seed: config.seed.clone(),
        }))
    }

    /// The documents from number `first` on: once in the warmup, and `passes` times in the measured phase.
    pub fn circle(self: &Arc<Documents>, circle: Circle, first: u64, passes: u64) -> Box<dyn Workload> {
        let body_bytes = self.body(first, circle.tokens).len();
        let sequence = Passes {
            documents: Arc::clone(self),
            circle,
            first,
            passes,
        };
        Box::new(Window::new(sequence, body_bytes))
    }

    fn body(&self, number: u64, tokens: u64) -> Vec<u8> {
        let words = ((tokens as f64 * self.words_per_token).round() as u64).max(1);
        let text = self
            .pool
            .text(words, &mut PythonRandom::new(&self.seed.plus(1 + number)));
        self.bodies.user(&text, 1)
    }
}

struct Passes {
    documents: Arc<Documents>,
    circle: Circle,
    first: u64,
    passes: u64,
}

impl Sequence for Passes {
    fn banner(&self) -> Banner {
        Banner::new("kv-staircase", 21)
            .line("Document length", self.circle.tokens, "tokens")
            .line("First working set", self.circle.count(), "documents")
            .line("Passes", self.passes, "after one that fills the tiers")
            .line("Vocab size", POOL_WORDS, self.documents.pool.remark())
            .line("Max inflight", 1, "")
    }

    fn counts(&self) -> Counts {
        let count = self.circle.count();
        Counts {
            warmup: count,
            warmup_in_flight: 1,
            measured: count.saturating_mul(self.passes),
            in_flight: 1,
            tokens_per_answer: 1,
        }
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let count = self.circle.count().max(1);
        let (document, pass) = (number % count, number / count + 1);
        let id = match phase {
            Phase::Warmup => format!("fill_doc{document}"),
            Phase::Measured => format!("pass{pass}_doc{document}"),
        };
        let body = self.documents.body(self.first + document, self.circle.length(document));
        Request::new(id, body, 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::testing::{config, finished, golden};
    use crate::engine::workload::Step;

    /// The bodies of a phase, each answered before the next is asked for.
    fn sent(workload: &mut dyn Workload, phase: Phase) -> Vec<(String, Vec<u8>)> {
        workload.begin(phase);
        let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
        loop {
            let ended: Vec<_> = sent
                .last()
                .map(|(id, _)| finished(id.as_str(), ""))
                .into_iter()
                .collect();
            match workload.step(Duration::ZERO, &ended) {
                Step::Send(request) => sent.push((request.id, request.body)),
                Step::Done => return sent,
                other => panic!("{other:?}"),
            }
        }
    }

    fn documents() -> (Tokenizer, Arc<Documents>) {
        let tokenizer = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
        let config = config(&["--staircase"]);
        let documents = Documents::new(&config, &tokenizer).unwrap();
        (tokenizer, documents)
    }

    #[test]
    fn documents_are_sent_in_a_circle_with_the_lengths_asked_for() {
        let (tokenizer, documents) = documents();
        let circle = Circle::of(700, 300, 17);
        let mut workload = documents.circle(circle, 5, 2);
        assert_eq!((workload.plan().streams, workload.plan().requests), (1, 6));
        let filled = sent(&mut *workload, Phase::Warmup);
        let measured = sent(&mut *workload, Phase::Measured);
        let ids: Vec<&str> = measured.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids[..4], ["pass1_doc0", "pass1_doc1", "pass1_doc2", "pass2_doc0"]);
        let lengths = filled.iter().map(|(_, body)| {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            tokenizer
                .count(body["messages"][0]["content"].as_str().unwrap())
                .unwrap()
        });
        assert_eq!(Vec::from_iter(lengths), [300, 300, 100]);
        for (at, (_, body)) in measured.iter().enumerate() {
            assert_eq!(*body, filled[at % 3].1, "the same text in every pass");
        }
        assert_ne!(filled[0].1, filled[1].1);
        let mut next = documents.circle(circle, 8, 1);
        let fresh = sent(&mut *next, Phase::Warmup);
        assert!(
            fresh
                .iter()
                .all(|(_, body)| filled.iter().all(|(_, other)| other != body))
        );
    }

    #[test]
    fn made_up_words_are_as_many_as_the_tokens_they_come_to() {
        let tokenizer = crate::engine::tokens::testing::counting(|text| 3 * text.split(' ').count() as u64);
        let config = config(&["--staircase"]);
        let documents = Documents::new(&config, &tokenizer).unwrap();
        let body = documents.body(0, 300);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let text = body["messages"][0]["content"].as_str().unwrap();
        assert_eq!(text.split(' ').count(), 100);
    }
}
