//! RESP2 on one connection. Values go directly from and to the caller's buffer. Every length that the server states is checked
//! against a limit.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::sync::Arc;

use crate::http::error_body::one_line;
use crate::l2::adapters::service::buffered::BufferedLink;
use crate::l2::adapters::service::link::{Address, ConnectOptions, Link, check_plain};
use crate::units::decimal;

/// Simple strings, errors and headers are short; so is what CLUSTER SLOTS calls a node.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Replies other than values: the longest is the slot map of a large cluster.
const SMALL_BULK_BYTES_MAX: usize = 64 << 10;
const ELEMENTS_MAX: usize = 16_384;
const DEPTH_MAX: usize = 6;
/// Of one reply in memory, elements included: far more than the slot map of the largest cluster.
const REPLY_BYTES_MAX: usize = 64 << 20;
const RECEIVE_BYTES: usize = 4096;

/// A reply that is not an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    /// For messages, as it looks on the wire.
    pub fn shown(&self) -> String {
        match self {
            Reply::Simple(text) => format!("+{}", one_line(text)),
            Reply::Error(text) => format!("-{}", one_line(text)),
            Reply::Integer(number) => format!(":{number}"),
            Reply::Bulk(bytes) => format!("the value \"{}\"", one_line(&String::from_utf8_lossy(bytes))),
            Reply::Nil => "nil".to_owned(),
            Reply::Array(elements) => format!("an array of {}", elements.len()),
        }
    }
}

/// What came back for a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The value filled the buffer.
    Filled,
    Nil,
    /// A value that ends early; it is in the buffer.
    Short(u64),
    /// A longer value, left unread: the connection is of no more use.
    Longer(u64),
    Error(String),
}

pub struct Connection {
    link: BufferedLink,
    /// Whether a request was answered on this connection: it may have died of age since.
    pub proven: bool,
}

fn not_resp(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the answer is not RESP: {what}; is a Redis or Valkey server at this address?"),
    )
}

/// A valid reply that does not belong to this command.
pub fn unexpected(command: &str, wanted: &str, got: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!(
            "the answer to {command} is {got} instead of {wanted}; does a proxy between speak another protocol than Redis's?"
        ),
    )
}

/// The start of a command of `count` words.
pub fn array_head(count: usize) -> Vec<u8> {
    format!("*{count}\r\n").into_bytes()
}

/// One word of a command.
pub fn push_bulk(out: &mut Vec<u8>, word: &[u8]) {
    push_bulk_head(out, word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

pub fn push_bulk_head(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(format!("${len}\r\n").as_bytes());
}

/// A command of short words.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = array_head(words.len());
    words.iter().for_each(|word| push_bulk(&mut out, word));
    out
}

impl Connection {
    pub fn open(address: &Arc<Address>, options: &ConnectOptions) -> io::Result<Connection> {
        Ok(Connection::over(Link::open(address, options)?))
    }

    pub fn over(link: Link) -> Connection {
        Connection {
            link: BufferedLink::new(link),
            proven: false,
        }
    }

    /// Starts the clock of the next reply.
    pub fn begin_request(&mut self) {
        self.link.link.begin_request();
    }

    /// Starts the clock of the first reply too.
    pub fn send(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.link.send(parts)
    }

    /// Sends one short command and waits for its answer.
    pub fn ask(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        self.send(&mut [IoSlice::new(&command(words))])?;
        self.reply()
    }

    /// The next line without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.link.unread()[seen..].windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.link.unread()[..seen + end]).into_owned();
                self.link.consume(seen + end + 2);
                return Ok(line);
            }
            check_plain(self.link.unread())?;
            seen = self.link.unread().len().saturating_sub(1);
            if seen > LINE_BYTES_MAX {
                return Err(not_resp("a line does not end"));
            }
            self.link.receive_more::<RECEIVE_BYTES>()?;
        }
    }

    fn line_end(&mut self) -> io::Result<()> {
        let mut end = [0_u8; 2];
        self.link.exactly(&mut end)?;
        if &end == b"\r\n" {
            Ok(())
        } else {
            Err(not_resp("a value has no end"))
        }
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut room = REPLY_BYTES_MAX;
        let reply = self.value(0, &mut room)?;
        self.proven = true;
        Ok(reply)
    }

    /// `room`: bytes that the rest of the whole reply may take in memory.
    fn value(&mut self, depth: usize, room: &mut usize) -> io::Result<Reply> {
        let line = self.line()?;
        take(room, size_of::<Reply>() + line.len())?;
        let (kind, rest) = split_kind(&line)?;
        match kind {
            '+' => Ok(Reply::Simple(rest.to_owned())),
            '-' => Ok(Reply::Error(rest.to_owned())),
            ':' => Ok(Reply::Integer(number(rest)?)),
            '$' => match length(rest, SMALL_BULK_BYTES_MAX)? {
                None => Ok(Reply::Nil),
                Some(len) => {
                    take(room, len)?;
                    let mut bytes = vec![0; len];
                    self.link.exactly(&mut bytes)?;
                    self.line_end()?;
                    Ok(Reply::Bulk(bytes))
                }
            },
            '*' if depth < DEPTH_MAX => match length(rest, ELEMENTS_MAX)? {
                None => Ok(Reply::Nil),
                Some(count) => Ok(Reply::Array(
                    (0..count)
                        .map(|_| self.value(depth + 1, room))
                        .collect::<io::Result<_>>()?,
                )),
            },
            '*' => Err(not_resp("it nests too deeply")),
            _ => Err(not_resp(&format!("it begins with \"{}\"", one_line(&line)))),
        }
    }

    /// The answer to a GET, straight into `slot` when it is the expected value.
    pub fn reply_into(&mut self, slot: &mut [u8]) -> io::Result<Body> {
        let body = if self.link.unread().is_empty() {
            self.reply_direct(slot)
        } else {
            self.reply_buffered(slot)
        }?;
        self.proven = true;
        Ok(body)
    }

    /// Reads the expected header, the slot and the line end with vectored reads. When the header is another one, what was
    /// received goes to the buffer.
    fn reply_direct(&mut self, slot: &mut [u8]) -> io::Result<Body> {
        let expected = format!("${}\r\n", slot.len()).into_bytes();
        let mut head = vec![0_u8; expected.len()];
        let mut tail = [0_u8; 2];
        let (head_len, all) = (head.len(), head.len() + slot.len() + tail.len());
        let mut got = 0;
        while got < all {
            let slot_at = got.saturating_sub(head_len).min(slot.len());
            let tail_at = got.saturating_sub(head_len + slot.len());
            let mut parts = [
                IoSliceMut::new(&mut head[got.min(head_len)..]),
                IoSliceMut::new(&mut slot[slot_at..]),
                IoSliceMut::new(&mut tail[tail_at..]),
            ];
            let first = parts.iter().position(|part| !part.is_empty()).unwrap_or(0);
            got += self.link.link.receive(&mut parts[first..])?;
            let known = got.min(head_len);
            if head[..known] != expected[..known] {
                self.link.push(&head[..known]);
                let in_slot = (got - known).min(slot.len());
                self.link.push(&slot[..in_slot]);
                self.link.push(&tail[..got - known - in_slot]);
                return self.reply_buffered(slot);
            }
        }
        if &tail == b"\r\n" {
            Ok(Body::Filled)
        } else {
            Err(not_resp("a value has no end"))
        }
    }

    fn reply_buffered(&mut self, slot: &mut [u8]) -> io::Result<Body> {
        let line = self.line()?;
        let (kind, rest) = split_kind(&line)?;
        match kind {
            '-' => return Ok(Body::Error(rest.to_owned())),
            '$' => {}
            '+' | ':' | '*' => return Err(unexpected("GET", "a value or nil", &one_line(&line))),
            _ => return Err(not_resp(&format!("it begins with \"{}\"", one_line(&line)))),
        }
        let Some(len) = length(rest, usize::MAX)? else {
            return Ok(Body::Nil);
        };
        let Some(place) = slot.get_mut(..len) else {
            return Ok(Body::Longer(len as u64));
        };
        self.link.exactly(place)?;
        self.line_end()?;
        Ok(if len == slot.len() {
            Body::Filled
        } else {
            Body::Short(len as u64)
        })
    }
}

fn take(room: &mut usize, bytes: usize) -> io::Result<()> {
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| not_resp("it is longer than any answer should be"))?;
    Ok(())
}

fn split_kind(line: &str) -> io::Result<(char, &str)> {
    let mut chars = line.chars();
    let kind = chars.next().ok_or_else(|| not_resp("an empty line"))?;
    Ok((kind, chars.as_str()))
}

fn number(text: &str) -> io::Result<i64> {
    let none = || not_resp("a number is none");
    // A sign may stand in front of an integer, as the protocol says.
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    decimal::<u64>(digits).ok_or_else(none)?;
    text.parse().map_err(|_| none())
}

/// `None` for -1, which is how RESP2 says nil.
fn length(text: &str, most: usize) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    match decimal::<u64>(text).map(usize::try_from) {
        Some(Ok(len)) if len <= most => Ok(Some(len)),
        Some(_) => Err(not_resp("a length is out of range")),
        None => Err(not_resp("a number is none")),
    }
}
