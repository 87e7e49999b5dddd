//! The texts of the prompts, which are LMCache's. Every block of a prompt, the one before the passages and each passage, is
//! padded to whole chunks of the cache, so that a passage has its chunks wherever it stands.

use std::collections::HashMap;

use super::record::Sample;
use crate::engine::tokens::pool::WordPool;
use crate::engine::tokens::{Tokenizer, ended};
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

/// Words that padding is drawn from.
const POOL_WORDS: usize = 4096;
/// Tries to pad a block, whose line end mostly takes a token too.
const TRIES: usize = 8;

pub const SYSTEM: &str = "Answer the question using only the given passages. You may reason through the problem, but put only \
                          the concise final answer between <final_answer> and </final_answer>. Always emit both tags.\n\n\
                          The following are the given passages.\n";
/// What follows the passages, with [`PLACE`] for the question.
pub const QUESTION: &str = "\n\nAnswer the question using only the passages above. End with exactly one concise answer in this \
                            form: <final_answer>answer</final_answer>.\n\nQuestion: {question}\nAnswer:";
const PLACE: &str = "{question}";

pub struct Prompts {
    words: WordPool,
    seed: BigInt,
    /// The padded block before the passages.
    system: String,
    /// Each passage once, in the order of first appearance.
    passages: Vec<Passage>,
    /// The numbers of each sample's passages.
    of_samples: Vec<Vec<usize>>,
    /// Blocks that could not be padded to whole chunks.
    pub unaligned: u64,
}

/// Its padding is drawn again for each prompt, so that memory holds no padded text.
struct Passage {
    text: String,
    padding: Padding,
}

/// How a block is padded.
struct Padding {
    /// Words of each try; the last one counts. Empty for a text that needs none.
    tries: Vec<u64>,
    /// Of the padded block.
    tokens: u64,
    aligned: bool,
}

struct Aligner<'a> {
    tokenizer: &'a Tokenizer,
    words: &'a WordPool,
    tokens: u64,
}

impl Prompts {
    /// `align` is the tokens of a chunk, `prefix` those that the chat template puts before the prompt. `model` is for error
    /// messages.
    pub fn new(
        samples: &[Sample],
        tokenizer: &Tokenizer,
        (align, prefix): (u64, u64),
        seed: &BigInt,
        model: &str,
    ) -> Result<Prompts, Error> {
        let words = WordPool::build(tokenizer, model, POOL_WORDS, seed)?;
        let aligner = Aligner {
            tokenizer,
            words: &words,
            tokens: align,
        };
        let before = aligner.padding(SYSTEM, prefix, &mut PythonRandom::new(seed))?;
        let system = padded(SYSTEM, &before, &words, &mut PythonRandom::new(seed));
        let mut passages: Vec<Passage> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut of_samples = Vec::with_capacity(samples.len());
        for sample in samples {
            let mut numbers = Vec::with_capacity(sample.passages.len());
            for text in &sample.passages {
                if let Some(number) = known.get(text.as_str()) {
                    numbers.push(*number);
                    continue;
                }
                ended()?;
                numbers.push(passages.len());
                known.insert(text, passages.len());
                passages.push(Passage {
                    text: text.clone(),
                    padding: aligner.padding(text, 0, &mut of_passage(seed, text))?,
                });
            }
            of_samples.push(numbers);
        }
        let all = passages.iter().map(|passage| &passage.padding).chain([&before]);
        let unaligned = all.filter(|padding| !padding.aligned).count() as u64;
        Ok(Prompts {
            words,
            seed: seed.clone(),
            system,
            passages,
            of_samples,
            unaligned,
        })
    }

    /// How many different passages there are.
    pub fn passages(&self) -> u64 {
        self.passages.len() as u64
    }

    /// What has the engine see a passage.
    pub fn prefill(&self, passage: usize) -> String {
        self.system.clone() + &self.block(passage)
    }

    pub fn measured(&self, sample: usize, question: &str) -> String {
        let mut prompt = self.system.clone();
        for passage in &self.of_samples[sample] {
            prompt.push_str(&self.block(*passage));
        }
        prompt.push_str(&QUESTION.replacen(PLACE, question, 1));
        prompt
    }

    /// Tokens of a sample's passages.
    pub fn passage_tokens(&self, sample: usize) -> u64 {
        let passages = self.of_samples[sample].iter();
        passages.map(|passage| self.passages[*passage].padding.tokens).sum()
    }

    fn block(&self, passage: usize) -> String {
        let Passage { text, padding } = &self.passages[passage];
        padded(text, padding, &self.words, &mut of_passage(&self.seed, text))
    }
}

/// The generator of a passage's padding, the same wherever the passage stands.
fn of_passage(seed: &BigInt, text: &str) -> PythonRandom {
    PythonRandom::of_text(&format!("{seed}:{text}"))
}

/// The generator runs on over the tries.
fn padded(text: &str, padding: &Padding, words: &WordPool, rng: &mut PythonRandom) -> String {
    let mut block = text.to_owned();
    for count in &padding.tries {
        let filler = words.chosen(*count, rng);
        block.truncate(text.len());
        block.push('\n');
        block.push_str(&filler);
    }
    block
}

impl Aligner<'_> {
    /// The padding of a text before which `offset` tokens stand.
    fn padding(&self, text: &str, offset: u64, rng: &mut PythonRandom) -> Result<Padding, Error> {
        let total = offset + self.tokenizer.count(text)?;
        let target = total.div_ceil(self.tokens) * self.tokens;
        let mut missing = target as i64 - total as i64;
        let mut count = 0;
        let mut tries = Vec::new();
        while missing != 0 && tries.len() < TRIES {
            count += missing;
            let words = count.max(0) as u64;
            tries.push(words);
            let block = format!("{text}\n{}", self.words.chosen(words, rng));
            missing = target as i64 - (offset + self.tokenizer.count(&block)?) as i64;
        }
        Ok(Padding {
            tries,
            tokens: (target - offset).saturating_add_signed(-missing),
            aligned: missing == 0,
        })
    }
}
