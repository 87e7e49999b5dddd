//! Heads of HTTP/1.1 requests, parsed by `httparse` out of the bytes received so far. Their length and the number of headers
//! are limited.

use httparse::{EMPTY_HEADER, Error, Status};

/// Headers of one request.
pub const HEADERS_MAX: usize = 256;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More bytes or headers than the limit.
    TooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The first line is not METHOD TARGET VERSION.
    FirstLine,
    /// A header has no name or no colon, or its value is not text.
    HeaderLine,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::TooManyHeaders => Fault::TooLong,
            Error::Version => Fault::Version,
            Error::HeaderName | Error::HeaderValue => Fault::HeaderLine,
            _ => Fault::FirstLine,
        }
    }
}

#[derive(Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// With the query.
    pub target: &'a str,
    pub is_http_1_1: bool,
    /// Names and values in order, without the space around values.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Length of the head, its empty line included.
    pub bytes: usize,
}

/// The head that `input` begins with; `None` while it is incomplete and shorter than `bytes_max`.
pub fn request(input: &[u8], bytes_max: usize) -> Result<Option<RequestHead<'_>>, Fault> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let bytes = match parsed.parse(&input[..input.len().min(bytes_max)])? {
        Status::Complete(bytes) => bytes,
        Status::Partial if input.len() < bytes_max => return Ok(None),
        Status::Partial => return Err(Fault::TooLong),
    };
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| Fault::HeaderLine)?;
        headers.push((header.name, value.trim()));
    }
    Ok(Some(RequestHead {
        method: parsed.method.unwrap_or_default(),
        target: parsed.path.unwrap_or_default(),
        is_http_1_1: parsed.version == Some(1),
        headers,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"GET /a?b HTTP/1.1\r\nHost:  x \r\n\r\nrest";
        let whole = text.len() - 4;
        for end in 0..whole {
            assert!(request(&text[..end], 100).unwrap().is_none(), "{end}");
        }
        let head = request(text, 100).unwrap().unwrap();
        assert_eq!(
            (head.method, head.target, head.is_http_1_1, head.bytes),
            ("GET", "/a?b", true, whole)
        );
        assert_eq!(head.headers, [("Host", "x")]);
    }

    /// The length and the headers are those of one parser, whatever line ends the client uses.
    #[test]
    fn the_body_begins_after_the_first_empty_line() {
        let text = b"POST / HTTP/1.1\na: b\n\nbody\r\n\r\n";
        let head = request(text, 100).unwrap().unwrap();
        assert_eq!(&text[head.bytes..], b"body\r\n\r\n");
        assert_eq!(head.headers, [("a", "b")]);
    }

    #[test]
    fn an_invalid_head_is_refused_by_its_cause() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        for (text, fault) in [
            ("x".repeat(100).as_str(), Fault::TooLong),
            (&many, Fault::TooLong),
            ("GET / HTTP/2\r\n\r\n", Fault::Version),
            ("GET /\r\n\r\n", Fault::FirstLine),
            ("GET / HTTP/1.1\r\nnonsense\r\n\r\n", Fault::HeaderLine),
        ] {
            let bytes_max = text.len().max(100);
            assert_eq!(request(text.as_bytes(), bytes_max).unwrap_err(), fault, "{text:.40}");
        }
    }
}
