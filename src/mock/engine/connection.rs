//! One client's connection: reads until a request is complete, writes as far as the kernel takes bytes. Nothing waits.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use super::answer::{Answer, Step};
use super::http::{self, BODY_BYTES_MAX, HEAD_BYTES_MAX, Head, Refusal};
use super::service::Arrival;
use crate::sys::{poll, socket};

/// Capacity of the input buffer that an idle connection keeps.
const INPUT_BYTES_KEPT: usize = 64 << 10;

#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    pub number: u64,
    pub answer: Option<Answer>,
    /// A request was taken and its answer is not there yet.
    pub awaits_answer: bool,
    /// What follows once `output` is empty.
    pub waiting: Option<Step>,
    input: Vec<u8>,
    head: Option<Head>,
    output: Vec<u8>,
    written: usize,
    stamp: Option<Arrival>,
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Some,
    Nothing,
    Closed,
}

impl Connection {
    pub fn new(stream: TcpStream, number: u64) -> Connection {
        Connection {
            stream,
            number,
            answer: None,
            awaits_answer: false,
            waiting: None,
            input: Vec::new(),
            head: None,
            output: Vec::new(),
            written: 0,
            stamp: None,
        }
    }

    /// One read into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        match socket::receive(&self.stream, buffer) {
            Ok(received) if received.bytes == 0 => Read::Closed,
            Ok(received) => {
                self.stamp = Some(arrival(received.kernel_wall_ns));
                self.input.extend_from_slice(&buffer[..received.bytes]);
                let bytes_max = match &self.head {
                    Some(head) => head.head_bytes + head.body_bytes + HEAD_BYTES_MAX,
                    None => HEAD_BYTES_MAX + BODY_BYTES_MAX,
                };
                // Requests are not pipelined beyond one.
                let too_much =
                    self.answer.is_some() && self.input.len() > HEAD_BYTES_MAX || self.input.len() > bytes_max;
                if too_much { Read::Closed } else { Read::Some }
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Read::Some,
            Err(_) => Read::Closed,
        }
    }

    /// The next whole request, with its body.
    pub fn next_request(&mut self) -> Result<Option<(Head, Vec<u8>)>, Refusal> {
        if self.answer.is_some() || self.awaits_answer {
            return Ok(None);
        }
        if self.head.is_none() {
            self.head = http::parse_head(&self.input)?;
            if let Some(head) = &self.head
                && head.expects_continue
                && self.input.len() < head.head_bytes + head.body_bytes
            {
                // Without this line a client sends its body a second later.
                let _ = (&self.stream).write(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
        }
        let Some(head) = self
            .head
            .take_if(|head| self.input.len() >= head.head_bytes + head.body_bytes)
        else {
            return Ok(None);
        };
        let end = head.head_bytes + head.body_bytes;
        let body = self.input[head.head_bytes..end].to_vec();
        self.input.drain(..end);
        if self.input.is_empty() && self.input.capacity() > INPUT_BYTES_KEPT {
            self.input = Vec::new();
        }
        Ok(Some((head, body)))
    }

    /// Arrival of the last byte of the last read.
    pub fn arrival(&self) -> Arrival {
        self.stamp.unwrap_or_else(|| arrival(None))
    }

    /// Writes `bytes`, `split` at a time, and keeps what the kernel does not take. False once all of it is written.
    pub fn write(&mut self, bytes: &[u8], split: Option<usize>) -> io::Result<bool> {
        let piece_bytes = split.unwrap_or(usize::MAX);
        let mut done = 0;
        while done < bytes.len() {
            let end = done.saturating_add(piece_bytes).min(bytes.len());
            match (&self.stream).write(&bytes[done..end]) {
                Ok(count) => done += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.output.extend_from_slice(&bytes[done..]);
                    return Ok(true);
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(false)
    }

    /// Writes what the kernel did not take before. False once all of it is written.
    pub fn write_rest(&mut self) -> io::Result<bool> {
        while self.written < self.output.len() {
            match (&self.stream).write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(cause) => return Err(cause),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(false)
    }
}

/// The kernel's stamp on both clocks, or now where there is none.
fn arrival(kernel_wall_ns: Option<u64>) -> Arrival {
    // In this order a stall between the two makes an arrival late, and never earlier than the request was sent.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let read_ns = poll::monotonic_ns();
    let wall_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    match kernel_wall_ns {
        Some(stamp) => Arrival {
            ns: read_ns.saturating_sub(wall_ns.saturating_sub(stamp)),
            wall_ns: stamp,
            source: "kernel",
            read_ns,
        },
        None => Arrival {
            ns: read_ns,
            wall_ns,
            source: "read",
            read_ns,
        },
    }
}
