//! long-doc-permutator: the same documents in every prompt, each time in another order. Documents are drawn anew for every
//! body; must never hold more text than the body at hand.

use super::body::Bodies;
use super::filler::repeated;
use super::permutations::{chosen, factorial};
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::config::{EngineConfig, LongDocPermutator};
use crate::engine::flags::PermutationOrder;
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::WordPool;
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

/// Words that documents are drawn from.
const POOL_WORDS: usize = 8000;
const WARMUP_WORDS: u64 = 500;
/// More permutations than this would not fit a schedule in memory.
const PLACES_MAX: u128 = 100_000_000;

struct Permutator {
    settings: LongDocPermutator,
    bodies: Bodies,
    pool: WordPool,
    seed: BigInt,
    permutations: Vec<Vec<usize>>,
    tokens_per_request: u64,
}

pub(super) fn create(
    config: &EngineConfig,
    settings: &LongDocPermutator,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Workload>, Error> {
    let contexts = settings.contexts as u128;
    let count = u128::from(settings.permutations_max).min(factorial(settings.contexts as usize));
    if count * contexts > PLACES_MAX {
        return Err(Error::Settings(format!(
            "--ldp-num-permutations: {count} permutations of {contexts} documents are too many for one run; lower it"
        )));
    }
    let pool = WordPool::build(tokenizer, &config.model, POOL_WORDS, &config.seed)?;
    let mut rng = PythonRandom::new(&config.seed);
    let mut permutations = chosen(settings.contexts as usize, count as usize, &mut rng);
    if settings.order == PermutationOrder::Random {
        PythonRandom::new(&config.seed).shuffle(&mut permutations);
    }
    let mut permutator = Permutator {
        settings: settings.clone(),
        bodies: Bodies::new(config),
        pool,
        seed: config.seed.clone(),
        permutations,
        tokens_per_request: 0,
    };
    let (system, user) = (permutator.system_prompt(), permutator.user_message(0));
    permutator.tokens_per_request = tokenizer.count(&user)? + system.map_or(Ok(0), |text| tokenizer.count(&text))?;
    let body_bytes = permutator.request(Phase::Measured, 0).body.len();
    Ok(Box::new(Window::new(permutator, body_bytes)))
}

impl Permutator {
    fn text(&self, seed: &BigInt, tokens: u64) -> String {
        self.pool.text(tokens, &mut PythonRandom::new(seed))
    }

    fn system_prompt(&self) -> Option<String> {
        let tokens = self.settings.system_prompt_tokens;
        (tokens > 0).then(|| self.text(&self.seed, tokens))
    }

    fn user_message(&self, number: usize) -> String {
        let mut message = String::new();
        for (at, &context) in self.permutations[number].iter().enumerate() {
            if at > 0 {
                message.push_str("\n\n");
            }
            let seed = self.seed.plus(1 + context as u64);
            message.push_str(&self.text(&seed, self.settings.context_tokens));
        }
        message
    }
}

impl Sequence for Permutator {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        let possible = match factorial(settings.contexts as usize) {
            u128::MAX => "(of very many possible)".to_string(),
            all => format!("(of {all} possible)"),
        };
        Banner::new("long-doc-permutator", 21)
            .line("Contexts", settings.contexts, "")
            .line("Context length", settings.context_tokens, "tokens")
            .line("System prompt", settings.system_prompt_tokens, "tokens")
            .line("Permutations", self.permutations.len(), &possible)
            .line("Total requests", self.permutations.len(), "")
            .line("Tokens per request", self.tokens_per_request, "(measured)")
            .line("Vocab size", POOL_WORDS, "")
            .line("Max inflight", settings.in_flight, "")
            .line("Max output length", settings.max_tokens, "tokens")
    }

    fn tokens_per_answer(&self) -> u64 {
        self.settings.max_tokens
    }

    fn count(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Warmup => 1,
            Phase::Measured => self.permutations.len() as u64,
        }
    }

    fn in_flight_max(&self) -> u64 {
        self.settings.in_flight
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let (id, system, user, max_tokens) = match phase {
            Phase::Warmup => (
                format!("warmup_{number}"),
                Some("You are a helpful assistant.".to_string()),
                repeated("warmup", WARMUP_WORDS),
                1,
            ),
            Phase::Measured => (
                format!("perm{number}_req{number}"),
                self.system_prompt(),
                self.user_message(number as usize),
                self.settings.max_tokens,
            ),
        };
        let system = system.as_deref().map(|text| ("system", text));
        Request {
            id,
            body: self
                .bodies
                .build(system.into_iter().chain([("user", user.as_str())]), max_tokens),
            max_tokens,
            wants_text: false,
            scheduled: None,
        }
    }
}
