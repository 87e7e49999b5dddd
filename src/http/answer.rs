//! Responses to small requests: the decoded body, the target of a redirect, and the text of an HTTP library's error. Bodies
//! are limited.

use std::io::Read;

use ureq::http::Response;
use ureq::http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, LOCATION};
use ureq::{Body, Error};

use super::encoding;
use super::error_body::error_message;
use crate::sys::limits;
use crate::units::bytes_text;
use crate::url::without_password;

/// The part of an error's body that is read.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// The decoded body, up to `bytes_max`.
pub fn body(response: &mut Response<Body>, bytes_max: usize) -> Result<Vec<u8>, String> {
    let encoding = encoding::of_header(text_of(response.headers(), &CONTENT_ENCODING))?;
    let body = response.body_mut().with_config().limit(bytes_max as u64).read_to_vec();
    let body = body.map_err(|error| match error {
        Error::BodyExceedsLimit(bytes) => format!("the answer is longer than {}", bytes_text(bytes)),
        error => format!("could not read the answer: {}", cause(&error)),
    })?;
    encoding.decode(body, bytes_max)
}

/// The message in the body of an error. The beginning of the body is enough.
pub fn error_message_of(response: &mut Response<Body>) -> Option<String> {
    let encoding = encoding::of_header(text_of(response.headers(), &CONTENT_ENCODING)).ok()?;
    let mut body = Vec::new();
    // A body that ends early may still have the message.
    let _ = response
        .body_mut()
        .as_reader()
        .take(ERROR_BYTES_MAX)
        .read_to_end(&mut body);
    error_message(&encoding.decode_opening(body))
}

/// The target of a redirect, without password and query, made absolute with the address `asked` where possible.
pub fn location(response: &Response<Body>, asked: &str) -> Option<String> {
    let target = text_of(response.headers(), &LOCATION).filter(|_| response.status().is_redirection())?;
    let target = without_password(target.split(['?', '#']).next().unwrap_or(target));
    let scheme_ends = asked.find("://").map_or(0, |at| at + 3);
    let path_begins = asked[scheme_ends..]
        .find('/')
        .map_or(asked.len(), |at| scheme_ends + at);
    Some(match &target {
        other_host if other_host.starts_with("//") => format!("{}{}", &asked[..scheme_ends.saturating_sub(2)], target),
        path if path.starts_with('/') => format!("{}{target}", &asked[..path_begins]),
        _ => target,
    })
}

/// The text of an error, without the library's name for its kind.
pub fn cause(error: &Error) -> String {
    match error {
        Error::Io(inner) => limits::with_advice(inner),
        other => other.to_string(),
    }
}

/// The value of a header; `?` where it is not text.
fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_name_a_whole_address() {
        for (target, want) in [
            ("https://h/v1/models?token=x", "https://h/v1/models"),
            ("https://u:word@h/v1", "https://u:***@h/v1"),
            ("/elsewhere/v1/models", "http://asked:1/elsewhere/v1/models"),
            ("//h/v1/models", "http://h/v1/models"),
            ("models/", "models/"),
        ] {
            let answer = Response::builder().status(307).header("location", target);
            let answer = answer.body(Body::builder().data("")).unwrap();
            assert_eq!(location(&answer, "http://asked:1/v1/models").as_deref(), Some(want));
        }
        let found = Response::builder()
            .header("location", "/x")
            .body(Body::builder().data(""));
        assert_eq!(location(&found.unwrap(), "http://h"), None);
    }
}
