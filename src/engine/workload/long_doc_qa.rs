//! long-doc-qa: questions about documents that the warmup has sent. A document is made for each request anew, so memory
//! holds one at a time.

use super::body::Bodies;
use super::descriptor::{Descriptor, Support, WorkloadFlag, bounded, choice, count, int, length, pool_size};
use super::filler::{fitted, repeated};
use super::window::{Sequence, Window};
use super::{Phase, Request, WORKLOADS, Workload};
use crate::choices;
use crate::cli::flag::Group;
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
    group: Group {
        title: "Workload long-doc-qa",
        of_reference: true,
    },
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: true,
    support: Support::Built {
        check: |values, sizes| Settings::resolve(values, sizes).map(drop),
        create,
    },
};

const FLAGS: &[WorkloadFlag] = &[
    WorkloadFlag {
        default: "10000",
        help: "Tokens of one document",
        detail: "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
        title: "Document length (tokens)",
        about: "Tokens of one document.",
        ..int!("ldqa-document-length")
    },
    WorkloadFlag {
        default: "2",
        help: "Questions about each document",
        detail: "The documents are sent once in the warmup.",
        title: "Queries per document",
        about: "Questions about each document.",
        ..int!("ldqa-query-per-document")
    },
    WorkloadFlag {
        default: "random",
        help: "Order of the requests",
        detail: "`random` shuffles all questions with the seed; `tile` asks every document its first question, then \
                 its second.",
        title: "Shuffle policy",
        about: "The order of the requests.",
        ..choice!(
            "ldqa-shuffle-policy",
            ShufflePolicy,
            "POLICY",
            &[
                "All questions in random order",
                "One question to every document, then the next",
            ]
        )
    },
    WorkloadFlag {
        default: "3",
        help: "Requests in flight",
        detail: "The next one is sent as soon as any one ends.",
        title: "Max inflight requests",
        about: "How many requests may be in flight.",
        ..int!("ldqa-num-inflight-requests")
    },
    WorkloadFlag {
        default: "128",
        help: "Tokens of an answer",
        detail: "Another value than the default is refused for workloads whose answers have one token.",
        title: "Max output length (tokens)",
        about: "Tokens of an answer.",
        ..int!("ldqa-max-output-length")
    },
];

struct Settings {
    documents: u64,
    document_tokens: u64,
    queries_per_document: u64,
    shuffle: ShufflePolicy,
    in_flight: u64,
    max_tokens: u64,
}

impl Settings {
    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<Settings, Error> {
        let document_tokens = length(values, "ldqa-document-length")?;
        let queries_per_document = count(values, "ldqa-query-per-document")?;
        let advice = "lower --kv-cache-volume or --ldqa-query-per-document, or raise --ldqa-document-length";
        let documents = pool_size(sizes.kv_tokens / document_tokens as f64);
        bounded(documents * queries_per_document as f64, advice)?;
        Ok(Settings {
            documents: documents as u64,
            document_tokens,
            queries_per_document,
            shuffle: values.choice("ldqa-shuffle-policy", ShufflePolicy::from_text)?,
            in_flight: count(values, "ldqa-num-inflight-requests")?,
            max_tokens: count(values, "ldqa-max-output-length")?,
        })
    }
}

/// Refuses a length of answers for a workload whose answers have one token, the one check that the reference makes across
/// workloads. It goes by this workload's flag, whichever runs.
pub(super) fn check_answer_length(workload: &Descriptor, values: &WorkloadValues) -> Result<(), Error> {
    let default = FLAGS
        .iter()
        .find(|flag| flag.long == ANSWER_LENGTH)
        .map(|flag| flag.default);
    let given = values.int(ANSWER_LENGTH)?.to_string();
    if workload.sets_answer_length || Some(given.as_str()) == default {
        return Ok(());
    }
    let supported = WORKLOADS.iter().filter(|workload| workload.sets_answer_length);
    let supported: Vec<&str> = supported.map(|workload| workload.name).collect();
    Err(Error::Settings(format!(
        "--{ANSWER_LENGTH} {given} does not go with the workload {}, which has no max-output-length parameter; leave it \
         out, or take one of {}",
        workload.name,
        supported.join(", ")
    )))
}

struct Questions {
    settings: Settings,
    bodies: Bodies,
    filler_words: u64,
    /// (document, question) in the order of sending.
    schedule: Vec<(u32, u32)>,
}

fn create(config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
    let settings = Settings::resolve(&config.workload.values, &config.sizes())?;
    let words = settings.document_tokens.saturating_sub(FIRST_WORDS).max(1);
    let exact = config.exact_lengths.then_some(tokenizer);
    let filler_words = fitted(exact, settings.document_tokens, words, |words| document(0, words))?;
    let mut questions = Questions {
        bodies: Bodies::new(config),
        filler_words,
        schedule: schedule(config, &settings),
        settings,
    };
    let body_bytes = questions.request(Phase::Measured, 0).body.len();
    Ok(Box::new(Window::new(questions, body_bytes)))
}

fn schedule(config: &EngineConfig, settings: &Settings) -> Vec<(u32, u32)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    fn resolved(words: &[&str], kv_cache_gb: f64) -> Result<Settings, Error> {
        Settings::resolve(&given(words), &Sizes::new(kv_cache_gb, 6553))
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
