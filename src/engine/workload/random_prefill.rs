//! random-prefill: prompts without answers, all at once. There is no warmup.

use super::body::Bodies;
use super::descriptor::{Descriptor, Settings, Support, WorkloadFlag, bounded, count, int, length, lmcache_group};
use super::filler::{fitted, repeated};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

/// What the reference allows for the prompt's first words.
const FIRST_WORDS: u64 = 10;
/// More than a step of a sweep sends.
const STEP_REQUESTS: u64 = 1_000_000_000;

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "random-prefill",
    about: "Prompts without answers, all at once",
    group: lmcache_group("Workload random-prefill"),
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: false,
    chat_only: false,
    support: Support::built::<RandomPrefill>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("rp-request-length", "10000")
        .help(
            "Tokens of one prompt",
            "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
        )
        .question("Request length (tokens)", "Tokens of one prompt."),
    int!("rp-num-requests", "50")
        .help(
            "Requests, all sent at once",
            "Each asks for one token, so prefill is all that is measured.",
        )
        .question("Number of requests", "Prompts that are sent at once."),
];

struct RandomPrefill {
    requests: u64,
    request_tokens: u64,
}

impl Settings for RandomPrefill {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<RandomPrefill, Error> {
        let requests = count(values, "rp-num-requests")?;
        bounded(requests as f64, "lower --rp-num-requests")?;
        Ok(RandomPrefill {
            requests,
            request_tokens: length(values, "rp-request-length")?,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let words = self.request_tokens.saturating_sub(FIRST_WORDS).max(1);
        let exact = config.exact_lengths.then_some(tokenizer);
        let mut prompts = Prompts {
            filler_words: fitted(exact, self.request_tokens, words, |words| prompt(0, words))?,
            bodies: Bodies::new(config),
            first: config.step * STEP_REQUESTS,
            settings: self,
        };
        let body_bytes = prompts.request(Phase::Measured, 0).body.len();
        Ok(Box::new(Window::new(prompts, body_bytes)))
    }
}

struct Prompts {
    settings: RandomPrefill,
    bodies: Bodies,
    /// The number in the text of request 0: other steps of a sweep have other texts.
    first: u64,
    filler_words: u64,
}

fn prompt(number: u64, filler_words: u64) -> String {
    format!("Request {number}: {}", repeated("hi", filler_words))
}

impl Sequence for Prompts {
    fn banner(&self) -> Banner {
        Banner::new(DESCRIPTOR.name, 18)
            .line("Requests", self.settings.requests, "")
            .line("Request length", self.settings.request_tokens, "tokens")
            .line("Max output", 1, "token")
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: 0,
            warmup_in_flight: 1,
            measured: self.settings.requests,
            in_flight: self.settings.requests,
            tokens_per_answer: 1,
        }
    }

    fn is_endless(&self) -> bool {
        true
    }

    fn request(&mut self, _: Phase, number: u64) -> Request {
        Request::new(
            format!("prefill_{number}"),
            self.bodies.user(&prompt(self.first + number, self.filler_words), 1),
            1,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    #[test]
    fn too_many_requests_are_refused() {
        let values = given(&["--rp-num-requests", "10000001"]);
        let error = RandomPrefill::resolve(&values, &Sizes::new(100.0, 6553))
            .err()
            .expect("a refusal");
        assert!(error.to_string().contains("10000001 requests"), "{error}");
    }
}
