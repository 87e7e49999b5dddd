//! A tokenizer.json on this machine: where it is looked for, and what it can be asked. Nothing is downloaded.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::library::{Library, Special};
use super::remote::EngineTokenizer;
use super::special::SpecialTokens;
use super::template::ChatTemplate;
use crate::engine::hub_cache;
use crate::engine::template_kwargs::TemplateKwargs;
use crate::error::Error;
use crate::sys::deadline::Deadline;
use crate::sys::detached::run_detached;
use crate::sys::whole_file;
use crate::url::literal_path_advice;

pub(super) const FILE_NAME: &str = "tokenizer.json";
/// The largest known file, of 262,144 tokens, has 33 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Far longer than parsing any tokenizer takes.
const LOAD_MAX: Duration = Duration::from_secs(600);
/// The start of the file that git leaves when Git LFS did not fetch the real one.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A loaded tokenizer.json; clones share it.
#[derive(Clone)]
pub struct LocalTokenizer {
    inner: Arc<Library>,
    path: PathBuf,
    /// The special tokens that tokenizer_config.json declares.
    special: Arc<SpecialTokens>,
    /// The engine, where prompts depend on the chat template that it applies.
    engine: Option<Arc<EngineTokenizer>>,
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
            engine: None,
        })
    }

    /// Has the engine asked too where its chat template counts.
    pub fn beside(&mut self, engine: Arc<EngineTokenizer>) {
        self.engine = Some(engine);
    }

    pub fn engine(&self) -> Option<&EngineTokenizer> {
        self.engine.as_deref()
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

    /// What the model's chat template puts before the text of a user. An error says why it is not known.
    pub fn chat_head(&self, kwargs: &TemplateKwargs) -> Result<String, String> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        ChatTemplate::of_folder(folder, &self.special)?.head(kwargs)
    }

    fn failed(&self, verb: &str, cause: &str) -> Error {
        let path = self.path.display();
        Error::Environment(format!(
            "the tokenizer {path} could not {verb}: {cause}; name another one with --tokenizer"
        ))
    }

    /// The texts of all tokens that are not declared special.
    pub(super) fn vocabulary(&self) -> impl Iterator<Item = String> {
        let special: HashSet<u32> = self.special.texts().filter_map(|text| self.inner.id_of(text)).collect();
        self.inner
            .vocabulary()
            .into_iter()
            .filter(move |(_, id)| !special.contains(id))
            .map(|(text, _)| text)
    }
}

/// The error when `--tokenizer` does not name a tokenizer.
pub(super) fn unusable(path: &Path, cause: &str) -> Error {
    let advice = literal_path_advice(path).unwrap_or_else(|| {
        format!("give the model's folder or its {FILE_NAME}; a name in the Hugging Face cache goes into --model")
    });
    Error::Environment(format!("--tokenizer {}: {cause}; {advice}", path.display()))
}

/// The tokenizer.json of a model: in the folder of that name, or the newest download in the Hugging Face cache.
pub(super) fn find(model: &str) -> Option<PathBuf> {
    let own = Path::new(model).join(FILE_NAME);
    if own.is_file() {
        return Some(own);
    }
    hub_cache::file("models", model, FILE_NAME)
}
