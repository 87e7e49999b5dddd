//! The key of LMCache's cache server, from the variables that the server itself reads its keys from. Servers ask for one since
//! 0.5.7.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use super::api_key::ApiKey;
use crate::error::Error;
use crate::sys::whole_file;

/// Each with its older name, which counts where the newer one is unset.
const VALUES: [&str; 2] = ["LMCACHE_API_KEY", "LMCACHE_HTTP_API_KEY"];
const FILES: [&str; 2] = ["LMCACHE_API_KEY_FILE", "LMCACHE_HTTP_API_KEY_FILE"];
/// What to set, for messages.
pub const VARIABLE: &str = "LMCACHE_API_KEY, or LMCACHE_API_KEY_FILE to a file with it";
/// A key is one line.
pub const FILE_BYTES_MAX: u64 = 64 << 10;

/// The key for the server at `url`, if there is one. Without a server no variable is read, so that a wrong one does no harm.
pub fn for_url(url: Option<&str>) -> Result<Option<ApiKey>, Error> {
    match url {
        Some(url) if !url.is_empty() => from(|name| env::var_os(name)),
        _ => Ok(None),
    }
}

/// A file that was named and cannot be used is an error: a run without the key would end in a refusal that does not name the
/// cause.
fn from(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<ApiKey>, Error> {
    let first = |names: [&'static str; 2]| {
        let set = |name| get(name).filter(|value: &OsString| !value.is_empty());
        names.into_iter().find_map(|name| Some((name, set(name)?)))
    };
    let key = if let Some((name, value)) = first(VALUES) {
        // A value that is not UTF-8 stays a key, so that `problem` reports it.
        ApiKey::new(value.to_string_lossy().into_owned(), name)
    } else if let Some((name, path)) = first(FILES) {
        from_file(name, Path::new(&path)).map_err(Error::Environment)?
    } else {
        return Ok(None);
    };
    key.problem()
        .map_or(Ok(Some(key)), |problem| Err(Error::Usage(problem)))
}

fn from_file(variable: &str, path: &Path) -> Result<ApiKey, String> {
    let refused = |why: &str| {
        let path = path.display();
        format!("{variable} {path} cannot be used: {why}; name a file with the key in one line, or unset it")
    };
    let bytes = whole_file::read(path, FILE_BYTES_MAX).map_err(|error| refused(&error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let key = text.lines().map(str::trim).find(|line| !line.is_empty());
    let source = format!("the first line of {} ({variable})", path.display());
    let key = key.ok_or_else(|| refused("it is empty"))?;
    Ok(ApiKey::new(key.to_owned(), source))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<ApiKey>, Error> {
        from(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    fn bearer(variables: &[(&str, &str)]) -> Option<String> {
        of(variables).unwrap().map(|key| key.bearer())
    }

    /// A file with this text, removed on drop.
    struct KeyFile(std::path::PathBuf);

    impl KeyFile {
        fn new(name: &str, text: &[u8]) -> KeyFile {
            let path = crate::testing::temporary_path(&format!("key-{name}"));
            fs::write(&path, text).unwrap();
            KeyFile(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for KeyFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_value_goes_before_the_file_and_the_newer_name_before_the_older() {
        let file = KeyFile::new("order", b"\n  in-file \r\nnext\n");
        let (newer, older) = (("LMCACHE_API_KEY", "newer"), ("LMCACHE_HTTP_API_KEY", "older"));
        let in_file = ("LMCACHE_API_KEY_FILE", file.path());
        let older_file = ("LMCACHE_HTTP_API_KEY_FILE", file.path());
        for (variables, want) in [
            (vec![older, newer, in_file], Some("Bearer newer")),
            (vec![("LMCACHE_API_KEY", ""), older, in_file], Some("Bearer older")),
            (
                vec![("LMCACHE_HTTP_API_KEY_FILE", "/nowhere"), in_file],
                Some("Bearer in-file"),
            ),
            (vec![older_file], Some("Bearer in-file")),
            (vec![("LMCACHE_API_KEY", ""), ("LMCACHE_API_KEY_FILE", "")], None),
            (vec![], None),
        ] {
            assert_eq!(bearer(&variables).as_deref(), want, "{variables:?}");
        }
        assert!(for_url(None).unwrap().is_none() && for_url(Some("")).unwrap().is_none());
    }

    #[test]
    fn a_file_without_a_key_is_an_error_that_names_it() {
        let empty = KeyFile::new("empty", b" \n\n");
        let long = KeyFile::new("long", &vec![b'k'; FILE_BYTES_MAX as usize + 1]);
        for (path, why) in [
            (empty.path(), "it is empty"),
            (long.path(), "it is larger than"),
            ("/nowhere", "No such file"),
            ("/", "directory"),
        ] {
            let error = of(&[("LMCACHE_API_KEY_FILE", path)]).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Environment(_)) && text.contains(why), "{text}");
            assert!(
                text.starts_with(&format!("LMCACHE_API_KEY_FILE {path} cannot")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_it() {
        let file = KeyFile::new("odd", b"k\xf6y\n");
        let refused = |variables: &[(&str, &str)]| match of(variables).unwrap_err() {
            Error::Usage(text) => text,
            other => panic!("{other}"),
        };
        let text = refused(&[("LMCACHE_HTTP_API_KEY", "kay\u{1}word")]);
        assert!(
            text.starts_with("LMCACHE_HTTP_API_KEY has a control character at place 4"),
            "{text}"
        );
        let told = refused(&[("LMCACHE_API_KEY_FILE", file.path())]);
        let want = format!(
            "the first line of {} (LMCACHE_API_KEY_FILE) has a character",
            file.path()
        );
        assert!(told.starts_with(&want) && !text.contains("word"), "{told} {text}");
        let odd = from(|_| Some(OsString::from_vec(b"\xff".to_vec()))).unwrap_err();
        assert!(odd.to_string().contains("beyond ASCII"), "{odd}");
    }
}
