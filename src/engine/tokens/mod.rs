//! Counts the tokens of a text and turns tokens into text: with the model's tokenizer.json, with the engine's `/tokenize`, or by
//! words. Nothing is downloaded.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::config::{EngineConfig, PromptText};
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::sys::deadline::Deadline;
use crate::sys::detached::run_detached;
use crate::sys::whole_file;
use crate::url::literal_path_advice;

mod charsmap;
pub mod library;
pub mod pool;
pub mod remote;
pub(crate) mod special;

use library::{Library, Special};
use remote::EngineTokenizer;
use special::SpecialTokens;

const FILE_NAME: &str = "tokenizer.json";
/// The largest known file, of 262,144 tokens, has 33 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Far longer than parsing any tokenizer takes.
const LOAD_MAX: Duration = Duration::from_secs(600);
/// `refs/main` holds the hash of a commit.
const REVISION_BYTES_MAX: u64 = 4096;
/// The start of the file that git leaves when Git LFS did not fetch the real one.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Where token counts come from, best first.
pub enum Tokenizer {
    Local(LocalTokenizer),
    Engine(Box<EngineTokenizer>),
    /// No tokenizer: lengths are counted in words. Holds the reason, if one was looked for.
    Words(Option<String>),
}

/// A loaded tokenizer.json; clones share it.
#[derive(Clone)]
pub struct LocalTokenizer {
    inner: Arc<Library>,
    path: PathBuf,
    /// The special tokens that tokenizer_config.json declares.
    special: Arc<SpecialTokens>,
}

impl Tokenizer {
    /// The best source that this run needs. Fails if the workload requires a tokenizer and there is none, or if `--tokenizer`
    /// does not name one.
    pub fn open(config: &EngineConfig, key: &ApiKey) -> Result<Tokenizer, Error> {
        if let Some(path) = &config.tokenizer {
            return LocalTokenizer::load(path)
                .map(Tokenizer::Local)
                .map_err(|cause| unusable(path, &cause));
        }
        let prompt_text = config.workload.prompt_text;
        let draws_tokens = matches!(prompt_text, PromptText::SingleTokens | PromptText::RandomTokens);
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
        if draws_tokens && config.exact_lengths {
            return Err(Error::Environment(format!(
                "--exact-lengths needs the tokenizer itself for {}: {why}; give --tokenizer PATH, or leave --exact-lengths out",
                config.workload.name().text()
            )));
        }
        if !config.exact_lengths {
            return Ok(Tokenizer::Words(Some(why)));
        }
        let engine = EngineTokenizer::connect(&config.base_url(), &config.model, key);
        engine
            .map(|engine| Tokenizer::Engine(Box::new(engine)))
            .map_err(|cause| uncounted(&format!("{why}, and {cause}")))
    }

    /// The tokenizer of a folder or of a tokenizer.json.
    #[cfg(test)]
    pub fn from_folder(path: &Path) -> Result<Tokenizer, Error> {
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

    /// Number of tokens in a text, without special tokens; words if there is no tokenizer.
    pub fn count(&self, text: &str) -> Result<u64, Error> {
        match self {
            Tokenizer::Local(local) => Ok(local.encode(text)?.len() as u64),
            Tokenizer::Engine(engine) => engine.count(text).map_err(|cause| uncounted(&cause)),
            Tokenizer::Words(_) => Ok(text.split_whitespace().count() as u64),
        }
    }

    /// A note for the report if prompt lengths are not exact.
    pub fn note(&self, config: &EngineConfig) -> Option<String> {
        let without = match self {
            Tokenizer::Words(why) => why,
            _ if config.exact_lengths => return None,
            _ => &None,
        };
        match (config.workload.prompt_text, without) {
            // A workload of given texts says it itself, if it had to count.
            (PromptText::SingleTokens | PromptText::Given, _) => None,
            (PromptText::RandomTokens, Some(why)) => Some(format!(
                "no tokenizer ({why}), so prompts are one repeated word, as in LMCache; give --tokenizer PATH for random text"
            )),
            (PromptText::RandomTokens, None) => Some(
                "prompt lengths are approximate: random tokens do not all survive being tokenized again".to_string(),
            ),
            (PromptText::RepeatedWord, _) => Some(
                "prompt lengths are words less a fixed allowance, as in LMCache; --exact-lengths makes them tokens"
                    .to_string(),
            ),
        }
    }
}

impl LocalTokenizer {
    pub fn load(path: &Path) -> Result<LocalTokenizer, String> {
        let file = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let bytes = whole_file::read(&file, FILE_BYTES_MAX)
            .map_err(|cause| format!("could not read {}: {cause}", file.display()))?;
        if bytes.starts_with(LFS_POINTER) {
            return Err(format!(
                "{} is only a pointer of git lfs; get the file with git lfs pull",
                file.display()
            ));
        }
        // On its own thread: a large file takes seconds, in which Ctrl-C has to work.
        let read = run_detached("tokenizer", &Deadline::after(LOAD_MAX), move || Library::read(&bytes));
        let inner = read
            .map_err(|error| error.to_string())
            .and_then(|read| read)
            .map_err(|cause| format!("could not understand {}: {cause}", file.display()))?;
        let special = SpecialTokens::of_config(&file.with_file_name("tokenizer_config.json"));
        Ok(LocalTokenizer {
            inner: Arc::new(inner),
            path: file,
            special: Arc::new(special),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Token ids, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.inner
            .encode(text)
            .map_err(|cause| self.failed("encode a text", &cause))
    }

    /// The text of token ids; special ids and ids outside the vocabulary are skipped.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.inner
            .decode(ids, Special::Skipped)
            .map_err(|cause| self.failed("decode tokens", &cause))
    }

    fn failed(&self, verb: &str, cause: &str) -> Error {
        let path = self.path.display();
        Error::Environment(format!(
            "the tokenizer {path} could not {verb}: {cause}; name another one with --tokenizer"
        ))
    }

    /// The texts of all tokens that are not declared special.
    fn vocabulary(&self) -> impl Iterator<Item = String> {
        let special: HashSet<u32> = self.special.texts().filter_map(|text| self.inner.id_of(text)).collect();
        self.inner
            .vocabulary()
            .into_iter()
            .filter(move |(_, id)| !special.contains(id))
            .map(|(text, _)| text)
    }
}

/// The error when `--exact-lengths` is given and nothing can count tokens.
fn uncounted(why: &str) -> Error {
    Error::Environment(format!(
        "--exact-lengths needs a tokenizer: {why}; give --tokenizer PATH, or leave --exact-lengths out"
    ))
}

/// The error when `--tokenizer` does not name a tokenizer.
fn unusable(path: &Path, cause: &str) -> Error {
    let advice = literal_path_advice(path).unwrap_or_else(|| {
        format!("give the model's folder or its {FILE_NAME}; a name in the Hugging Face cache goes into --model")
    });
    Error::Environment(format!("--tokenizer {}: {cause}; {advice}", path.display()))
}

/// The tokenizer.json of a model: in the folder of that name, or the newest download in the Hugging Face cache.
fn find(model: &str) -> Option<PathBuf> {
    let own = Path::new(model).join(FILE_NAME);
    if own.is_file() {
        return Some(own);
    }
    let folder = cache()?.join(format!("models--{}", model.replace('/', "--")));
    let revision = whole_file::read(&folder.join("refs/main"), REVISION_BYTES_MAX).ok()?;
    let revision = String::from_utf8(revision).ok()?;
    let file = folder.join("snapshots").join(revision.trim()).join(FILE_NAME);
    file.is_file().then_some(file)
}

fn cache() -> Option<PathBuf> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given("HF_HUB_CACHE")
        .or_else(|| given("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| given("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests;
