//! What of an address may be shown. A password that stands in a URL is used, but it goes into no report and no message.

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

#[cfg(test)]
mod tests {
    use super::*;

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
