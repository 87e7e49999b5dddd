//! The warnings that only rag-qa-quality has.

use std::collections::HashSet;

use super::record::Sample;
use super::results::Summary;
use crate::engine::ask::lookups::{Growth, Unknown};
use crate::engine::tokens::chat_prefix::Doubt;
use crate::engine::workload::WorkloadWarning;
use crate::engine::workload::lookups::{Lookups, no_tokens};
use crate::result::warning::{self, Message, message};

/// The share of answers that ought to be scored.
const PARSE_RATE_MIN: f64 = 0.9;
/// The share of passage tokens that ought to come from the cache.
const REUSE_MIN: f64 = 0.5;

/// Tokens of the requests for which the engine says how many came from the cache.
#[derive(Debug, Default)]
pub struct Reuse {
    cached: u64,
    of_passages: u64,
}

impl Reuse {
    pub fn add(&mut self, cached: Option<u64>, of_passages: u64) {
        if let Some(cached) = cached {
            self.cached += cached;
            self.of_passages += of_passages;
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// It is not known, or not sure, what the chat template puts before a prompt.
    ChatPrefix(String),
    UnalignedBlocks(u64),
    UnparsedAnswers {
        unparsed: u64,
        all: u64,
    },
    RepeatedIds(u64),
    LittleReuse {
        cached: u64,
        of_passages: u64,
    },
    /// It is not known what was looked up in the measured phase.
    NoLookupTokens(Unknown),
}

impl Warning {
    pub fn of_prefix(doubt: &Doubt) -> Warning {
        Warning::ChatPrefix(match doubt {
            Doubt::Unknown(why) => {
                format!("how many tokens the chat template puts before a prompt is not known ({why})")
            }
            Doubt::Kwargs(there) => format!(
                "with --rag-template-kwargs the chat template puts {there} tokens before a prompt, another number than the \
                 one that LMCache pads for"
            ),
            Doubt::Engine(there) => {
                format!("the engine puts {there} tokens before a prompt, another number than the local chat template")
            }
        })
    }

    pub fn of_unaligned(blocks: u64) -> Option<Warning> {
        (blocks > 0).then_some(Warning::UnalignedBlocks(blocks))
    }

    pub fn of_unparsed(summary: &Summary) -> Option<Warning> {
        let is_low = summary.samples() > 0 && summary.parse_rate < PARSE_RATE_MIN;
        is_low.then(|| Warning::UnparsedAnswers {
            unparsed: summary.unparsed(),
            all: summary.samples(),
        })
    }

    pub fn of_repeated(repeated: u64) -> Option<Warning> {
        (repeated > 0).then_some(Warning::RepeatedIds(repeated))
    }

    pub fn of_reuse(reuse: &Reuse) -> Option<Warning> {
        let Reuse { cached, of_passages } = *reuse;
        let is_little = (cached as f64) < REUSE_MIN * of_passages as f64;
        is_little.then_some(Warning::LittleReuse { cached, of_passages })
    }

    pub fn of_lookups(lookups: &Lookups) -> Option<Warning> {
        match lookups.measured() {
            Growth::Of(..) => None,
            Growth::Unknown(why) => Some(Warning::NoLookupTokens(why)),
        }
    }
}

/// How many samples have the id of an earlier one.
pub fn repeated(samples: &[Sample]) -> u64 {
    let mut known = HashSet::new();
    samples.iter().filter(|sample| !known.insert(&sample.id)).count() as u64
}

impl warning::Warning for Warning {
    fn code(&self) -> &'static str {
        match self {
            Warning::ChatPrefix(_) => "chat-prefix",
            Warning::UnalignedBlocks(_) => "unaligned-blocks",
            Warning::UnparsedAnswers { .. } => "unparsed-answers",
            Warning::RepeatedIds(_) => "repeated-ids",
            Warning::LittleReuse { .. } => "little-reuse",
            Warning::NoLookupTokens(_) => "no-lookup-tokens",
        }
    }

    fn message(&self) -> Message {
        match self {
            Warning::ChatPrefix(what) => message!(
                "Passages may not begin where chunks of the cache begin, and so not be found again: {what}",
                "give the model's own --tokenizer with its chat template, and see how many prompt tokens came from the cache."
            ),
            Warning::UnalignedBlocks(blocks) => message!(
                "{blocks} blocks of the prompts could not be padded to whole chunks, so what follows them is not found again",
                "take a larger --rag-doc-align-tokens."
            ),
            Warning::UnparsedAnswers { unparsed, all } => message!(
                "{unparsed} of {all} answers were not scored, because they have no <final_answer> or their requests failed: \
                 the mean F1 is that of the others",
                "raise --rag-max-output-length if answers are cut off."
            ),
            Warning::RepeatedIds(repeated) => message!(
                "{repeated} samples have the id of an earlier one, so two runs cannot be compared by id",
                "give the records of the dataset different ids."
            ),
            Warning::LittleReuse { cached, of_passages } => message!(
                "Only {cached} of {of_passages} passage tokens came from the cache according to the engine, so these answers \
                 say little about reuse",
                "see whether --rag-doc-align-tokens is the chunk size of the LMCache server, and whether it blends."
            ),
            Warning::NoLookupTokens(why) => no_tokens(*why),
        }
    }
}

impl From<Warning> for WorkloadWarning {
    fn from(warning: Warning) -> WorkloadWarning {
        WorkloadWarning {
            code: warning::Warning::code(&warning),
            message: warning::Warning::message(&warning),
        }
    }
}
