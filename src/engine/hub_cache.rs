//! Files in the local Hugging Face cache. Nothing is downloaded.

use std::env;
use std::path::PathBuf;

use crate::sys::whole_file;

/// `refs/main` holds the hash of a commit.
const REVISION_BYTES_MAX: u64 = 4096;

/// A file of the newest download of a repository. `kind` is `models` or `datasets`.
pub fn file(kind: &str, repository: &str, name: &str) -> Option<PathBuf> {
    let folder = cache()?.join(format!("{kind}--{}", repository.replace('/', "--")));
    let revision = whole_file::read(&folder.join("refs/main"), REVISION_BYTES_MAX).ok()?;
    let revision = String::from_utf8(revision).ok()?;
    let file = folder.join("snapshots").join(revision.trim()).join(name);
    file.is_file().then_some(file)
}

fn cache() -> Option<PathBuf> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given("HF_HUB_CACHE")
        .or_else(|| given("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| given("HOME").map(|home| home.join(".cache/huggingface/hub")))
}
