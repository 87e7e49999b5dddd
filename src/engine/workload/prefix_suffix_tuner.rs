//! prefix-suffix-tuner: two passes over prefixes that overflow one tier of the cache, one request at a time. Texts are
//! drawn anew for every body; must never hold the pool of prefixes.

use std::time::Duration;

use super::body::Bodies;
use super::filler::repeated;
use super::window::{Sequence, Window};
use super::{Phase, Request, Workload};
use crate::args::big_int::BigInt;
use crate::engine::config::{BREAKER_TOKENS, EngineConfig, PrefixSuffixTuner};
use crate::engine::python_random::PythonRandom;
use crate::engine::tokens::{LocalTokenizer, Tokenizer};
use crate::report::banner::Banner;

/// Token ids that random text is drawn from.
const IDS: std::ops::Range<u64> = 256..50_000;
/// Tokens that the markers of prefixes and breakers are taken to have.
const MARKER_TOKENS: u64 = 4;
/// The first seed of prefixes; those of suffix and breakers lie below.
const PREFIX_SEED: u64 = 1000;
/// The time that eviction in the background gets between the passes.
const PAUSE: Duration = Duration::from_secs(5);

struct Tuner {
    settings: PrefixSuffixTuner,
    bodies: Bodies,
    tokenizer: Option<LocalTokenizer>,
    seed: BigInt,
    suffix: String,
    /// Runs on from the first pass into the second.
    breakers: PythonRandom,
}

pub(super) fn create(config: &EngineConfig, settings: &PrefixSuffixTuner, tokenizer: &Tokenizer) -> Box<dyn Workload> {
    let mut tuner = Tuner {
        settings: settings.clone(),
        bodies: Bodies::new(config),
        tokenizer: tokenizer.local().cloned(),
        seed: config.seed.clone(),
        suffix: String::new(),
        breakers: PythonRandom::new(&config.seed.plus(2)),
    };
    let mut rng = PythonRandom::new(&config.seed.plus(1));
    tuner.suffix = format!(
        "SUFFIX {}",
        tuner.random_text(less(settings.suffix_tokens, 1), &mut rng)
    );
    let unused = tuner.breakers.clone();
    let body_bytes = tuner.request(Phase::Measured, 0).body.len();
    tuner.breakers = unused;
    Box::new(Window::new(tuner, body_bytes))
}

/// What is left beside a marker, at least one.
fn less(tokens: u64, marker: u64) -> u64 {
    tokens.saturating_sub(marker).max(1)
}

impl Tuner {
    /// Text of random tokens; without a tokenizer filler words, and then nothing is drawn.
    fn random_text(&self, tokens: u64, rng: &mut PythonRandom) -> String {
        let Some(tokenizer) = &self.tokenizer else {
            return repeated("hi", tokens);
        };
        let ids: Vec<u32> = (0..tokens).map(|_| rng.randrange(IDS.start, IDS.end) as u32).collect();
        tokenizer.decode(&ids)
    }

    fn prefix(&self, number: u64) -> String {
        let mut rng = PythonRandom::new(&self.seed.plus(PREFIX_SEED + number));
        let tokens = less(self.settings.prefix_tokens, MARKER_TOKENS);
        format!("PREFIX_{number:08x} {}", self.random_text(tokens, &mut rng))
    }

    /// Different each time; the marker is drawn before the text.
    fn breaker(&mut self) -> String {
        let marker = self.breakers.randrange(0, 1 << 32);
        let mut rng = self.breakers.clone();
        let text = self.random_text(BREAKER_TOKENS.unsigned_abs() - MARKER_TOKENS, &mut rng);
        self.breakers = rng;
        format!("BR_{marker:08x} {text}")
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
            Some(number) => {
                let breaker = self.breaker();
                format!("{} {breaker} {}", self.prefix(number), self.suffix)
            }
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
