//! long-doc-qa: questions about documents that the warmup has sent. Must never hold a document longer than its request.

use super::body::Bodies;
use super::filler::{fitted, repeated};
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::config::{EngineConfig, LongDocQa};
use crate::engine::flags::ShufflePolicy;
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

const QUESTIONS: [&str; 4] = [
    "What is this document about?",
    "Summarize the key points.",
    "What is the main topic discussed?",
    "Provide a brief overview.",
];
/// What the reference allows for the document's first words.
const HEAD_WORDS: u64 = 10;

struct Questions {
    settings: LongDocQa,
    bodies: Bodies,
    filler_words: u64,
    /// (document, question) in the order of sending.
    schedule: Vec<(u32, u32)>,
}

pub(super) fn create(
    config: &EngineConfig,
    settings: &LongDocQa,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Workload>, Error> {
    let words = settings.document_tokens.saturating_sub(HEAD_WORDS).max(1);
    let exact = config.exact_lengths.then_some(tokenizer);
    let filler_words = fitted(exact, settings.document_tokens, words, |words| document(0, words))?;
    let mut questions = Questions {
        settings: settings.clone(),
        bodies: Bodies::new(config),
        filler_words,
        schedule: schedule(config, settings),
    };
    let body_bytes = questions.request(Phase::Measured, 0).body.len();
    Ok(Box::new(Window::new(questions, body_bytes)))
}

fn schedule(config: &EngineConfig, settings: &LongDocQa) -> Vec<(u32, u32)> {
    let (documents, queries) = (settings.documents as u32, settings.queries_per_document as u32);
    let mut schedule: Vec<(u32, u32)> = (0..queries)
        .flat_map(|query| (0..documents).map(move |document| (document, query)))
        .collect();
    if settings.shuffle == ShufflePolicy::Random {
        PythonRandom::new(&config.seed).shuffle(&mut schedule);
    }
    schedule
}

fn document(number: u64, filler_words: u64) -> String {
    format!("Document {number}: {}", repeated("hi", filler_words))
}

impl Sequence for Questions {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        Banner::new("long-doc-qa", 18)
            .line("Documents", settings.documents, "")
            .line("Queries/doc", settings.queries_per_document, "")
            .line("Total requests", self.schedule.len(), "")
            .line("Document length", settings.document_tokens, "tokens")
            .line("Max inflight", settings.in_flight, "")
            .line("Shuffle policy", settings.shuffle.text(), "")
    }

    fn tokens_per_answer(&self) -> u64 {
        self.settings.max_tokens
    }

    fn count(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Warmup => self.settings.documents,
            Phase::Measured => self.schedule.len() as u64,
        }
    }

    fn in_flight_max(&self) -> u64 {
        self.settings.in_flight
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let (id, content, max_tokens) = match phase {
            Phase::Warmup => (format!("warmup_doc{number}"), document(number, self.filler_words), 1),
            Phase::Measured => {
                let (doc, query) = self.schedule[number as usize];
                let mut content = document(u64::from(doc), self.filler_words);
                let text = QUESTIONS[query as usize % QUESTIONS.len()];
                content.push_str(&format!("\n\nQuestion {query}: {text}"));
                (format!("doc{doc}_q{query}"), content, self.settings.max_tokens)
            }
        };
        Request {
            id,
            body: self.bodies.user(&content, max_tokens),
            max_tokens,
            wants_text: false,
            scheduled: None,
        }
    }
}
