//! random-prefill: prompts without answers, all at once. There is no warmup.

use super::body::Bodies;
use super::filler::{fitted, repeated};
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::config::{EngineConfig, RandomPrefill};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

/// What the reference allows for the prompt's first words.
const HEAD_WORDS: u64 = 10;

struct Prompts {
    settings: RandomPrefill,
    bodies: Bodies,
    filler_words: u64,
}

pub(super) fn create(
    config: &EngineConfig,
    settings: &RandomPrefill,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Workload>, Error> {
    let words = settings.request_tokens.saturating_sub(HEAD_WORDS).max(1);
    let exact = config.exact_lengths.then_some(tokenizer);
    let mut prompts = Prompts {
        settings: settings.clone(),
        bodies: Bodies::new(config),
        filler_words: fitted(exact, settings.request_tokens, words, |words| prompt(0, words))?,
    };
    let body_bytes = prompts.request(Phase::Measured, 0).body.len();
    Ok(Box::new(Window::new(prompts, body_bytes)))
}

fn prompt(number: u64, filler_words: u64) -> String {
    format!("Request {number}: {}", repeated("hi", filler_words))
}

impl Sequence for Prompts {
    fn banner(&self) -> Banner {
        Banner::new("random-prefill", 18)
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
