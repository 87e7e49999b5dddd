//! Which Python runs the helper, and what to install when something is missing there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `--python`, then `LMCACHE_PYTHON`, then the active virtual environment, then `python3` on the search path.
pub fn find(flag: Option<&Path>) -> PathBuf {
    choose(flag, |name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn choose(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    flag.map(Path::to_owned)
        .or_else(|| variable("LMCACHE_PYTHON").map(PathBuf::from))
        .or_else(|| variable("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin/python")))
        .unwrap_or_else(|| PathBuf::from("python3"))
}

/// The sentence for a Python that cannot import LMCache.
pub fn missing_lmcache(python: &Path, message: &str, module: Option<&str>) -> String {
    let python = python.display();
    match module {
        Some(module) if module == "lmcache" || module == "torch" => format!(
            "{python} has no module '{module}'; install LMCache there with `{python} -m pip install lmcache`, or name \
             another Python with --python or LMCACHE_PYTHON"
        ),
        _ => format!(
            "LMCache could not be imported by {python}: {message}; repair or update it with `{python} -m pip install \
             -U lmcache`, or name another Python with --python or LMCACHE_PYTHON"
        ),
    }
}

/// The sentence for an adapter that could not be created. What a type needs besides LMCache is named only when something
/// could not be imported or is not built in.
pub fn no_adapter(type_name: &str, python: &Path, message: &str, module: Option<&str>) -> String {
    // A sentence of LMCache's loses its full stop, a command (`pip install -e .`) keeps it.
    let message = match message.strip_suffix('.') {
        Some(sentence) if !sentence.ends_with(' ') => sentence,
        _ => message,
    };
    let absent = module.is_some() || ABSENT.iter().any(|text| message.contains(text));
    match needs(type_name).filter(|_| absent) {
        Some(needs) => format!(
            "{message}; adapter type '{type_name}' needs {}",
            needs.replace("PYTHON", &python.display().to_string())
        ),
        None => message.to_owned(),
    }
}

/// LMCache 0.5.6's messages for a missing library, extension or service of this node.
const ABSENT: [&str; 6] = [
    "not installed",
    "not available",
    "No module named",
    " C++ ",
    "channel context not initialized",
    "shared-memory segment",
];

fn needs(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        "valkey" => "the GLIDE client: `PYTHON -m pip install 'valkey-glide-sync>=2.3'`",
        "s3" => "the AWS runtime: `PYTHON -m pip install awscrt boto3`",
        "nixl_store" | "nixl_store_dynamic" => "NIXL: `PYTHON -m pip install nixl`",
        "nixl_native" => "NIXL (`PYTHON -m pip install nixl`) and an LMCache that was built with NIXL's headers",
        "p2p" => {
            "a transfer channel, which only a running LMCache server makes: measure that server with `lmcache-bench server`"
        }
        "bigtable" => "Google's client: `PYTHON -m pip install google-cloud-bigtable`",
        "hfbucket" => "the Hugging Face client: `PYTHON -m pip install -U huggingface_hub`",
        "raw_block" => {
            "LMCache's Rust extension, which its wheels do not carry: `PYTHON -m pip install ./rust/raw_block` in its \
             unpacked source distribution"
        }
        "mooncake_store" => "an LMCache that was built with the Mooncake SDK",
        "aerospike" => "an LMCache that was built with the Aerospike C client",
        "hf3fs" => "an LMCache that was built with the 3FS USRBIO library",
        "sagemaker-hyperpod" => "the HyperPod daemon on this node, whose memory it maps",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_given_is_taken() {
        let all = |name: &str| Some(OsString::from(format!("/{name}")));
        let none = |_: &str| None;
        assert_eq!(choose(Some(Path::new("/p")), all), Path::new("/p"));
        assert_eq!(choose(None, all), Path::new("/LMCACHE_PYTHON"));
        let only_venv = |name: &str| (name == "VIRTUAL_ENV").then(|| OsString::from("/v"));
        assert_eq!(choose(None, only_venv), Path::new("/v/bin/python"));
        assert_eq!(choose(None, none), Path::new("python3"));
    }

    #[test]
    fn what_is_missing_is_said_with_how_to_get_it() {
        let python = Path::new("/v/bin/python");
        let text = missing_lmcache(python, "No module named 'lmcache'", Some("lmcache"));
        assert!(text.contains("`/v/bin/python -m pip install lmcache`"), "{text}");
        let text = missing_lmcache(python, "cannot import name 'x'", Some("lmcache.y"));
        assert!(text.contains("cannot import name 'x'"), "{text}");
        let text = no_adapter("valkey", python, "No module named 'glide_sync'", Some("glide_sync"));
        assert!(
            text.ends_with("`/v/bin/python -m pip install 'valkey-glide-sync>=2.3'`"),
            "{text}"
        );
        let text = no_adapter("p2p", python, "Transfer channel context not initialized.", None);
        assert!(text.contains("lmcache-bench server"), "{text}");
        let text = no_adapter("resp", python, "connection refused", None);
        assert_eq!(text, "connection refused");
        let text = no_adapter("aerospike", python, "Build with: pip install -e .", None);
        assert_eq!(text, "Build with: pip install -e .");
        let text = no_adapter("valkey", python, "connection refused.", None);
        assert_eq!(text, "connection refused");
    }
}
