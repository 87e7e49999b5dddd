//! prefix-suffix-tuner: two passes over prefixes that overflow one tier of the cache, one request at a time. Texts are
//! drawn anew for every body, so memory holds one prompt at a time; texts from the engine's tokenizer are all kept.

use std::time::Duration;

use super::body::Bodies;
use super::descriptor::{
    Descriptor, Settings, Support, WorkloadFlag, above_zero, bounded, float, int, length, lmcache_group, pool_size,
};
use super::filler::{fitted, repeated};
use super::window::{Counts, Sequence, Window};
use super::{Phase, Request, Workload};
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::pool::WordPool;
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;
use crate::report::banner::Banner;

/// Tokens of the random text between prefix and suffix, its marker included.
const BREAKER_TOKENS: u64 = 32;
/// The least tokens of a suffix.
const SUFFIX_TOKENS_MIN: u64 = 100;
/// How much more than the tier the prefixes fill.
const OVERFLOW: f64 = 1.05;
/// Token ids that random text is drawn from.
const IDS: std::ops::Range<u64> = 256..50_000;
/// Tokens that the reference counts for the marker of a prefix or breaker.
const MARKER_TOKENS: u64 = 4;
/// The first seed of prefixes; those of suffix and breakers lie below.
const PREFIX_SEED: u64 = 1000;
/// Words that texts of exact length are drawn from.
const POOL_WORDS: usize = 1000;
/// About as many bytes of text come of a token, and so many are kept.
const TOKEN_BYTES: f64 = 5.0;
const KEPT_BYTES_MAX: f64 = 1e9;
/// Time between the passes, for eviction in the background.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "prefix-suffix-tuner",
    about: "Two passes over prefixes that overflow one cache tier",
    group: lmcache_group("Workload prefix-suffix-tuner"),
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::RandomTokens,
    sets_answer_length: false,
    chat_only: false,
    support: Support::built::<PrefixSuffixTuner>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("psf-context-length", "8000")
        .help(
            "Tokens of one prompt",
            "Prefix, a breaker of 32 tokens, and a suffix that all prompts share.",
        )
        .question(
            "Context length (tokens)",
            "Tokens of one prompt: prefix, breaker and suffix.",
        ),
    float!("psf-prefix-ratio", "0.8")
        .help(
            "Share of the prompt that is prefix",
            "Above 0 and below 1; at least 100 tokens must be left for the suffix.",
        )
        .question(
            "Prefix ratio",
            "Share of the prompt that is prefix, above 0 and below 1.",
        ),
    float!("psf-thrash", "20.0")
        .help(
            "GB of the cache tier to overflow",
            "The prefixes together are 5 % more than that.",
        )
        .question("Target tier size (GB)", "Size of the cache tier to overflow."),
];

struct PrefixSuffixTuner {
    prefixes: u64,
    context_tokens: u64,
    prefix_tokens: u64,
    suffix_tokens: u64,
    prefix_ratio: f64,
    tier_gb: f64,
}

impl Settings for PrefixSuffixTuner {
    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<PrefixSuffixTuner, Error> {
        let context = values.int("psf-context-length")?;
        let prefix_ratio = values.float("psf-prefix-ratio")?;
        let prefix = ((context as f64 * prefix_ratio).round_ties_even()).max(1.0);
        // This check comes first in the reference, so a ratio of 1.0 reports a negative suffix.
        let suffix = context as f64 - prefix - BREAKER_TOKENS as f64;
        if suffix.is_nan() || suffix < SUFFIX_TOKENS_MIN as f64 {
            return Err(Error::Settings(format!(
                "--psf-context-length {context} with --psf-prefix-ratio {prefix_ratio} leaves a suffix of {suffix} tokens; it \
                 needs at least {SUFFIX_TOKENS_MIN}: take a smaller ratio or a longer context"
            )));
        }
        let context_tokens = length(values, "psf-context-length")?;
        if !(prefix_ratio > 0.0 && prefix_ratio < 1.0) {
            return Err(Error::Settings(format!(
                "--psf-prefix-ratio must lie between 0 and 1, got {prefix_ratio}"
            )));
        }
        let tier_gb = above_zero(values, "psf-thrash")?;
        // By the context length, as LMCache 0.5.6 does; its manual says by the prefix length.
        let prefixes = pool_size(tier_gb * OVERFLOW * sizes.tokens_per_gb as f64 / context_tokens as f64);
        bounded(prefixes, "lower --psf-thrash, or raise --psf-context-length")?;
        Ok(PrefixSuffixTuner {
            prefixes: prefixes as u64,
            context_tokens,
            prefix_tokens: prefix as u64,
            suffix_tokens: suffix as u64,
            prefix_ratio,
            tier_gb,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let material = match (tokenizer.decodes(), config.exact_lengths) {
            (true, true) => Material::Words(WordPool::build(tokenizer, &config.model, POOL_WORDS, &config.seed)?),
            (true, false) => Material::Ids,
            (false, true) => Material::CountedFiller,
            (false, false) => Material::Filler,
        };
        let mut tuner = Tuner {
            settings: self,
            bodies: Bodies::new(config),
            material,
            tokenizer: tokenizer.clone(),
            seed: config.seed.clone(),
            suffix: String::new(),
            breakers: PythonRandom::new(&config.seed.plus(2)),
            kept: None,
        };
        let mut rng = PythonRandom::new(&config.seed.plus(1));
        tuner.suffix = tuner.part(" SUFFIX", tuner.settings.suffix_tokens, 1, &mut rng)?;
        if tokenizer.asks_the_engine() && !matches!(tuner.material, Material::Filler) {
            tuner.keep(1 + u64::from(config.warmup))?;
        }
        let body_bytes = tuner.first_body_bytes()?;
        Ok(Box::new(Window::new(tuner, body_bytes)))
    }
}

/// What prompts are made of.
#[derive(Debug)]
enum Material {
    /// Random token ids, decoded, as in the reference: not all survive being tokenized again.
    Ids,
    /// Words of one token each, so that lengths are exact.
    Words(WordPool),
    /// One repeated word, where tokens cannot be decoded; nothing is drawn.
    Filler,
    /// The same, as often as it takes to have the length.
    CountedFiller,
}

struct Tuner {
    settings: PrefixSuffixTuner,
    bodies: Bodies,
    material: Material,
    tokenizer: Tokenizer,
    seed: BigInt,
    suffix: String,
    /// Not reset between the passes.
    breakers: PythonRandom,
    /// Made beforehand where the engine has the tokenizer: it is not asked while it is measured.
    kept: Option<Kept>,
}

/// The parts of all prompts.
struct Kept {
    prefixes: Vec<String>,
    /// In the order in which they are sent, over both passes.
    breakers: Vec<String>,
    next: usize,
}

impl Kept {
    /// Once all are used up they serve again, one place further on each time, so that a prefix meets another one than before.
    fn next_breaker(&mut self) -> String {
        let count = self.breakers.len();
        let at = (self.next + self.next / count) % count;
        self.next += 1;
        self.breakers[at].clone()
    }
}

/// Tokens left beside a marker, at least one.
fn rest_of(tokens: u64, marker: u64) -> u64 {
    tokens.saturating_sub(marker).max(1)
}

impl Tuner {
    /// A marker and random text behind it, together of `tokens` tokens. `allowance` is what the reference takes the marker
    /// to have.
    fn part(&self, marker: &str, tokens: u64, allowance: u64, rng: &mut PythonRandom) -> Result<String, Error> {
        let rest = rest_of(tokens, allowance);
        let text = match &self.material {
            Material::Ids => {
                let ids: Vec<u32> = (0..rest).map(|_| rng.randrange(IDS.start, IDS.end) as u32).collect();
                self.tokenizer.decode(&ids)?
            }
            Material::Filler => repeated("hi", rest),
            Material::CountedFiller => {
                let text = |words| format!("{marker} {}", repeated("hi", words));
                repeated("hi", fitted(Some(&self.tokenizer), tokens, rest, text)?)
            }
            Material::Words(pool) => {
                let text = |words| format!("{marker}{}", pool.text_after(words, &mut rng.clone()));
                let guess = tokens.saturating_sub(self.tokenizer.count(marker)?);
                let words = fitted(Some(&self.tokenizer), tokens, guess, text)?;
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

    /// Another one each time; its marker is drawn before its text.
    fn breaker(&mut self) -> Result<String, Error> {
        let marker = format!(" BR_{:08x}", self.breakers.randrange(0, 1 << 32));
        let mut rng = self.breakers.clone();
        let text = self.part(&marker, BREAKER_TOKENS, MARKER_TOKENS, &mut rng);
        self.breakers = rng;
        text
    }

    fn prompt(&mut self, number: u64) -> Result<String, Error> {
        if let Some(kept) = &mut self.kept {
            let breaker = kept.next_breaker();
            return Ok(format!("{}{breaker}{}", kept.prefixes[number as usize], self.suffix));
        }
        let breaker = self.breaker()?;
        Ok(format!("{}{breaker}{}", self.prefix(number)?, self.suffix))
    }

    /// Makes the parts of all prompts of some passes.
    fn keep(&mut self, passes: u64) -> Result<(), Error> {
        let PrefixSuffixTuner {
            prefixes,
            context_tokens,
            ..
        } = self.settings;
        let bytes = prefixes as f64 * context_tokens as f64 * TOKEN_BYTES;
        if bytes > KEPT_BYTES_MAX {
            return Err(Error::Settings(format!(
                "{prefixes} prompts of {context_tokens} tokens are some {:.0} GB of text to get from the engine before the run; \
                 give --tokenizer PATH, or lower --psf-thrash",
                bytes / 1e9
            )));
        }
        let each = match self.material {
            Material::Ids => 1,
            // The marker, the text without words, and a few tries.
            _ => 5,
        };
        let advice = "lower --psf-thrash, or raise --psf-context-length";
        self.tokenizer
            .check_texts(prefixes.saturating_mul(1 + passes), each, advice)?;
        let made = (0..prefixes)
            .map(|number| self.prefix(number))
            .collect::<Result<_, _>>()?;
        let breakers = (0..prefixes * passes).map(|_| self.breaker());
        self.kept = Some(Kept {
            breakers: breakers.collect::<Result<_, _>>()?,
            prefixes: made,
            next: 0,
        });
        Ok(())
    }

    /// Bytes of a body. What can fail with this tokenizer fails here; nothing is advanced.
    fn first_body_bytes(&mut self) -> Result<usize, Error> {
        let unused = self.breakers.clone();
        let prompt = self.prompt(0)?;
        self.breakers = unused;
        if let Some(kept) = &mut self.kept {
            kept.next = 0;
        }
        Ok(self.bodies.user(&prompt, 1).len())
    }
}

impl Sequence for Tuner {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        let tier = settings.tier_gb;
        let pool_tokens = settings.prefixes as f64 * settings.prefix_tokens as f64;
        Banner::new(DESCRIPTOR.name, 19)
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
                &format!("(overflow x{OVERFLOW:?} = {:.2} GB)", tier * OVERFLOW),
            )
            .line("Prefix pool size", settings.prefixes, "")
            .line("Pool tokens", format!("{:.2}M", pool_tokens / 1e6), "")
            .line("Total measured", settings.prefixes, "requests (pass 2 of 2)")
    }

    /// The warmup is a greeting and the first pass.
    fn counts(&self) -> Counts {
        Counts {
            warmup: 1 + self.settings.prefixes,
            warmup_in_flight: 1,
            measured: self.settings.prefixes,
            in_flight: 1,
            tokens_per_answer: 1,
        }
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
        Request::new(id, self.bodies.user(&content, 1), 1)
    }

    fn pause_after_warmup(&self) -> Duration {
        PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    fn resolved(words: &[&str]) -> Result<PrefixSuffixTuner, Error> {
        PrefixSuffixTuner::resolve(&given(words), &Sizes::new(100.0, 6553))
    }

    #[test]
    fn prefixes_overflow_the_tier() {
        let settings = resolved(&[]).unwrap();
        // 20 * 1.05 * 6553 / 8000, by the context length.
        assert_eq!(
            (settings.prefixes, settings.prefix_tokens, settings.suffix_tokens),
            (17, 6400, 1568)
        );
    }

    #[test]
    fn half_way_prefixes_round_to_even() {
        for (context, prefix) in [("301", 150), ("303", 152)] {
            let words = ["--psf-prefix-ratio", "0.5", "--psf-context-length", context];
            assert_eq!(resolved(&words).unwrap().prefix_tokens, prefix);
        }
    }

    #[test]
    fn a_suffix_that_is_too_short_is_refused() {
        let error = resolved(&["--psf-prefix-ratio", "1.0"]).err().expect("a refusal");
        let expected = "leaves a suffix of -32 tokens; it needs at least 100";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
