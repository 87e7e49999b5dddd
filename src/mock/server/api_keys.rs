//! The keys that the HTTP API asks for, as LMCache's server since 0.5.7 does.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::http::lmcache_key::FILE_BYTES_MAX;
use crate::sys::whole_file;

/// These say whether the server lives, and need no key.
const OPEN_PATHS: [&str; 2] = ["/", "/healthcheck"];
const OWN_HEADER: &str = "x-lmcache-api-key";

/// Without any, everything is open.
pub struct ApiKeys(Vec<String>);

impl ApiKeys {
    pub fn new(keys: Vec<String>) -> ApiKeys {
        ApiKeys(keys)
    }

    /// Each file holds one key in one line.
    pub fn read(paths: &[PathBuf]) -> Result<ApiKeys, Error> {
        let keys: Result<_, String> = paths.iter().map(|path| key_in(path)).collect();
        keys.map(ApiKeys::new).map_err(Error::Environment)
    }

    /// Whether the server answers a request for `path` that has these headers, in order.
    pub fn admit(&self, path: &str, headers: &[(&str, &str)]) -> bool {
        let value = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| *value)
        };
        let known = |key: &str| self.0.iter().any(|known| known == key);
        self.0.is_empty()
            || OPEN_PATHS.contains(&path)
            || value("authorization").and_then(bearer).is_some_and(known)
            || value(OWN_HEADER).is_some_and(known)
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

fn key_in(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let refused = |why: &str| format!("--api-key-file {shown} cannot be used: {why}; write one key in one line there");
    let bytes = whole_file::read(path, FILE_BYTES_MAX).map_err(|error| refused(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
    match text.trim() {
        "" => Err(refused("it is empty")),
        key if key.lines().count() > 1 => Err(refused("it has several lines")),
        key => Ok(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As captured from the real server.
    #[test]
    fn either_header_opens_what_is_not_open_anyway() {
        let keys = ApiKeys::new(vec!["s3cret".into(), "next".into()]);
        for (headers, opens) in [
            (&[][..], false),
            (&[("Authorization", "Bearer s3cret")], true),
            (&[("authorization", "bearer next")], true),
            (&[("authorization", "Bearer  s3cret")], false),
            (&[("authorization", "Bearer wrong")], false),
            (&[("authorization", "Basic s3cret")], false),
            (&[("authorization", "s3cret")], false),
            (&[("X-LMCache-API-Key", "s3cret")], true),
            (
                &[("authorization", "Bearer wrong"), ("x-lmcache-api-key", "s3cret")],
                true,
            ),
        ] {
            assert_eq!(keys.admit("/status", headers), opens, "{headers:?}");
            assert!(keys.admit("/", headers) && keys.admit("/healthcheck", headers));
            assert!(ApiKeys::new(Vec::new()).admit("/status", headers));
        }
        assert!(!keys.admit("/healthcheck/", &[]));
    }
}
