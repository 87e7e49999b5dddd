//! Addresses and paths as people type them. A password in a URL is used, but shown in no report and no message.

use std::path::Path;

/// The URL with `***` for a password in front of its host.
pub fn without_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let hidden = url[start..end].rfind('@').and_then(|at| {
        let colon = url[start..start + at].find(':')?;
        Some((start + colon + 1, start + at))
    });
    match hidden {
        Some((from, to)) => format!("{}***{}", &url[..from], &url[to..]),
        None => url.to_owned(),
    }
}

/// The address with its scheme in small letters, `http://` where it has none.
pub fn with_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("{}://{rest}", scheme.to_ascii_lowercase())
        }
        _ => format!("http://{url}"),
    }
}

pub fn is_https(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// What a reader should know about a path that looks as if something would replace its beginning: nothing does. `flag` is
/// where it was given.
pub fn literal_path_note(flag: &str, path: &Path) -> Option<String> {
    let advice = literal_path_advice(path)?;
    Some(format!("{flag} {} is taken as it stands: {advice}", path.display()))
}

/// The same behind an error that names the path.
pub fn literal_path_advice(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let scheme = "file://";
    let start = text.get(..scheme.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
        let rest = &text[scheme.len()..];
        let rest = rest.strip_prefix("localhost").unwrap_or(rest);
        return Some(format!(
            "it is a path, in which file:// is a folder's name; write {rest}"
        ));
    }
    let rest = text.strip_prefix('~')?;
    let instead = if rest.is_empty() || rest.starts_with('/') {
        format!("$HOME{rest}")
    } else {
        "the whole path".to_owned()
    };
    Some(format!(
        "only a shell replaces ~, and only unquoted at the start of a word (not after =); write {instead}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_known_in_any_case() {
        for (url, whole) in [
            ("HTTP://H:1/V", "http://H:1/V"),
            ("Https://h", "https://h"),
            ("h:1", "http://h:1"),
            ("h/?u=ftp://x", "http://h/?u=ftp://x"),
        ] {
            assert_eq!(with_scheme(url), whole);
        }
    }

    #[test]
    fn what_nothing_replaces_in_a_path_is_told() {
        let note = |path: &str| literal_path_note("--output", Path::new(path)).unwrap_or_default();
        for (path, instead) in [
            ("~/r.json", "write $HOME/r.json"),
            ("~", "write $HOME"),
            ("~other/r", "write the whole path"),
            ("file:///tmp/r", "write /tmp/r"),
            ("FILE://localhost/tmp/r", "write /tmp/r"),
        ] {
            let text = note(path);
            assert!(text.starts_with(&format!("--output {path} ")), "{text}");
            assert!(text.ends_with(instead), "{text}");
        }
        for path in ["/tmp/~", "r~", "./~/x", "file:/x", "", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(note(path), "", "{path}");
        }
    }

    #[test]
    fn only_the_password_goes() {
        for (url, shown) in [
            ("http://user:secret@host:80/v1", "http://user:***@host:80/v1"),
            ("https://u:a@b:c@host", "https://u:***@host"),
            ("user:secret@host/x", "user:***@host/x"),
            ("http://user@host:80", "http://user@host:80"),
            ("http://host:80/a:b@c", "http://host:80/a:b@c"),
            ("http://[::1]:80/?q=x:y@z", "http://[::1]:80/?q=x:y@z"),
            ("", ""),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
