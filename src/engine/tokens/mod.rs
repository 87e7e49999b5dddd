//! Counts the tokens of a text and turns tokens into text: with the model's tokenizer.json, with the engine's `/tokenize` and
//! `/detokenize`, or by words. Nothing is downloaded.

use std::sync::Arc;

use crate::engine::ask::discover::Engine;
use crate::engine::config::{EngineConfig, PromptText};
use crate::error::Error;
use crate::http::api_key::ApiKey;

mod charsmap;
pub mod chat_prefix;
pub mod library;
mod local;
mod made_up;
pub mod pool;
pub mod prompt_ids;
mod remote;
pub mod reply;
pub(crate) mod special;
pub mod template;
pub mod vocabulary;

pub use local::{FILE_BYTES_MAX, LocalTokenizer};
use local::{FILE_NAME, find, unusable};

pub use remote::{EngineTokenizer, ended};

/// A token of a made-up word, its blank included, has fewer bytes on average: a word has ten, and three tokens or more.
const MADE_UP_TOKEN_BYTES_MAX: u64 = 4;

/// Words that one token holds at most, with room for tokens across blanks. A count below that is none.
pub const WORDS_PER_TOKEN_MAX: u64 = 4;

/// Where token counts and words come from, best first.
#[derive(Clone)]
pub enum Tokenizer {
    Local(LocalTokenizer),
    Engine(Arc<EngineTokenizer>),
    /// No tokenizer: lengths are counted in words. Holds the reason, if one was looked for.
    Words(Option<String>),
}

impl Tokenizer {
    /// The best source that this run needs. Fails if `--tokenizer` does not name a tokenizer, or if lengths must be exact and
    /// nothing counts tokens.
    pub fn open(config: &EngineConfig, key: &ApiKey) -> Result<Tokenizer, Error> {
        let mut tokenizer = Tokenizer::best(config, key)?;
        if let (Tokenizer::Local(local), PromptText::Padded) = (&mut tokenizer, config.workload.prompt_text) {
            let engine = EngineTokenizer::unasked(&config.base_url(), &config.model, key);
            local.beside(Arc::new(engine));
        }
        Ok(tokenizer)
    }

    fn best(config: &EngineConfig, key: &ApiKey) -> Result<Tokenizer, Error> {
        if let Some(path) = &config.tokenizer {
            return LocalTokenizer::load(path)
                .map(Tokenizer::Local)
                .map_err(|cause| unusable(path, &cause));
        }
        let prompt_text = config.workload.prompt_text;
        let draws_tokens = prompt_text.draws_tokens();
        if prompt_text == PromptText::RepeatedWord && !config.exact_lengths {
            return Ok(Tokenizer::Words(None));
        }
        let why = match find(&config.model).map(|path| LocalTokenizer::load(&path)) {
            Some(Ok(local)) => return Ok(Tokenizer::Local(local)),
            Some(Err(cause)) => cause,
            None => format!(
                "{:?} is neither a folder with a {FILE_NAME} nor in the Hugging Face cache",
                config.model
            ),
        };
        if prompt_text == PromptText::Given && !config.exact_lengths {
            return Ok(Tokenizer::Words(Some(why)));
        }
        let engine = EngineTokenizer::connect(&config.base_url(), &config.model, key, draws_tokens);
        match engine {
            Ok(engine) => Ok(Tokenizer::Engine(Arc::new(engine))),
            Err(cause) if config.exact_lengths => Err(Error::Environment(format!(
                "--exact-lengths needs a tokenizer: {why}, and {cause}; give --tokenizer PATH, or leave --exact-lengths out"
            ))),
            Err(cause) => {
                remote::ended()?;
                Ok(Tokenizer::Words(Some(format!("{why}, and {cause}"))))
            }
        }
    }

    /// The tokenizer of a folder or of a tokenizer.json.
    #[cfg(test)]
    pub fn from_folder(path: &std::path::Path) -> Result<Tokenizer, Error> {
        LocalTokenizer::load(path)
            .map(Tokenizer::Local)
            .map_err(|cause| Error::Environment(format!("{}: {cause}", path.display())))
    }

    pub fn local(&self) -> Option<&LocalTokenizer> {
        match self {
            Tokenizer::Local(local) => Some(local),
            _ => None,
        }
    }

    /// Whether questions go to the engine, which must not be asked while a run is measured.
    pub fn asks_the_engine(&self) -> bool {
        matches!(self, Tokenizer::Engine(_))
    }

    /// Whether tokens can be turned into text, and so the vocabulary be had.
    pub fn decodes(&self) -> bool {
        match self {
            Tokenizer::Local(_) => true,
            Tokenizer::Engine(engine) => engine.no_text().is_none(),
            Tokenizer::Words(_) => false,
        }
    }

    /// Before the prompts of another load: an engine may be asked as much for each.
    pub fn start_over(&self) {
        if let Tokenizer::Engine(engine) = self {
            engine.start_over();
        }
    }

    /// Number of tokens in a text, without special tokens; words if there is no tokenizer.
    pub fn count(&self, text: &str) -> Result<u64, Error> {
        match self {
            Tokenizer::Local(local) => Ok(local.encode(text)?.len() as u64),
            Tokenizer::Engine(engine) => engine.count(text).map_err(lost),
            Tokenizer::Words(_) => Ok(text.split_whitespace().count() as u64),
        }
    }

    /// Refuses to ask the engine about so many texts if `each` of them takes about so many questions that they are more than
    /// one load may ask. `advice` says how there are fewer.
    pub fn check_texts(&self, texts: u64, each: u64, advice: &str) -> Result<(), Error> {
        let (Tokenizer::Engine(engine), questions) = (self, texts.saturating_mul(each)) else {
            return Ok(());
        };
        let most = engine.calls_max();
        if questions <= most {
            return Ok(());
        }
        Err(Error::Settings(format!(
            "{texts} texts of a wanted length would take some {questions} questions to the tokenizer of the engine at {}, and \
             a load may ask {most}; {advice}, or give --tokenizer PATH",
            engine.root()
        )))
    }

    /// Number of tokens in a text of `words` words, with `around` tokens besides them. Refuses a count that does not grow with
    /// the words, because no length could be reached by it.
    pub fn count_words(&self, text: &str, words: u64, around: u64) -> Result<u64, Error> {
        let counted = self.count(text)?;
        let grown = counted.saturating_sub(around);
        if grown.saturating_add(1).saturating_mul(WORDS_PER_TOKEN_MAX) >= words {
            return Ok(counted);
        }
        let (whose, advice) = match self {
            Tokenizer::Engine(engine) => (
                format!("{}/tokenize", engine.root()),
                "give --tokenizer PATH, so that this run does not need it",
            ),
            Tokenizer::Local(local) => (
                format!("the tokenizer {}", local.path().display()),
                "give the model's own with --tokenizer PATH",
            ),
            Tokenizer::Words(_) => return Ok(counted),
        };
        Err(Error::Environment(format!(
            "{whose} counts {grown} tokens for {words} words, so its count does not grow with a text and no prompt of a \
             wanted length can be made; {advice}"
        )))
    }

    /// The text of token ids, without special tokens and without ids that the vocabulary does not have. vLLM keeps its special
    /// tokens. Only for a tokenizer that decodes.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        match self {
            Tokenizer::Local(local) => local.decode(ids),
            Tokenizer::Engine(engine) => engine.decode(ids).map_err(lost),
            Tokenizer::Words(_) => Err(Error::Internal("words have no tokens to decode".into())),
        }
    }

    /// Refuses a first body that is too long for the engine although its words are not too many: made-up words are several
    /// tokens each.
    pub fn check_first_body(&self, config: &EngineConfig, key: &ApiKey, body_bytes: u64) -> Result<(), Error> {
        if !matches!(self, Tokenizer::Words(Some(_))) || config.workload.prompt_text != PromptText::SingleTokens {
            return Ok(());
        }
        let (base_url, tokens) = (config.base_url(), body_bytes / MADE_UP_TOKEN_BYTES_MAX);
        let engine = Engine {
            base_url: &base_url,
            key,
        };
        match engine.max_model_len(&config.model) {
            Some(most) if tokens > most => Err(Error::Environment(format!(
                "the first prompt has more than {tokens} tokens and the engine takes {most} (max_model_len): without a \
                 tokenizer lengths are words, of three to five tokens each; give --tokenizer PATH, or ask for shorter prompts"
            ))),
            _ => Ok(()),
        }
    }

    /// A line for people about where the words of the prompts came from, once they are there.
    pub fn told(&self, config: &EngineConfig) -> Option<String> {
        match self {
            Tokenizer::Engine(engine) if config.workload.prompt_text.draws_tokens() && self.decodes() => {
                Some(format!("words from the engine's tokenizer ({})", engine.spent()))
            }
            _ => None,
        }
    }

    /// A note for the report if prompt lengths are not exact, or if prompts are not the reference's for want of a tokenizer.
    pub fn note(&self, config: &EngineConfig) -> Option<String> {
        let counted_only = match self {
            Tokenizer::Engine(engine) => engine.no_text(),
            _ => None,
        };
        match (config.workload.prompt_text, self, counted_only) {
            (PromptText::SingleTokens, Tokenizer::Words(Some(why)), _) => Some(format!(
                "words are made up, as in LMCache 0.5.2, and lengths are words of three to five tokens each: {why}; give \
                 --tokenizer PATH for exact lengths"
            )),
            (PromptText::SingleTokens, _, Some(why)) => Some(format!(
                "words are made up and lengths counted by the engine, so these are not LMCache's requests: {why}; give \
                 --tokenizer PATH for those"
            )),
            (PromptText::Drawn, Tokenizer::Words(Some(why)), _) => Some(format!(
                "words are made up, and lengths are words of three to five tokens each until the engine has counted them: {why}; \
                 give --tokenizer PATH for exact lengths"
            )),
            (PromptText::Drawn, ..) => None,
            // A workload of given texts says it itself, if it had to count.
            (PromptText::SingleTokens | PromptText::Padded | PromptText::Given, ..) => None,
            (PromptText::RandomTokens, Tokenizer::Words(Some(why)), _) => Some(format!(
                "no tokenizer ({why}), so prompts are one repeated word, as in LMCache; give --tokenizer PATH for random text"
            )),
            (PromptText::RandomTokens, _, Some(why)) => Some(format!(
                "prompts are one repeated word, as in LMCache without a tokenizer ({why}); give --tokenizer PATH for random \
                 text"
            )),
            (_, Tokenizer::Local(_) | Tokenizer::Engine(_), _) if config.exact_lengths => None,
            (PromptText::RandomTokens, ..) => Some(
                "prompt lengths are approximate: random tokens do not all survive being tokenized again".to_string(),
            ),
            (PromptText::RepeatedWord, ..) => Some(
                "prompt lengths are words less a fixed allowance, as in LMCache; --exact-lengths makes them tokens"
                    .to_string(),
            ),
        }
    }
}

/// The error when an engine that counted tokens fails at it.
fn lost(cause: String) -> Error {
    if let Err(error) = remote::ended() {
        return error;
    }
    Error::Environment(format!(
        "the engine's tokenizer failed: {cause}; give --tokenizer PATH, so that this run does not need it"
    ))
}

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
