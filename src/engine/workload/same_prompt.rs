//! same-prompt: one prompt again and again, so that every request but the first finds it in the cache.

use super::body::Bodies;
use super::descriptor::{Descriptor, Settings, Support, WorkloadFlag, bounded, count, int, length};
use super::filler::{fitted, repeated};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::cli::flag::Group;
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "same-prompt",
    about: "One prompt again and again",
    group: Group {
        title: "Workload same-prompt",
        of_reference: false,
    },
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: true,
    support: Support::built::<SamePrompt>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("sp-prompt-length", "10000")
        .help("Tokens of the prompt", "Words; see `--exact-lengths`.")
        .question("Prompt length (tokens)", "Tokens of the prompt."),
    int!("sp-num-requests", "50")
        .help("Requests to send", "All have the same prompt.")
        .question("Number of requests", "Requests with the same prompt."),
    int!("sp-num-inflight-requests", "1")
        .help("Requests in flight", "The next one is sent as soon as any one ends.")
        .question("Max inflight requests", "How many requests may be in flight."),
    int!("sp-max-output-length", "16")
        .help("Tokens of an answer", "With `1` only prefill is measured.")
        .question("Max output length (tokens)", "Tokens of an answer."),
];

struct SamePrompt {
    prompt_tokens: u64,
    requests: u64,
    in_flight: u64,
    max_tokens: u64,
}

impl Settings for SamePrompt {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<SamePrompt, Error> {
        let requests = count(values, "sp-num-requests")?;
        bounded(requests as f64, "lower --sp-num-requests")?;
        Ok(SamePrompt {
            prompt_tokens: length(values, "sp-prompt-length")?,
            requests,
            in_flight: count(values, "sp-num-inflight-requests")?,
            max_tokens: count(values, "sp-max-output-length")?,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let exact = config.exact_lengths.then_some(tokenizer);
        let text = |words| repeated("hi", words);
        let words = fitted(exact, self.prompt_tokens, self.prompt_tokens, text)?;
        let body = Bodies::new(config).user(&text(words), self.max_tokens);
        let bytes = body.len();
        Ok(Box::new(Window::new(Prompts { settings: self, body }, bytes)))
    }
}

struct Prompts {
    settings: SamePrompt,
    body: Vec<u8>,
}

impl Sequence for Prompts {
    fn banner(&self) -> Banner {
        Banner::new(DESCRIPTOR.name, 18)
            .line("Requests", self.settings.requests, "")
            .line("Prompt length", self.settings.prompt_tokens, "tokens")
            .line("Max inflight", self.settings.in_flight, "")
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: 0,
            measured: self.settings.requests,
            in_flight: self.settings.in_flight,
            tokens_per_answer: self.settings.max_tokens,
        }
    }

    fn request(&mut self, _: Phase, number: u64) -> Request {
        Request::new(format!("same_{number}"), self.body.clone(), self.settings.max_tokens)
    }
}
