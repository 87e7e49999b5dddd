//! long-doc-permutator: the same documents in every prompt, each time in another order. Documents are drawn anew for every
//! body, so memory holds one body at a time.

use super::body::Bodies;
use super::descriptor::{
    Descriptor, LENGTH_MAX, Settings, Support, WorkloadFlag, choice, count, int, length, lmcache_group,
};
use super::filler::repeated;
use super::permutations::{chosen, factorial};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::choices;
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::{QUESTIONS_PER_TEXT, WordPool};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

/// Words that documents are drawn from.
const POOL_WORDS: usize = 8000;
const WARMUP_WORDS: u64 = 500;
/// Numbers in all permutations together: more would not fit a schedule in memory.
const PLACES_MAX: u128 = 100_000_000;

choices! {
    /// The order of the permutations.
    pub enum PermutationOrder ("order") {
        Sorted = "sorted",
        Random = "random",
    }
}

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "long-doc-permutator",
    about: "The same documents in every prompt, in another order",
    group: lmcache_group("Workload long-doc-permutator"),
    flags: FLAGS,
    added_flags: ADDED_FLAGS,
    prompt_text: PromptText::SingleTokens,
    sets_answer_length: true,
    chat_only: false,
    support: Support::built::<LongDocPermutator>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("ldp-num-contexts", "5")
        .help(
            "Documents in every request",
            "All of them are in every prompt, in different orders.",
        )
        .question("Number of contexts", "Documents in every prompt."),
    int!("ldp-context-length", "5000")
        .help(
            "Tokens of one document",
            "Exact: the words are single tokens of the model's or the engine's tokenizer. Where neither can be had, words \
             are made up as in LMCache 0.5.2, and a warning says so.",
        )
        .question("Context length (tokens)", "Tokens of one document."),
    int!("ldp-system-prompt-length", "1000")
        .help(
            "Tokens of the system prompt",
            "It is the same in every request; with `0` there is none.",
        )
        .question(
            "System prompt length (tokens)",
            "Tokens of the prompt before the documents; 0 for none.",
        ),
    int!("ldp-num-permutations", "10")
        .help(
            "Requests to send, each with another order",
            "At most N! for N documents.",
        )
        .question(
            "Number of permutations",
            "Requests, each with another order: at most N! for N documents.",
        ),
    int!("ldp-num-inflight-requests", "1")
        .help("Requests in flight", "The next one is sent as soon as any one ends.")
        .question("Max inflight requests", "How many requests may be in flight."),
    int!("ldp-max-output-length", "128")
        .help("Tokens of an answer", "With `1` only prefill is measured.")
        .question(
            "Max output length (tokens)",
            "Tokens of an answer; 1 leaves prefill alone.",
        ),
];

const ADDED_FLAGS: &[WorkloadFlag] = &[choice!("ldp-order", "ORDER", "sorted", PermutationOrder, &[]).help(
    "Order of the permutations",
    "`sorted` is LMCache's: neighbours share long beginnings, which flatters plain prefix caching. `random` shuffles them \
     with the seed.",
)];

struct LongDocPermutator {
    contexts: u64,
    context_tokens: u64,
    system_prompt_tokens: u64,
    permutations_max: u64,
    in_flight: u64,
    max_tokens: u64,
    order: PermutationOrder,
}

impl Settings for LongDocPermutator {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<LongDocPermutator, Error> {
        let settings = LongDocPermutator {
            contexts: count(values, "ldp-num-contexts")?,
            context_tokens: length(values, "ldp-context-length")?,
            permutations_max: count(values, "ldp-num-permutations")?,
            in_flight: count(values, "ldp-num-inflight-requests")?,
            max_tokens: count(values, "ldp-max-output-length")?,
            // Below 0 means none, as in the reference.
            system_prompt_tokens: if values.int("ldp-system-prompt-length")? <= 0 {
                0
            } else {
                length(values, "ldp-system-prompt-length")?
            },
            order: values.choice("ldp-order", PermutationOrder::from_text)?,
        };
        let text = settings.contexts as f64 * settings.context_tokens as f64;
        if text > LENGTH_MAX as f64 {
            return Err(Error::Settings(format!(
                "--ldp-num-contexts x --ldp-context-length makes prompts of {text} tokens; at most {LENGTH_MAX} can be sent"
            )));
        }
        Ok(settings)
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let contexts = self.contexts as u128;
        let count = u128::from(self.permutations_max).min(factorial(self.contexts as usize));
        if count * contexts > PLACES_MAX {
            return Err(Error::Settings(format!(
                "--ldp-num-permutations: {count} permutations of {contexts} documents are too many for one run; lower it"
            )));
        }
        let pool = WordPool::build_or_make_up(tokenizer, &config.model, POOL_WORDS, &config.seed)?;
        let mut rng = PythonRandom::new(&config.seed);
        let mut permutations = chosen(self.contexts as usize, count as usize, &mut rng);
        if self.order == PermutationOrder::Random {
            PythonRandom::new(&config.seed).shuffle(&mut permutations);
        }
        let mut permutator = Permutator {
            settings: self,
            bodies: Bodies::new(config),
            pool,
            seed: config.seed.clone(),
            permutations,
            tokens_per_request: 0,
            tokens_remark: match tokenizer {
                Tokenizer::Words(_) => "(words, not tokens)",
                _ => "(measured)",
            },
        };
        permutator.fit_texts(tokenizer)?;
        let (system, user) = (permutator.system_prompt(), permutator.user_message(0));
        permutator.tokens_per_request =
            tokenizer.count(&user)? + system.map_or(Ok(0), |text| tokenizer.count(&text))?;
        let body_bytes = permutator.request(Phase::Measured, 0).body.len();
        Ok(Box::new(Window::new(permutator, body_bytes)))
    }
}

struct Permutator {
    settings: LongDocPermutator,
    bodies: Bodies,
    pool: WordPool,
    seed: BigInt,
    permutations: Vec<Vec<usize>>,
    tokens_per_request: u64,
    /// What the number before it is.
    tokens_remark: &'static str,
}

impl Permutator {
    fn system_prompt(&self) -> Option<String> {
        let tokens = self.settings.system_prompt_tokens;
        (tokens > 0).then(|| self.pool.system_prompt(tokens, &mut PythonRandom::new(&self.seed)))
    }

    fn document(&self, number: u64) -> String {
        let mut rng = PythonRandom::new(&self.seed.plus(1 + number));
        self.pool.text(self.settings.context_tokens, &mut rng)
    }

    /// Every text is fitted here, because the engine is not asked during the run.
    fn fit_texts(&mut self, tokenizer: &Tokenizer) -> Result<(), Error> {
        if !self.pool.needs_fitting() {
            return Ok(());
        }
        tokenizer.check_texts(
            self.settings.contexts + 1,
            QUESTIONS_PER_TEXT,
            "lower --ldp-num-contexts",
        )?;
        if let Some(text) = self.system_prompt() {
            self.pool.fit(tokenizer, self.settings.system_prompt_tokens, &text)?;
        }
        for number in 0..self.settings.contexts {
            let text = self.document(number);
            self.pool.fit(tokenizer, self.settings.context_tokens, &text)?;
        }
        Ok(())
    }

    fn user_message(&self, number: usize) -> String {
        let mut message = String::new();
        for (at, &context) in self.permutations[number].iter().enumerate() {
            if at > 0 {
                message.push_str("\n\n");
            }
            message.push_str(&self.document(context as u64));
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
        Banner::new(DESCRIPTOR.name, 21)
            .line("Contexts", settings.contexts, "")
            .line("Context length", settings.context_tokens, "tokens")
            .line("System prompt", settings.system_prompt_tokens, "tokens")
            .line("Permutations", self.permutations.len(), &possible)
            .line("Total requests", self.permutations.len(), "")
            .line("Tokens per request", self.tokens_per_request, self.tokens_remark)
            .line("Vocab size", POOL_WORDS, self.pool.remark())
            .line("Max inflight", settings.in_flight, "")
            .line("Max output length", settings.max_tokens, "tokens")
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: 1,
            warmup_in_flight: 1,
            measured: self.permutations.len() as u64,
            in_flight: self.settings.in_flight,
            tokens_per_answer: self.settings.max_tokens,
        }
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
        Request::new(
            id,
            self.bodies
                .build(system.into_iter().chain([("user", user.as_str())]), max_tokens),
            max_tokens,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    #[test]
    fn a_negative_system_prompt_is_none() {
        let values = given(&["--ldp-system-prompt-length", "-3"]);
        let settings = LongDocPermutator::resolve(&values, &Sizes::new(100.0, 6553)).unwrap();
        assert_eq!(settings.system_prompt_tokens, 0);
    }
}
