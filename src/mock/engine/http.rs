//! HTTP/1.1 as a server sees it: what a request's head says, the limits on it, and the heads of replies.

use crate::http::head::{self, Fault, HEADERS_MAX};
use crate::units::decimal;

/// Limit on a request's head.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Limit on a request's body: a prompt of some ten million tokens.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The fields of a request's head that the mock uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    pub head_bytes: usize,
    pub body_bytes: usize,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub authorization: Option<String>,
    pub request_id: Option<String>,
    pub fault: Option<String>,
}

/// An invalid request: the status and a sentence of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub u16, pub String);

/// The head of the request that `input` begins with; `None` while it is incomplete.
pub fn parse_head(input: &[u8]) -> Result<Option<Head>, Refusal> {
    let parsed = head::request(input, HEAD_BYTES_MAX).map_err(refusal)?;
    let Some(parsed) = parsed else { return Ok(None) };
    let (path, query) = parsed.target.split_once('?').unwrap_or((parsed.target, ""));
    let mut head = Head {
        method: parsed.method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        head_bytes: parsed.bytes,
        keep_alive: parsed.is_http_1_1,
        ..Head::default()
    };
    for (name, value) in parsed.headers {
        head.take(name, value)?;
    }
    Ok(Some(head))
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::TooLong => Refusal(
            431,
            format!("the request's head has more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers"),
        ),
        Fault::Version => Refusal(505, "only HTTP/1.1 is spoken here".into()),
        Fault::FirstLine => Refusal(400, "the first line is not METHOD TARGET VERSION".into()),
        Fault::HeaderLine => Refusal(400, "a header line has no name or colon, or is not text".into()),
    }
}

impl Head {
    /// Whether the query has this name with a value that pydantic takes for true.
    pub fn asks(&self, name: &str) -> bool {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_ascii_lowercase());
        values
            .next_back()
            .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "true" | "y" | "yes" | "on"))
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length =
                    decimal::<u64>(value).ok_or_else(|| Refusal(400, "Content-Length is not a number".into()))?;
                self.body_bytes = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= BODY_BYTES_MAX)
                    .ok_or_else(|| Refusal(413, format!("the body is longer than {BODY_BYTES_MAX} bytes")))?;
            }
            "transfer-encoding" => {
                return Err(Refusal(
                    411,
                    "give a Content-Length instead of Transfer-Encoding".into(),
                ));
            }
            "connection" if value.eq_ignore_ascii_case("close") => self.keep_alive = false,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => self.keep_alive = true,
            "expect" => self.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "authorization" => self.authorization = Some(value.to_owned()),
            "x-request-id" => self.request_id = Some(value.chars().take(128).collect()),
            "x-mock-fault" => self.fault = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// How a reply's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// With the connection.
    Close,
}

/// A reply's head. `extra` are whole lines, each with its line end.
pub fn reply_head(status: u16, content_type: &str, framing: Framing, keep_alive: bool, extra: &str) -> String {
    let framing_line = match framing {
        Framing::Length(bytes) => format!("content-length: {bytes}\r\n"),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => String::new(),
    };
    let connection = match keep_alive && framing != Framing::Close {
        true => "",
        false => "connection: close\r\n",
    };
    let reason = reason(status);
    format!(
        "HTTP/1.1 {status} {reason}\r\nserver: lmcache-bench-mock\r\ncontent-type: {content_type}\r\n{framing_line}{connection}{extra}\r\n"
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// Appends `body` as one chunk.
pub fn push_chunk(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// The chunk that ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(input: &str) -> u16 {
        parse_head(input.as_bytes()).unwrap_err().0
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text =
            "POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 12\r\nX-Mock-Fault: reset\r\n\r\nrest";
        let whole = text.find("rest").unwrap();
        for end in 0..whole {
            assert_eq!(parse_head(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        let head = parse_head(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/v1/completions"));
        assert_eq!(head.query, "x=1");
        assert!(head.asks("x") && !head.asks("y"));
        assert_eq!((head.head_bytes, head.body_bytes, head.keep_alive), (whole, 12, true));
        assert_eq!(head.fault.as_deref(), Some("reset"));
    }

    #[test]
    fn every_length_is_bounded() {
        assert_eq!(refused(&"x".repeat(HEAD_BYTES_MAX)), 431);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n"), 413);
        assert_eq!(
            refused("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            400
        );
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
        assert_eq!(refused("GET /\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/2\r\n\r\n"), 505);
        assert_eq!(refused("GET / HTTP/1.1\r\nnonsense\r\n\r\n"), 400);
    }

    #[test]
    fn a_connection_is_kept_unless_one_side_says_otherwise() {
        let kept = |head: &str| parse_head(head.as_bytes()).unwrap().unwrap().keep_alive;
        assert!(kept("GET / HTTP/1.1\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
        assert!(kept("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(reply_head(200, "text/plain", Framing::Close, true, "").contains("connection: close"));
        assert!(!reply_head(200, "text/plain", Framing::Chunked, true, "").contains("connection: close"));
    }
}
