//! HTTP/1.1 on one connection. Bodies go directly from and to the caller's buffer. Every length that the server states is
//! checked against a limit.

use std::io::{self, ErrorKind, IoSlice};

use crate::l2::adapters::service::buffered::BufferedLink;
use crate::l2::adapters::service::link::{Address, ConnectOptions, Link, check_plain};
use crate::units::decimal;

/// Of one head, and of the trailers of a chunked body.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// The size of a chunk with its extensions.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Hexadecimal digits of a chunk's size.
const CHUNK_DIGITS_MAX: usize = 16;
const LINE_END_BYTES: usize = 2;
/// Bodies other than objects: error documents and upload ids.
const TEXT_BYTES_MAX: usize = 64 << 10;
const RECEIVE_BYTES: usize = 2048;
const NO_STATUS_LINE: &str = "no status line";
/// 1xx responses before the final one.
const INTERIM_MAX: usize = 4;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

pub struct Head {
    pub status: u16,
    pub reason: String,
    /// Lower-case names.
    headers: Vec<(String, String)>,
    framing: Framing,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The stated length, also of a response to HEAD, which has no body.
    pub fn content_length(&self) -> Option<u64> {
        decimal(self.header("content-length")?)
    }

    /// The content encoding, if it is a compression. `aws-chunked` is not: objects that were sent so keep it.
    pub fn compression(&self) -> Option<&str> {
        let value = self.header("content-encoding")?;
        let known = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress"];
        let mut names = value.split(',').map(str::trim);
        names
            .any(|name| known.iter().any(|known| name.eq_ignore_ascii_case(known)))
            .then_some(value)
    }

    /// Whether the body is a web page, not an object.
    pub fn is_page(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
    }

    #[cfg(any(test, fuzzing))]
    pub fn made(status: u16, reason: &str, headers: &[(&str, &str)]) -> Head {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Head {
            status,
            reason: reason.to_owned(),
            headers: headers.collect(),
            framing: Framing::Length(0),
        }
    }
}

pub struct HttpConnection {
    link: BufferedLink,
    /// Whether a request was answered on this connection; then a loss may mean that the server closed it when idle.
    pub proven: bool,
    /// Whether it can take another request.
    pub reusable: bool,
}

fn not_http(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!(
            "the answer is not HTTP/1.1: {what}; is s3_endpoint an S3 service, with or without TLS as disable_tls says?"
        ),
    )
}

impl HttpConnection {
    pub fn open(address: &Address, options: &ConnectOptions) -> io::Result<HttpConnection> {
        Ok(HttpConnection::over(Link::open(address, options)?))
    }

    pub fn over(link: Link) -> HttpConnection {
        HttpConnection {
            link: BufferedLink::new(link),
            proven: false,
            reusable: true,
        }
    }

    /// Sends a request. A server that refuses early may stop reading; its answer still counts.
    pub fn send(&mut self, head: &str, body: &[u8]) -> Result<(), io::Error> {
        self.reusable = false;
        self.link.send(&mut [IoSlice::new(head.as_bytes()), IoSlice::new(body)])
    }

    /// The next line without its end; its length is subtracted from `room`, the bytes that may still come.
    fn line(&mut self, room: &mut usize) -> io::Result<String> {
        let mut seen = 0;
        loop {
            let end = self.link.unread()[seen..].iter().position(|byte| *byte == b'\n');
            let bytes = end.map_or(self.link.unread().len(), |end| seen + end + 1);
            if bytes > *room {
                return Err(not_http("a chunk's size or its trailers do not end"));
            }
            if end.is_some() {
                let line = String::from_utf8_lossy(&self.link.unread()[..bytes - 1]);
                let line = line.strip_suffix('\r').unwrap_or(&line).to_owned();
                self.link.consume(bytes);
                *room -= bytes;
                return Ok(line);
            }
            seen = bytes;
            self.link.receive_more::<RECEIVE_BYTES>()?;
        }
    }

    /// The head of the final response. `method` decides whether a body follows.
    pub fn head(&mut self, method: &str) -> io::Result<Head> {
        for _ in 0..INTERIM_MAX {
            let head = self.one_head(method)?;
            if head.status >= 200 {
                self.proven = true;
                let close = head
                    .header("connection")
                    .is_some_and(|value| value.eq_ignore_ascii_case("close"));
                self.reusable = !close && head.framing != Framing::UntilClose;
                return Ok(head);
            }
        }
        Err(not_http("only interim answers"))
    }

    fn one_head(&mut self, method: &str) -> io::Result<Head> {
        let mut seen = 0;
        loop {
            if !self.proven {
                check_plain(self.link.unread())?;
            }
            let received = self.link.unread();
            let within = &received[..received.len().min(HEAD_BYTES_MAX)];
            // Only another line can complete the head or make it invalid.
            if received[seen..].contains(&b'\n')
                && let Some((bytes, head)) = parse_head(within, method)?
            {
                self.link.consume(bytes);
                return Ok(head);
            }
            if received.len() >= HEAD_BYTES_MAX {
                return Err(not_http("a head does not end"));
            }
            seen = received.len();
            self.link.receive_more::<RECEIVE_BYTES>()?;
        }
    }

    /// Reads the whole body into `place` and returns its length. A longer one is left unread, and the connection is not
    /// reusable.
    pub fn body_into(&mut self, head: &Head, place: &mut [u8]) -> io::Result<u64> {
        match head.framing {
            Framing::Length(len) => {
                let whole = usize::try_from(len).ok().and_then(|len| place.get_mut(..len));
                match whole {
                    Some(place) => self.exactly(place)?,
                    None => self.reusable = false,
                }
                Ok(len)
            }
            Framing::Chunked => self.chunks_into(place),
            Framing::UntilClose => self.rest_into(place),
        }
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.link.exactly(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("the body was cut off before its {} bytes were there", bytes.len()),
            ),
            _ => error,
        })
    }

    fn chunks_into(&mut self, place: &mut [u8]) -> io::Result<u64> {
        let mut got = 0;
        loop {
            let size = chunk_size(&self.line(&mut { CHUNK_LINE_BYTES_MAX })?)?;
            if size == 0 {
                // Trailers end with an empty line.
                let mut room = HEAD_BYTES_MAX;
                while !self.line(&mut room)?.is_empty() {}
                return Ok(got as u64);
            }
            let Some(part) = place.get_mut(got..).and_then(|rest| rest.get_mut(..size)) else {
                self.reusable = false;
                self.exactly(&mut place[got..])?;
                return Ok((got as u64).saturating_add(size as u64).max(place.len() as u64 + 1));
            };
            self.exactly(part)?;
            got += size;
            if !self.line(&mut { LINE_END_BYTES })?.is_empty() {
                return Err(not_http("a chunk is longer than its size says"));
            }
        }
    }

    fn rest_into(&mut self, place: &mut [u8]) -> io::Result<u64> {
        let mut got = 0;
        loop {
            if self.link.unread().is_empty() {
                match self.link.receive_more::<RECEIVE_BYTES>() {
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(got as u64),
                    more => more?,
                }
            }
            let ready = self.link.unread().len();
            let Some(part) = place.get_mut(got..got + ready) else {
                self.exactly(&mut place[got..])?;
                return Ok((got + ready) as u64);
            };
            part.copy_from_slice(self.link.unread());
            self.link.consume(ready);
            got += ready;
        }
    }

    /// The body as text, cut at a limit.
    pub fn text(&mut self, head: &Head) -> io::Result<String> {
        let len = match head.framing {
            Framing::Length(len) => usize::try_from(len).unwrap_or(usize::MAX).min(TEXT_BYTES_MAX),
            _ => TEXT_BYTES_MAX,
        };
        let mut bytes = vec![0; len];
        let got = match head.framing {
            Framing::Length(all) if all > len as u64 => {
                self.reusable = false;
                self.exactly(&mut bytes)?;
                all
            }
            _ => self.body_into(head, &mut bytes)?,
        };
        let got = usize::try_from(got).unwrap_or(len).min(len);
        Ok(String::from_utf8_lossy(&bytes[..got]).into_owned())
    }
}

/// The head at the start of `bytes`, and its length; `None` while it is incomplete.
fn parse_head(bytes: &[u8], method: &str) -> io::Result<Option<(usize, Head)>> {
    // The parser skips empty lines before a head, which no service sends.
    if !bytes.starts_with(b"H") {
        return Err(not_http(NO_STATUS_LINE));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(not_http("too many headers")),
        Err(httparse::Error::HeaderName) => return Err(not_http("a header has no name or no colon")),
        Err(httparse::Error::HeaderValue) => return Err(not_http("a header holds control characters")),
        Err(_) => return Err(not_http(NO_STATUS_LINE)),
    };
    let status = response.code.filter(|status| *status >= 100);
    let status = status.ok_or_else(|| not_http(NO_STATUS_LINE))?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    // From the bytes: the parser has no reasons that are not ASCII.
    let mut line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .splitn(3, |byte| *byte == b' ');
    let reason = line.nth(2);
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
        .collect();
    let head = Head {
        status,
        reason: text(reason.unwrap_or_default()),
        framing: framing(method, status, &headers)?,
        headers,
    };
    Ok(Some((len, head)))
}

fn chunk_size(line: &str) -> io::Result<usize> {
    let digits = line.split(';').next().unwrap_or_default().trim_end();
    let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || digits.len() > CHUNK_DIGITS_MAX {
        return Err(not_http("a chunk has no size"));
    }
    usize::from_str_radix(digits, 16).map_err(|_| not_http("a chunk has no size"))
}

/// The framing of a body. Contradictory headers are refused.
fn framing(method: &str, status: u16, headers: &[(String, String)]) -> io::Result<Framing> {
    let values = |name: &'static str| {
        let named = headers.iter().filter(move |(known, _)| known == name);
        named.flat_map(|(_, value)| value.split(',')).map(str::trim)
    };
    let mut lengths = values("content-length");
    let length = match lengths.next() {
        None => None,
        Some(first) => {
            let length: u64 = decimal(first).ok_or_else(|| not_http("a content-length is no number"))?;
            if lengths.any(|other| decimal(other) != Some(length)) {
                return Err(not_http("two lengths that differ"));
            }
            Some(length)
        }
    };
    let mut codings = values("transfer-encoding").peekable();
    let is_chunked = codings.peek().is_some();
    if codings.any(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        return Err(not_http("an unknown transfer-encoding"));
    }
    if method == "HEAD" || status == 204 || status == 304 || status < 200 {
        return Ok(Framing::Length(0));
    }
    match (is_chunked, length) {
        (true, Some(_)) => Err(not_http("a length and chunks")),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::UntilClose),
    }
}

#[cfg(test)]
mod tests;
