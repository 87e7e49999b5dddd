//! The prompts of a run, with the blocks and chunks that they share.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use super::chain::{START, chain, extended};

/// A prompt and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prompt {
    pub tokens: Arc<[u32]>,
    /// The tokens of the answer as far as they are known; empty if they are not.
    pub answer: Arc<[u32]>,
    /// How many tokens the answer has, known or not.
    pub answer_tokens: u64,
}

impl Prompt {
    /// A prompt whose answer is not known and of one token, which is never kept.
    pub fn of(tokens: impl Into<Arc<[u32]>>) -> Prompt {
        Prompt {
            tokens: tokens.into(),
            answer: Arc::default(),
            answer_tokens: 1,
        }
    }

    /// Tokens of the answer for which the engine computes keys and values: all but the last.
    pub fn answer_kept(&self) -> u64 {
        self.answer_tokens.saturating_sub(1)
    }
}

/// A prompt whose blocks and chunks have numbers. Two units have one number if all tokens up to their ends are equal, so a
/// number names a prefix.
#[derive(Clone, Debug)]
pub struct Entry {
    pub prompt: Prompt,
    /// The whole blocks of the prompt and of those tokens of its answer that are known and kept.
    pub blocks: Vec<u32>,
    /// The whole chunks of the prompt.
    pub chunks: Vec<u32>,
    /// Known tokens of the answer that are kept.
    answer_known: usize,
}

impl Entry {
    pub fn tokens(&self) -> usize {
        self.prompt.tokens.len()
    }

    /// The token at `position` of the prompt and its answer.
    fn token(&self, position: usize) -> u32 {
        match position.checked_sub(self.tokens()) {
            None => self.prompt.tokens[position],
            Some(behind) => self.prompt.answer[behind],
        }
    }
}

/// The distinct prompts of a run.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub block_tokens: usize,
    pub chunk_tokens: usize,
    pub entries: Vec<Entry>,
    /// How many numbers blocks and chunks have.
    pub block_names: u32,
    pub chunk_names: u32,
    /// All prompts, and those with an answer that is known, in the order of their tokens.
    ordered: Vec<Sent>,
    /// Where each of them is in that order.
    places: HashMap<Sent, u32>,
}

/// What was sent or answered: a prompt, without or with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub entry: usize,
    pub with_answer: bool,
}

impl Catalog {
    /// The catalog, and the entry of each prompt. Units of 0 tokens are taken as 1.
    pub fn new<'a>(
        block_tokens: usize,
        chunk_tokens: usize,
        prompts: impl Iterator<Item = &'a Prompt>,
    ) -> (Catalog, Vec<usize>) {
        let (block_tokens, chunk_tokens) = (block_tokens.max(1), chunk_tokens.max(1));
        let (mut blocks, mut chunks) = (Names::default(), Names::default());
        let mut entries: Vec<Entry> = Vec::new();
        let mut known: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
        let mut of_prompts = Vec::new();
        for prompt in prompts {
            let content = extended(extended(START, &prompt.tokens), &prompt.answer);
            let alike = known.entry((content, prompt.answer_tokens)).or_default();
            if let Some(entry) = alike.iter().find(|entry| entries[**entry].prompt == *prompt) {
                of_prompts.push(*entry);
                continue;
            }
            alike.push(entries.len());
            of_prompts.push(entries.len());
            let kept = usize::try_from(prompt.answer_kept()).unwrap_or(usize::MAX);
            let answer_known = prompt.answer.len().min(kept);
            let hashes = match answer_known {
                0 => chain(&prompt.tokens, block_tokens),
                _ => chain(&[&prompt.tokens, &prompt.answer[..answer_known]].concat(), block_tokens),
            };
            entries.push(Entry {
                blocks: blocks.of(&hashes),
                chunks: chunks.of(&chain(&prompt.tokens, chunk_tokens)),
                prompt: prompt.clone(),
                answer_known,
            });
        }
        let mut catalog = Catalog {
            block_tokens,
            chunk_tokens,
            entries,
            block_names: blocks.count(),
            chunk_names: chunks.count(),
            ordered: Vec::new(),
            places: HashMap::new(),
        };
        catalog.order();
        (catalog, of_prompts)
    }

    fn order(&mut self) {
        let mut all: Vec<Sent> = Vec::new();
        for (entry, of) in self.entries.iter().enumerate() {
            for with_answer in [false, true] {
                if !with_answer || of.answer_known > 0 {
                    all.push(Sent { entry, with_answer });
                }
            }
        }
        all.sort_by(|one, other| self.compare(*one, *other));
        self.places = all.iter().zip(0..).map(|(sent, place)| (*sent, place)).collect();
        self.ordered = all;
    }

    /// What is at a place in the order of tokens.
    pub fn at(&self, place: u32) -> Sent {
        self.ordered[place as usize]
    }

    /// The place in the order of tokens; that of the prompt alone where the answer is not known.
    pub fn place(&self, sent: Sent) -> u32 {
        let alone = Sent {
            with_answer: false,
            ..sent
        };
        self.places[if self.places.contains_key(&sent) { &sent } else { &alone }]
    }

    /// All places in the order of tokens.
    pub fn places(&self) -> impl Iterator<Item = Sent> + '_ {
        self.ordered.iter().copied()
    }

    pub fn length(&self, sent: Sent) -> usize {
        let entry = &self.entries[sent.entry];
        entry.tokens() + if sent.with_answer { entry.answer_known } else { 0 }
    }

    /// Tokens that both begin with. It searches the numbers of blocks by halves and compares tokens of one block only, so that
    /// long prompts with long common prefixes can be sorted.
    pub fn common(&self, one: Sent, other: Sent) -> usize {
        let (a, b) = (&self.entries[one.entry], &self.entries[other.entry]);
        let shorter = self.length(one).min(self.length(other));
        let (mut equal, mut end) = (0, shorter / self.block_tokens);
        while equal < end {
            let middle = equal.midpoint(end);
            match a.blocks[middle] == b.blocks[middle] {
                true => equal = middle + 1,
                false => end = middle,
            }
        }
        let from = equal * self.block_tokens;
        let differs = (from..shorter).find(|at| a.token(*at) != b.token(*at));
        differs.unwrap_or(shorter)
    }

    fn compare(&self, one: Sent, other: Sent) -> Ordering {
        let common = self.common(one, other);
        let next = |sent: Sent| (common < self.length(sent)).then(|| self.entries[sent.entry].token(common));
        // Equal ones (a prompt that is another prompt with its answer) stay apart.
        let apart = |sent: Sent| (sent.entry, sent.with_answer);
        next(one).cmp(&next(other)).then(apart(one).cmp(&apart(other)))
    }
}

/// Small numbers for hashes, in the order in which these were first met. Four billion of them would need more memory than the
/// prompts that they come from could have.
#[derive(Debug, Default)]
struct Names(HashMap<u64, u32>);

impl Names {
    fn of(&mut self, hashes: &[u64]) -> Vec<u32> {
        let numbered = hashes.iter().map(|hash| {
            let next = self.count();
            *self.0.entry(*hash).or_insert(next)
        });
        numbered.collect()
    }

    fn count(&self) -> u32 {
        self.0.len() as u32
    }
}
