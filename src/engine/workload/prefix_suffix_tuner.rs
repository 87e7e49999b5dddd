//! prefix-suffix-tuner: two passes over prefixes that overflow one tier of the cache, one request at a time. Texts are
//! drawn anew for every body; must never hold the pool of prefixes.

use std::time::Duration;

use super::body::Bodies;
use super::filler::{fitted, repeated};
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::config::{BREAKER_TOKENS, EngineConfig, PrefixSuffixTuner};
use crate::engine::tokens::pool::WordPool;
use crate::engine::tokens::{LocalTokenizer, Tokenizer};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

/// Token ids that random text is drawn from.
const IDS: std::ops::Range<u64> = 256..50_000;
/// Tokens that the markers of prefixes and breakers are taken to have.
const MARKER_TOKENS: u64 = 4;
/// The first seed of prefixes; those of suffix and breakers lie below.
const PREFIX_SEED: u64 = 1000;
/// Words that texts of exact length are drawn from.
const POOL_WORDS: usize = 1000;
/// The time that eviction in the background gets between the passes.
const PAUSE: Duration = Duration::from_secs(5);

/// What prompts are made of.
enum Material {
    /// Random token ids, decoded, as in the reference: not all survive being tokenized again.
    Ids(LocalTokenizer),
    /// Words of one token each, so that lengths are exact.
    Words(WordPool, Tokenizer),
    /// One repeated word, for want of a tokenizer; nothing is drawn.
    Filler,
}

struct Tuner {
    settings: PrefixSuffixTuner,
    bodies: Bodies,
    material: Material,
    seed: BigInt,
    suffix: String,
    /// Runs on from the first pass into the second.
    breakers: PythonRandom,
}

pub(super) fn create(
    config: &EngineConfig,
    settings: &PrefixSuffixTuner,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Workload>, Error> {
    let material = match tokenizer {
        Tokenizer::Local(local) if config.exact_lengths => Material::Words(
            WordPool::build(tokenizer, &config.model, POOL_WORDS, &config.seed)?,
            Tokenizer::Local(local.clone()),
        ),
        Tokenizer::Local(local) => Material::Ids(local.clone()),
        _ => Material::Filler,
    };
    let mut tuner = Tuner {
        settings: settings.clone(),
        bodies: Bodies::new(config),
        material,
        seed: config.seed.clone(),
        suffix: String::new(),
        breakers: PythonRandom::new(&config.seed.plus(2)),
    };
    let mut rng = PythonRandom::new(&config.seed.plus(1));
    tuner.suffix = tuner.part(" SUFFIX", settings.suffix_tokens, 1, &mut rng)?;
    let body_bytes = tuner.example()?;
    Ok(Box::new(Window::new(tuner, body_bytes)))
}

/// What is left beside a marker, at least one.
fn less(tokens: u64, marker: u64) -> u64 {
    tokens.saturating_sub(marker).max(1)
}

impl Tuner {
    /// A marker and random text behind it, together of `tokens` tokens. `allowance` is what the reference takes the marker
    /// to have.
    fn part(&self, marker: &str, tokens: u64, allowance: u64, rng: &mut PythonRandom) -> Result<String, Error> {
        let rest = less(tokens, allowance);
        let text = match &self.material {
            Material::Ids(tokenizer) => {
                let ids: Vec<u32> = (0..rest).map(|_| rng.randrange(IDS.start, IDS.end) as u32).collect();
                tokenizer.decode(&ids)?
            }
            Material::Filler => repeated("hi", rest),
            Material::Words(pool, tokenizer) => {
                let text = |words| format!("{marker}{}", pool.text_after(words, &mut rng.clone()));
                let guess = tokens.saturating_sub(tokenizer.count(marker)?);
                let words = fitted(Some(tokenizer), tokens, guess, text)?;
                return Ok(format!("{marker}{}", pool.text_after(words, rng)));
            }
        };
        Ok(format!("{marker} {text}"))
    }

    fn prefix(&self, number: u64) -> Result<String, Error> {
        let mut rng = PythonRandom::new(&self.seed.plus(PREFIX_SEED + number));
        let marker = format!("PREFIX_{number:08x}");
        self.part(&marker, self.settings.prefix_tokens, MARKER_TOKENS, &mut rng)
    }

    /// Different each time; the marker is drawn before the text.
    fn breaker(&mut self) -> Result<String, Error> {
        let marker = format!(" BR_{:08x}", self.breakers.randrange(0, 1 << 32));
        let mut rng = self.breakers.clone();
        let text = self.part(&marker, BREAKER_TOKENS.unsigned_abs(), MARKER_TOKENS, &mut rng);
        self.breakers = rng;
        text
    }

    fn prompt(&mut self, number: u64) -> Result<String, Error> {
        let breaker = self.breaker()?;
        Ok(format!("{}{breaker}{}", self.prefix(number)?, self.suffix))
    }

    /// How long a body is; whatever can fail with this tokenizer fails here. Draws nothing.
    fn example(&mut self) -> Result<usize, Error> {
        let unused = self.breakers.clone();
        let prompt = self.prompt(0)?;
        self.breakers = unused;
        Ok(self.bodies.user(&prompt, 1).len())
    }
}

impl Sequence for Tuner {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        let (tier, overflow) = (settings.tier_gb, settings.overflow);
        let pool_tokens = settings.prefixes as f64 * settings.prefix_tokens as f64;
        Banner::new("prefix-suffix-tuner", 19)
            .line("Context length", settings.context_tokens, "tokens")
            .line(
                "Prefix tokens",
                settings.prefix_tokens,
                &format!("(ratio={:?})", settings.prefix_ratio),
            )
            .line("Breaker tokens", BREAKER_TOKENS, "(random per request)")
            .line("Suffix tokens", settings.suffix_tokens, "(shared, deterministic)")
            .line(
                "Target tier",
                format!("{tier:.2} GB"),
                &format!("(overflow x{overflow:?} = {:.2} GB)", tier * overflow),
            )
            .line("Prefix pool size", settings.prefixes, "")
            .line("Pool tokens", format!("{:.2}M", pool_tokens / 1e6), "")
            .line("Total measured", settings.prefixes, "requests (pass 2 of 2)")
    }

    fn tokens_per_answer(&self) -> u64 {
        1
    }

    /// The warmup is a greeting and the first pass.
    fn count(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Warmup => 1 + self.settings.prefixes,
            Phase::Measured => self.settings.prefixes,
        }
    }

    fn in_flight_max(&self) -> u64 {
        1
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let (id, prefix) = match (phase, number) {
            (Phase::Warmup, 0) => ("engine_warmup".to_string(), None),
            (Phase::Warmup, number) => (format!("pass1_p{}", number - 1), Some(number - 1)),
            (Phase::Measured, number) => (format!("pass2_p{number}"), Some(number)),
        };
        let content = match prefix {
            None => "Hello".to_string(),
            Some(number) => self.prompt(number).expect("the tokenizer understood the first prompt"),
        };
        Request {
            id,
            body: self.bodies.user(&content, 1),
            max_tokens: 1,
            wants_text: false,
            scheduled: None,
        }
    }

    fn pause_after_warmup(&self) -> Duration {
        PAUSE
    }
}
