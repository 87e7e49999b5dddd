//! kv-tier-pressure, as in LMCache 0.5.7: more documents than the memory of the cache server holds, of which each request has a
//! few. Documents are drawn anew for every body, so memory holds one body at a time.

use super::body::Bodies;
use super::descriptor::{
    Descriptor, Input, LENGTH_MAX, Settings, Support, WorkloadFlag, above_zero, bounded, choice, count, float, int,
    length, lmcache_group,
};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::choices;
use crate::cli::flag::Flag;
use crate::cli::range::SETTINGS;
use crate::engine::args::{EngineArgs, WorkloadValue, WorkloadValues};
use crate::engine::config::{EngineConfig, L1Memory, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::WordPool;
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::float_text::fixed;
use crate::python::number;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;
use crate::units::with_commas;

mod draws;

use draws::{Groups, overflows, sweep_group, sweep_requests};

/// Words that documents are drawn from.
const POOL_WORDS: usize = 8000;
/// Documents of one run.
const DOCUMENTS_MAX: u64 = 10_000_000;
const POOL_SIZE: &str = "ktp-pool-size";

choices! {
    /// What happens when all documents fit into L1.
    pub enum Fitting ("choice") {
        Refuse = "refuse",
        Run = "run",
    }
}

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "kv-tier-pressure",
    about: "A few of many documents in every prompt, more than the cache's memory holds",
    group: lmcache_group("Workload kv-tier-pressure"),
    flags: FLAGS,
    added_flags: ADDED_FLAGS,
    prompt_text: PromptText::SingleTokens,
    sets_answer_length: true,
    chat_only: false,
    support: Support::built::<KvTierPressure>(),
};

const FLAGS: &[WorkloadFlag] = &[
    WorkloadFlag::new(
        Flag::value(POOL_SIZE, "N", |args: &mut EngineArgs, text| {
            let given = number::int(text)?;
            if given < 0 {
                return Err(format!("must be 0 or more, got {given}"));
            }
            args.workload_values.set(POOL_SIZE, WorkloadValue::Int(given));
            Ok(())
        })
        .unset("derived from the L1 of the server at `--lmcache-url`"),
        Input::Int,
    )
    .help(
        "Documents in all",
        "Without it, or with `0`, they are as many as make `--ktp-overflow-factor` times the L1 memory of the server at \
         `--lmcache-url`.",
    )
    .question(
        "Document pool size",
        "Documents in all. 0 takes as many as overflow the L1 memory of the\n  LMCache server by the factor below.",
    )
    .with_server("0"),
    float!("ktp-overflow-factor", "2.0")
        .help(
            "Size of all documents in terms of the server's L1 memory",
            "Has an effect only without `--ktp-pool-size`. Above 1 some of them must go to the next tier.",
        )
        .question(
            "Overflow factor",
            "All documents as a multiple of the server's L1 memory, where no number is given.",
        ),
    int!("ktp-docs-per-request", "16")
        .help(
            "Documents in every request",
            "They are drawn for each request. With more than one, only a server that blends can reuse them, because they \
             stand in another order in each prompt; this is checked after the warmup where `--lmcache-url` is given.",
        )
        .question("Documents per request", "How many of them are in a prompt."),
    int!("ktp-context-length", "2560")
        .help(
            "Tokens of one document",
            "Exact: the words are single tokens of the tokenizer, which this workload needs.",
        )
        .question("Document length (tokens)", "Tokens of one document."),
    int!("ktp-system-prompt-length", "256")
        .help(
            "Tokens of the system prompt",
            "It is the same in every request; with `0` there is none.",
        )
        .question(
            "System prompt length (tokens)",
            "Tokens of the prompt before the documents; 0 for none.",
        ),
    int!("ktp-num-requests", "200")
        .help(
            "Measured requests",
            "The warmup, which sends every document once, is not among them.",
        )
        .question("Measured requests", "How many are measured; the warmup comes on top."),
    float!("ktp-access-skew", "0.0")
        .help(
            "How much more often the first documents are drawn",
            "The exponent of Zipf's law: document r has the weight 1 / r^F. `0` draws all equally often.",
        )
        .question("Access skew", "Zipf exponent of how often documents are drawn; 0 for all alike."),
    int!("ktp-num-inflight-requests", "8")
        .help("Requests in flight, also in the warmup", "The next one is sent as soon as any one ends.")
        .question("Max inflight requests", "How many requests may be in flight."),
    int!("ktp-max-output-length", "1")
        .help("Tokens of an answer", "With `1` only prefill is measured.")
        .question(
            "Max output length (tokens)",
            "Tokens of an answer; 1 leaves prefill alone.",
        ),
];

const ADDED_FLAGS: &[WorkloadFlag] = &[choice!("ktp-fitting", "CHOICE", "refuse", Fitting, &[]).help(
    "What happens when all documents fit into L1",
    "Then no other tier is used, and the run would not measure what it is for. `run` is LMCache's: it is not looked at.",
)];

struct KvTierPressure {
    /// `None` where it is derived from the server's memory and that was not asked for.
    documents: Option<u64>,
    docs_per_request: u64,
    context_tokens: u64,
    system_prompt_tokens: u64,
    requests: u64,
    skew: f64,
    in_flight: u64,
    max_tokens: u64,
}

impl Settings for KvTierPressure {
    const ASKS_CACHE: bool = true;

    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<KvTierPressure, Error> {
        let settings = KvTierPressure {
            documents: documents(values, sizes)?,
            docs_per_request: count(values, "ktp-docs-per-request")?,
            context_tokens: length(values, "ktp-context-length")?,
            system_prompt_tokens: SETTINGS.within(
                "--ktp-system-prompt-length",
                values.int("ktp-system-prompt-length")?,
                0..=LENGTH_MAX as i64,
            )?,
            requests: count(values, "ktp-num-requests")?,
            skew: values.float("ktp-access-skew")?,
            in_flight: count(values, "ktp-num-inflight-requests")?,
            max_tokens: count(values, "ktp-max-output-length")?,
        };
        settings.check()?;
        if Fitting::Refuse == values.choice("ktp-fitting", Fitting::from_text)? {
            settings.check_overflow(sizes)?;
        }
        Ok(settings)
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let Some(documents) = self.documents else {
            return Err(underivable("no LMCache server was asked"));
        };
        let words = WordPool::build(tokenizer, &config.model, POOL_WORDS, &config.seed)?;
        let groups = Groups::draw(documents, self.docs_per_request, self.requests, self.skew, &config.seed)?;
        let mut pressure = Pressure {
            sweep_requests: sweep_requests(documents, self.docs_per_request),
            settings: self,
            documents,
            bodies: Bodies::new(config),
            words,
            seed: config.seed.clone(),
            groups,
            tokens_per_request: 0,
        };
        let user = pressure.user_message(pressure.groups.of(0).iter().copied());
        let system = pressure.system_prompt();
        pressure.tokens_per_request = tokenizer.count(&user)? + system.map_or(Ok(0), |text| tokenizer.count(&text))?;
        let body_bytes = pressure.request(Phase::Measured, 0).body.len();
        Ok(Box::new(Window::new(pressure, body_bytes)))
    }
}

/// The number of documents: the given one, or as many as overflow L1 by the factor.
fn documents(values: &WorkloadValues, sizes: &Sizes) -> Result<Option<u64>, Error> {
    let factor = above_zero(values, "ktp-overflow-factor")?;
    let given = match values.get(POOL_SIZE) {
        Some(_) => values.int(POOL_SIZE)?,
        None => 0,
    };
    if given != 0 {
        return SETTINGS
            .within("--ktp-pool-size", given, 1..=DOCUMENTS_MAX as i64)
            .map(Some);
    }
    match &sizes.l1 {
        L1Memory::Unasked => Ok(None),
        L1Memory::Unknown(why) => Err(underivable(why)),
        L1Memory::Gb(gb) => {
            let derived = derived_documents(factor, *gb, sizes.tokens_per_gb, length(values, "ktp-context-length")?);
            if derived <= DOCUMENTS_MAX as f64 {
                return Ok(Some(derived as u64));
            }
            Err(Error::Settings(format!(
                "--ktp-overflow-factor {factor} of {gb:.1} GB makes {derived:.0} documents; at most {DOCUMENTS_MAX} can be \
                 sent, so lower it or raise --ktp-context-length"
            )))
        }
    }
}

/// LMCache's formula, in its order.
fn derived_documents(factor: f64, l1_gb: f64, tokens_per_gb: i64, context_tokens: u64) -> f64 {
    let tokens = factor * l1_gb * tokens_per_gb as f64;
    (tokens / context_tokens as f64).ceil().max(1.0)
}

fn underivable(why: &str) -> Error {
    Error::Settings(format!(
        "--ktp-pool-size is not given and cannot be derived: {why}; give --ktp-pool-size, or the --lmcache-url of a running \
         server"
    ))
}

impl KvTierPressure {
    fn check(&self) -> Result<(), Error> {
        let skew = self.skew;
        if !(skew >= 0.0 && skew.is_finite()) {
            return Err(SETTINGS.refusal("--ktp-access-skew", skew, "a finite number, at least 0"));
        }
        let (docs, context) = (self.docs_per_request, self.context_tokens);
        if docs as f64 * context as f64 > LENGTH_MAX as f64 {
            return Err(Error::Settings(format!(
                "--ktp-docs-per-request x --ktp-context-length makes prompts of {} tokens; at most {LENGTH_MAX} can be sent",
                docs as f64 * context as f64
            )));
        }
        bounded(self.requests as f64, "lower --ktp-num-requests")?;
        let Some(documents) = self.documents else { return Ok(()) };
        if docs > documents {
            return Err(Error::Settings(format!(
                "--ktp-docs-per-request must be at most the number of documents, {documents}, got {docs}; lower it, or raise \
                 --ktp-pool-size"
            )));
        }
        if overflows(documents, skew) {
            return Err(Error::Settings(format!(
                "--ktp-access-skew {skew} is too much for {documents} documents: the last one has no weight; lower it"
            )));
        }
        Ok(())
    }

    /// Refuses documents that L1 holds all at once.
    fn check_overflow(&self, sizes: &Sizes) -> Result<(), Error> {
        let (Some(documents), L1Memory::Gb(gb)) = (self.documents, &sizes.l1) else {
            return Ok(());
        };
        let room = gb * sizes.tokens_per_gb as f64;
        let tokens = documents * self.context_tokens;
        if tokens as f64 > room {
            return Ok(());
        }
        Err(Error::Settings(format!(
            "all {documents} documents of {} tokens fit into the server's L1 of {gb:.2} GB, about {room:.0} tokens, so no \
             other tier would be used; raise --ktp-pool-size (or --ktp-overflow-factor above 1), or give --ktp-fitting run",
            self.context_tokens
        )))
    }
}

struct Pressure {
    settings: KvTierPressure,
    documents: u64,
    sweep_requests: u64,
    bodies: Bodies,
    words: WordPool,
    seed: BigInt,
    groups: Groups,
    tokens_per_request: u64,
}

impl Pressure {
    /// A text of its own for each `offset` from the seed.
    fn text(&self, offset: u64, tokens: u64) -> String {
        self.words
            .chosen(tokens, &mut PythonRandom::new(&self.seed.plus(offset)))
    }

    fn system_prompt(&self) -> Option<String> {
        let tokens = self.settings.system_prompt_tokens;
        (tokens > 0).then(|| self.text(2, tokens))
    }

    fn user_message(&self, documents: impl Iterator<Item = u32>) -> String {
        let mut message = String::new();
        for (at, document) in documents.enumerate() {
            if at > 0 {
                message.push_str("\n\n");
            }
            message.push_str(&self.text(1 + u64::from(document), self.settings.context_tokens));
        }
        message
    }

    fn working_set_tokens(&self) -> u64 {
        self.documents * self.settings.context_tokens
    }
}

impl Sequence for Pressure {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        let passes = (settings.requests * settings.docs_per_request) as f64 / self.documents as f64;
        let passes = format!("({} passes over the pool)", fixed(passes, 1));
        Banner::new(DESCRIPTOR.name, 21)
            .line("Document pool", self.documents, "documents")
            .line("Document length", settings.context_tokens, "tokens")
            .line("Docs per request", settings.docs_per_request, "")
            .line("System prompt", settings.system_prompt_tokens, "tokens")
            .line("Working set", with_commas(self.working_set_tokens()), "tokens")
            .line("Access skew", fixed(settings.skew, 2), "(0 = uniform)")
            .line("Warm-up sweep", self.sweep_requests, "requests (every document once)")
            .line("Measured requests", settings.requests, &passes)
            .line("Tokens per request", self.tokens_per_request, "(measured)")
            .line("Vocab size", POOL_WORDS, "")
            .line("Max inflight", settings.in_flight, "")
            .line("Max output length", settings.max_tokens, "tokens")
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: self.sweep_requests,
            warmup_in_flight: self.settings.in_flight,
            measured: self.settings.requests,
            in_flight: self.settings.in_flight,
            tokens_per_answer: self.settings.max_tokens,
        }
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let (id, user, max_tokens) = match phase {
            Phase::Warmup => {
                let group = sweep_group(self.documents, self.settings.docs_per_request, number);
                (format!("warm{number}"), self.user_message(group), 1)
            }
            Phase::Measured => {
                let group = self.groups.of(number).iter().copied();
                (
                    format!("sample{number}"),
                    self.user_message(group),
                    self.settings.max_tokens,
                )
            }
        };
        let system = self.system_prompt();
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
mod tests;
