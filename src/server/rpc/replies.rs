//! Receives replies: matches them to their requests and decodes them while they arrive. After each reply the connection is at
//! the start of the next message, or marked as broken.

use std::time::{Duration, Instant};

use super::client::Client;
use super::fault::{ReplyFault, RpcError};
use super::generation::Operation;
use super::msgpack::{Decoder, Source};
use super::wire::{Fault, Wire};
use crate::sys::deadline::Deadline;

/// Timeout of the `NOOP` that distinguishes a dead server from one that failed a request.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(1);
/// Most replies to earlier requests, which timed out, that are skipped before the awaited one.
const LATE_REPLIES_MAX: u32 = 10_000;
/// Limit on the first two frames of a reply: request id and operation.
const NAME_BYTES_MAX: u64 = 64;

/// A reply of which the first two frames have been read. `bytes` is the length of the third, if there is one.
pub(super) struct Reply {
    pub id: u64,
    bytes: Option<u64>,
}

/// The third frame of a reply while it arrives.
pub(super) struct FrameSource<'a> {
    connection: &'a mut dyn Wire,
    left: u64,
    wait: Deadline,
}

impl Source for FrameSource<'_> {
    type Error = ReplyFault;

    fn left(&self) -> u64 {
        self.left
    }

    fn read(&mut self, mut to: &mut [u8]) -> Result<(), ReplyFault> {
        while !to.is_empty() {
            let piece = self.piece(to.len() as u64)?;
            let (now, later) = to.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            to = later;
        }
        Ok(())
    }

    fn piece(&mut self, max: u64) -> Result<&[u8], ReplyFault> {
        let piece = self.connection.piece(max.min(self.left), self.wait);
        let piece = piece.map_err(ReplyFault::Connection)?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

/// Decodes a reply whose content does not matter.
pub(super) fn ignored(reply: Option<&mut Decoder<FrameSource>>) -> Result<(), ReplyFault> {
    reply.map_or(Ok(()), |decoder| decoder.skip())
}

impl Client {
    /// Waits for the reply to one of `ids`; replies to earlier requests are skipped.
    pub(super) fn receive(&mut self, operation: Operation, ids: &[u64], wait: Deadline) -> Result<Reply, RpcError> {
        match self.next_reply(ids, wait) {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.request_error(operation, fault, wait)),
        }
    }

    pub(super) fn next_reply(&mut self, ids: &[u64], wait: Deadline) -> Result<Reply, Fault> {
        for _ in 0..LATE_REPLIES_MAX {
            let (name, more) = self.name_frame(wait)?;
            // From here on the connection is inside a message, so that an error must mark it as broken.
            let id = <[u8; 8]>::try_from(name.as_slice()).map_or(0, u64::from_be_bytes);
            if !more {
                return Err(self.broken("a reply of one frame"));
            }
            let (_, more) = self.name_frame(wait).inspect_err(|_| self.connection.abandon())?;
            if ids.contains(&id) {
                self.timing.answered = Instant::now();
                return Ok(Reply {
                    id,
                    bytes: self.last_frame(more, wait)?,
                });
            }
            if let Some(bytes) = self.last_frame(more, wait)? {
                let skipped = self.connection.skip(bytes, wait);
                skipped.inspect_err(|_| self.connection.abandon())?;
            }
        }
        Err(self.broken("too many replies to other requests"))
    }

    fn name_frame(&mut self, wait: Deadline) -> Result<(Vec<u8>, bool), Fault> {
        let header = self.connection.frame_header(wait)?;
        if header.bytes > NAME_BYTES_MAX {
            return Err(self.broken(&format!("a frame of {} bytes instead of a request id", header.bytes)));
        }
        let name = self.connection.take(header.bytes as usize, wait)?.to_vec();
        Ok((name, header.more))
    }

    /// The length of the third frame, if there is one; more frames are an error.
    fn last_frame(&mut self, more: bool, wait: Deadline) -> Result<Option<u64>, Fault> {
        if !more {
            return Ok(None);
        }
        let header = self.connection.frame_header(wait);
        let header = header.inspect_err(|_| self.connection.abandon())?;
        match header.more {
            true => Err(self.broken("a reply of more than three frames")),
            false => Ok(Some(header.bytes)),
        }
    }

    fn broken(&mut self, text: &str) -> Fault {
        self.connection.abandon();
        Fault::Broken(text.into())
    }

    /// Decodes the third frame of `reply`, which was received last.
    pub(super) fn read<T>(
        &mut self,
        operation: Operation,
        reply: &Reply,
        wait: Deadline,
        decode: impl FnOnce(Option<&mut Decoder<FrameSource>>) -> Result<T, ReplyFault>,
    ) -> Result<T, RpcError> {
        let Some(bytes) = reply.bytes else {
            let result = decode(None).map_err(|fault| self.decode_error(operation, fault, wait));
            self.timing.done = Instant::now();
            return result;
        };
        let mut decoder = Decoder(FrameSource {
            connection: &mut *self.connection,
            left: bytes,
            wait,
        });
        let decoded = decode(Some(&mut decoder)).and_then(|value| decoder.end().map(|()| value));
        // Skips the rest of this reply, so that the next one can be read.
        let left = decoder.0.left;
        if decoded.is_err() && self.connection.skip(left, wait).is_err() {
            self.connection.abandon();
        }
        self.timing.done = Instant::now();
        decoded.map_err(|fault| self.decode_error(operation, fault, wait))
    }

    fn decode_error(&mut self, operation: Operation, fault: ReplyFault, wait: Deadline) -> RpcError {
        match fault {
            ReplyFault::Malformed(malformed) => RpcError::Malformed {
                operation,
                detail: malformed.0,
            },
            ReplyFault::Connection(fault) => {
                self.connection.abandon();
                self.request_error(operation, fault, wait)
            }
        }
    }

    /// Turns a connection fault into the error of the request. After a timeout it sends a `NOOP` to see if the server is alive.
    pub(super) fn request_error(&mut self, operation: Operation, fault: Fault, wait: Deadline) -> RpcError {
        match fault {
            Fault::Interrupted => RpcError::Interrupted,
            Fault::TimedOut => RpcError::TimedOut {
                operation,
                waited: Instant::now().saturating_duration_since(wait.at) + self.reply_timeout,
                answers: self.answers(),
            },
            Fault::Closed(cause) => RpcError::Disconnected { operation, cause },
            Fault::Broken(detail) => RpcError::Malformed { operation, detail },
            Fault::NotZmtp(_) => RpcError::Disconnected {
                operation,
                cause: "something else answers at the address now".into(),
            },
        }
    }

    /// Whether the server answers a `NOOP`, on a new connection if this one is broken.
    fn answers(&mut self) -> bool {
        let wait = Deadline {
            at: Instant::now() + LIVENESS_TIMEOUT,
            on_signal: self.on_signal,
        };
        let Some(number) = self.server.generation.id(Operation::Noop) else {
            return false;
        };
        let Ok(id) = self.begin(Operation::Noop, number, false) else {
            return false;
        };
        if self.connection.flush(wait).is_err() {
            return false;
        }
        let Ok(reply) = self.next_reply(&[id], wait) else {
            return false;
        };
        self.connection.skip(reply.bytes.unwrap_or(0), wait).is_ok()
    }
}
