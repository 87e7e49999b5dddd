//! long-doc-qa: questions about documents that the warmup has sent. A document is made for each request anew, so memory
//! holds one at a time.

use super::body::Bodies;
use super::descriptor::{
    Descriptor, Settings, Support, WorkloadFlag, bounded, choice, count, int, length, lmcache_group, pool_size,
};
use super::filler::{fitted, repeated};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, WORKLOADS, Workload};
use crate::choices;
use crate::cli::flag::Preset;
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
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
const FIRST_WORDS: u64 = 10;
const ANSWER_LENGTH: &str = "ldqa-max-output-length";

choices! {
    /// The order of the requests.
    pub enum ShufflePolicy ("policy") {
        Random = "random",
        Tile = "tile",
    }
}

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "long-doc-qa",
    about: "Questions about documents that the cache has seen",
    group: lmcache_group("Workload long-doc-qa"),
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: true,
    chat_only: false,
    support: Support::built::<LongDocQa>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("ldqa-document-length", "10000")
        .help(
            "Tokens of one document",
            "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
        )
        .question("Document length (tokens)", "Tokens of one document."),
    int!("ldqa-query-per-document", "2")
        .help(
            "Questions about each document",
            "The documents are sent once in the warmup.",
        )
        .question("Queries per document", "Questions about each document."),
    choice!(
        "ldqa-shuffle-policy",
        "POLICY",
        "random",
        ShufflePolicy,
        &[
            "All questions in random order",
            "One question to every document, then the next",
        ]
    )
    .help(
        "Order of the requests",
        "`random` shuffles all questions with the seed; `tile` asks every document its first question, then \
         its second.",
    )
    .question("Shuffle policy", "The order of the requests."),
    int!("ldqa-num-inflight-requests", "3")
        .help("Requests in flight", "The next one is sent as soon as any one ends.")
        .question("Max inflight requests", "How many requests may be in flight."),
    int!("ldqa-max-output-length", "128")
        .help(
            "Tokens of an answer",
            "Another value than the default is refused for workloads whose answers have one token.",
        )
        .question("Max output length (tokens)", "Tokens of an answer."),
];

struct LongDocQa {
    documents: u64,
    document_tokens: u64,
    queries_per_document: u64,
    shuffle: ShufflePolicy,
    in_flight: u64,
    max_tokens: u64,
}

impl Settings for LongDocQa {
    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<LongDocQa, Error> {
        let document_tokens = length(values, "ldqa-document-length")?;
        let queries_per_document = count(values, "ldqa-query-per-document")?;
        let advice = "lower --kv-cache-volume or --ldqa-query-per-document, or raise --ldqa-document-length";
        let documents = pool_size(sizes.kv_tokens / document_tokens as f64);
        bounded(documents * queries_per_document as f64, advice)?;
        Ok(LongDocQa {
            documents: documents as u64,
            document_tokens,
            queries_per_document,
            shuffle: values.choice("ldqa-shuffle-policy", ShufflePolicy::from_text)?,
            in_flight: count(values, "ldqa-num-inflight-requests")?,
            max_tokens: count(values, "ldqa-max-output-length")?,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let words = self.document_tokens.saturating_sub(FIRST_WORDS).max(1);
        let exact = config.exact_lengths.then_some(tokenizer);
        let filler_words = fitted(exact, self.document_tokens, words, |words| document(0, words))?;
        let mut questions = Questions {
            bodies: Bodies::new(config),
            filler_words,
            schedule: schedule(config, &self),
            first_document: config.step * self.documents,
            settings: self,
        };
        let body_bytes = questions.request(Phase::Measured, 0).body.len();
        Ok(Box::new(Window::new(questions, body_bytes)))
    }
}

/// Refuses a length of answers for a workload whose answers have one token. LMCache checks `--ldqa-max-output-length` for every
/// workload: only the default is accepted there.
pub(super) fn check_answer_length(workload: &Descriptor, values: &WorkloadValues) -> Result<(), Error> {
    let given = values.int(ANSWER_LENGTH)?.to_string();
    let is_default = FLAGS.iter().any(|flag| {
        flag.row.spec.long == ANSWER_LENGTH && matches!(flag.row.spec.preset, Preset::Text(default) if default == given)
    });
    if workload.sets_answer_length || is_default {
        return Ok(());
    }
    let supported = WORKLOADS.iter().filter(|workload| workload.sets_answer_length);
    let supported: Vec<&str> = supported.map(|workload| workload.name).collect();
    Err(Error::Settings(format!(
        "--{ANSWER_LENGTH} {given} does not go with the workload {}, which does not use it; leave it \
         out, or take one of {}",
        workload.name,
        supported.join(", ")
    )))
}

struct Questions {
    settings: LongDocQa,
    bodies: Bodies,
    filler_words: u64,
    /// The number in the text of document 0: other steps of a sweep have other documents.
    first_document: u64,
    /// (document, question) in the order of sending.
    schedule: Vec<(u32, u32)>,
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
        Banner::new(DESCRIPTOR.name, 18)
            .line("Documents", settings.documents, "")
            .line("Queries/doc", settings.queries_per_document, "")
            .line("Total requests", self.schedule.len(), "")
            .line("Document length", settings.document_tokens, "tokens")
            .line("Max inflight", settings.in_flight, "")
            .line("Shuffle policy", settings.shuffle.text(), "")
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: self.settings.documents,
            warmup_in_flight: 1,
            measured: self.schedule.len() as u64,
            in_flight: self.settings.in_flight,
            tokens_per_answer: self.settings.max_tokens,
        }
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let (id, content, max_tokens) = match phase {
            Phase::Warmup => (
                format!("warmup_doc{number}"),
                document(self.first_document + number, self.filler_words),
                1,
            ),
            Phase::Measured => {
                let (doc, query) = self.schedule[number as usize];
                let mut content = document(self.first_document + u64::from(doc), self.filler_words);
                let text = QUESTIONS[query as usize % QUESTIONS.len()];
                content.push_str(&format!("\n\nQuestion {query}: {text}"));
                (format!("doc{doc}_q{query}"), content, self.settings.max_tokens)
            }
        };
        Request::new(id, self.bodies.user(&content, max_tokens), max_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    fn resolved(words: &[&str], kv_cache_gb: f64) -> Result<LongDocQa, Error> {
        LongDocQa::resolve(&given(words), &Sizes::new(kv_cache_gb, 6553))
    }

    fn refusal(words: &[&str], kv_cache_gb: f64) -> String {
        resolved(words, kv_cache_gb).err().expect("a refusal").to_string()
    }

    #[test]
    fn documents_fill_the_volume() {
        let settings = resolved(&[], 100.0).unwrap();
        assert_eq!((settings.documents, settings.in_flight), (65, 3));
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let zero = refusal(&["--ldqa-document-length", "0"], 100.0);
        assert_eq!(zero, "--ldqa-document-length must be at least 1, got 0");
        let long = refusal(&["--ldqa-document-length", "100000001"], 100.0);
        assert_eq!(long, "--ldqa-document-length must be at most 100000000, got 100000001");
        assert!(refusal(&[], 1e300).contains("lower --kv-cache-volume"));
    }
}
