//! random-prefill: prompts without answers, all at once. There is no warmup.

use super::body::Bodies;
use super::descriptor::{Descriptor, Support, WorkloadFlag, bounded, count, int, length};
use super::filler::{fitted, repeated};
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::cli::flag::Group;
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

/// What the reference allows for the prompt's first words.
const FIRST_WORDS: u64 = 10;

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "random-prefill",
    about: "Prompts without answers, all at once",
    group: Group {
        title: "Workload random-prefill",
        of_reference: true,
    },
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: false,
    support: Support::Built {
        check: |values, sizes| Settings::resolve(values, sizes).map(drop),
        create,
    },
};

const FLAGS: &[WorkloadFlag] = &[
    WorkloadFlag {
        default: "10000",
        help: "Tokens of one prompt",
        detail: "Words less a fixed allowance, as in LMCache; see `--exact-lengths`.",
        title: "Request length (tokens)",
        about: "Tokens of one prompt.",
        ..int!("rp-request-length")
    },
    WorkloadFlag {
        default: "50",
        help: "Requests, all sent at once",
        detail: "Each asks for one token, so prefill is all that is measured.",
        title: "Number of requests",
        about: "Prompts that are sent at once.",
        ..int!("rp-num-requests")
    },
];

struct Settings {
    requests: u64,
    request_tokens: u64,
}

impl Settings {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<Settings, Error> {
        let requests = count(values, "rp-num-requests")?;
        bounded(requests as f64, "lower --rp-num-requests")?;
        Ok(Settings {
            requests,
            request_tokens: length(values, "rp-request-length")?,
        })
    }
}

struct Prompts {
    settings: Settings,
    bodies: Bodies,
    filler_words: u64,
}

fn create(config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
    let settings = Settings::resolve(&config.workload.values, &config.sizes())?;
    let words = settings.request_tokens.saturating_sub(FIRST_WORDS).max(1);
    let exact = config.exact_lengths.then_some(tokenizer);
    let mut prompts = Prompts {
        filler_words: fitted(exact, settings.request_tokens, words, |words| prompt(0, words))?,
        bodies: Bodies::new(config),
        settings,
    };
    let body_bytes = prompts.request(Phase::Measured, 0).body.len();
    Ok(Box::new(Window::new(prompts, body_bytes)))
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

    fn tokens_per_answer(&self) -> u64 {
        1
    }

    fn count(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Warmup => 0,
            Phase::Measured => self.settings.requests,
        }
    }

    fn in_flight_max(&self) -> u64 {
        self.settings.requests
    }

    fn request(&mut self, _: Phase, number: u64) -> Request {
        Request {
            id: format!("prefill_{number}"),
            body: self.bodies.user(&prompt(number, self.filler_words), 1),
            max_tokens: 1,
            wants_text: false,
            scheduled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    #[test]
    fn too_many_requests_are_refused() {
        let values = given(&["--rp-num-requests", "10000001"]);
        let error = Settings::resolve(&values, &Sizes::new(100.0, 6553))
            .err()
            .expect("a refusal");
        assert!(error.to_string().contains("10000001 requests"), "{error}");
    }
}
