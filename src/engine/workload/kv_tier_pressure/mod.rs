//! kv-tier-pressure, as in LMCache 0.5.7: more documents than the memory of the cache server holds, of which each request has a
//! few. Documents are drawn anew for every body, so memory holds one body at a time.

use super::body::Bodies;
use super::descriptor::{Descriptor, LENGTH_MAX, Settings, Support, above_zero, bounded, count, length, lmcache_group};
use super::window::{Counts, Sequence, Window};
use super::{Conclusion, Finished, Moment, Phase, Request, Workload};
use crate::cli::range::SETTINGS;
use crate::engine::args::WorkloadValues;
use crate::engine::ask::lookups::LookupCounts;
use crate::engine::config::{EngineConfig, L1Memory, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::{QUESTIONS_PER_TEXT, WordPool};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::float_text::{fixed, round};
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;
use crate::result::model::{Entry, Section};
use crate::units::with_commas;

mod draws;
mod flags;
mod warning;
mod watch;

use draws::{Groups, overflows, sweep_group, sweep_requests};
use flags::{ADDED_FLAGS, FLAGS, Fitting, POOL_SIZE};
use watch::Watch;

/// Words that documents are drawn from.
const POOL_WORDS: usize = 8000;
/// What the note before the run assumes of the engine.
const PREFILL_TOKENS_PER_S: f64 = 10_000.0;
/// Documents of one run.
const DOCUMENTS_MAX: u64 = 10_000_000;

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
        let words = WordPool::build_or_make_up(tokenizer, &config.model, POOL_WORDS, &config.seed)?;
        let groups = Groups::draw(documents, self.docs_per_request, self.requests, self.skew, &config.seed)?;
        let mut pressure = Pressure {
            watch: Watch::new(config.has_lmcache(), &config.cache, self.docs_per_request),
            sweeps: config.warmup,
            sweep_requests: sweep_requests(documents, self.docs_per_request),
            settings: self,
            documents,
            bodies: Bodies::new(config),
            words,
            seed: config.seed.clone(),
            groups,
            ended: 0,
            tokens_per_request: 0,
            tokens_remark: match tokenizer {
                Tokenizer::Words(_) => "(words, not tokens)",
                _ => "(measured)",
            },
        };
        pressure.fit_texts(tokenizer)?;
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
    watch: Watch,
    /// Whether the sweep is sent.
    sweeps: bool,
    documents: u64,
    sweep_requests: u64,
    bodies: Bodies,
    words: WordPool,
    seed: BigInt,
    groups: Groups,
    /// Measured requests that have ended, however they ended. Those of a lead-in are in the counters too.
    ended: u64,
    tokens_per_request: u64,
    /// What the number before it is.
    tokens_remark: &'static str,
}

impl Pressure {
    /// A text of its own for each `offset` from the seed.
    fn text(&self, offset: u64, tokens: u64) -> String {
        self.words
            .chosen(tokens, &mut PythonRandom::new(&self.seed.plus(offset)))
    }

    /// Every text is fitted here, because the engine is not asked during the run.
    fn fit_texts(&mut self, tokenizer: &Tokenizer) -> Result<(), Error> {
        if !self.words.needs_fitting() {
            return Ok(());
        }
        let advice = "lower --ktp-pool-size or --ktp-overflow-factor, or raise --ktp-context-length";
        tokenizer.check_texts(self.documents + 1, QUESTIONS_PER_TEXT, advice)?;
        let (system, context) = (self.settings.system_prompt_tokens, self.settings.context_tokens);
        if let Some(text) = self.system_prompt() {
            self.words.fit(tokenizer, system, &text)?;
        }
        for document in 0..self.documents {
            let text = self.text(1 + document, context);
            self.words.fit(tokenizer, context, &text)?;
        }
        Ok(())
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
            .line("Tokens per request", self.tokens_per_request, self.tokens_remark)
            .line("Vocab size", POOL_WORDS, self.words.remark())
            .line("Max inflight", settings.in_flight, "")
            .line("Max output length", settings.max_tokens, "tokens")
    }

    fn notes(&self) -> Vec<String> {
        if !self.sweeps {
            return Vec::new();
        }
        let tokens = self.sweep_requests * self.tokens_per_request;
        let seconds = (tokens as f64 / PREFILL_TOKENS_PER_S).ceil();
        let mut notes = vec![format!(
            "the warmup prefills {} tokens; at {PREFILL_TOKENS_PER_S:.0} tokens per second that takes {seconds:.0} s",
            with_commas(tokens)
        )];
        if self.watch.cannot_blend() {
            notes.push(
                "the LMCache server has not loaded the module for blending, so this run will end after the warmup; give \
                 --ktp-docs-per-request 1 for a server without it"
                    .to_owned(),
            );
        }
        notes
    }

    fn ended(&mut self, phase: Phase, _: &Finished) {
        self.ended += u64::from(phase == Phase::Measured);
    }

    fn watches_lookups(&self) -> bool {
        self.watch.has_server
    }

    fn looked_up(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        self.watch.take(at, counts)
    }

    fn conclude(&mut self, partial: bool) -> Conclusion {
        let settings = &self.settings;
        let mut entries = vec![
            Entry::count("pool_size", "Document pool", self.documents),
            Entry::count("docs_per_request", "Docs per request", settings.docs_per_request),
            Entry::count("working_set_tokens", "Working set (tokens)", self.working_set_tokens()),
            Entry::number("access_skew", "Access skew", round(settings.skew, 3), 2),
            Entry::count("warmup_sweep_requests", "Warm-up sweep requests", self.sweep_requests),
            Entry::count("tokens_per_request", "Tokens per request", self.tokens_per_request),
        ];
        entries.extend(self.watch.entries(self.ended));
        let warnings = self.watch.warnings(partial);
        Conclusion {
            section: Some(Section::entries("kv_tier_pressure", "Document pool", entries)),
            files: Vec::new(),
            warnings: warnings.into_iter().map(Into::into).collect(),
        }
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
