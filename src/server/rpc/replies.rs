//! Replies: matched with their requests, decoded while they arrive. It must never hand out a reply that belongs to another
//! request, nor leave half of one in the connection.

use std::time::{Duration, Instant};

use super::client::Client;
use super::fault::{ReplyFault, RpcError};
use super::msgpack::{Decoder, Source};
use super::version::Operation;
use super::zmtp::{Connection, Fault};
use crate::sys::deadline::Deadline;

/// How long a `NOOP` may take that tells a dead server from one that failed a request.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(1);
/// Replies to requests that timed out, read past on the way to the one that is due.
const LATE_REPLIES_MAX: u32 = 10_000;
/// Longest request id and operation that a reply may repeat.
const NAME_BYTES_MAX: u64 = 64;

/// How a reply came in: its third frame's length, if there is one.
pub(super) struct Reply {
    pub id: u64,
    bytes: Option<u64>,
}

/// The third frame of a reply while it arrives.
pub(super) struct FrameSource<'a> {
    connection: &'a mut Connection,
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

/// For a reply whose coming is all that matters.
pub(super) fn ignored(reply: Option<&mut Decoder<FrameSource>>) -> Result<(), ReplyFault> {
    reply.map_or(Ok(()), |decoder| decoder.skip())
}

impl Client {
    /// Waits for the reply to one of `ids`; replies to earlier requests are read past.
    pub(super) fn receive(&mut self, operation: Operation, ids: &[u64], wait: Deadline) -> Result<Reply, RpcError> {
        match self.next_reply(ids, wait) {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.told(operation, fault, wait)),
        }
    }

    pub(super) fn next_reply(&mut self, ids: &[u64], wait: Deadline) -> Result<Reply, Fault> {
        for _ in 0..LATE_REPLIES_MAX {
            let (name, more) = self.name_frame(wait)?;
            // From here on a message is under way: without its rest nothing after it can be understood.
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
        let head = self.connection.head(wait)?;
        if head.bytes > NAME_BYTES_MAX {
            return Err(self.broken(&format!("a frame of {} bytes instead of a request id", head.bytes)));
        }
        let name = self.connection.take(head.bytes as usize, wait)?.to_vec();
        Ok((name, head.more))
    }

    /// The length of the third frame, which must be the last.
    fn last_frame(&mut self, more: bool, wait: Deadline) -> Result<Option<u64>, Fault> {
        if !more {
            return Ok(None);
        }
        let head = self.connection.head(wait);
        let head = head.inspect_err(|_| self.connection.abandon())?;
        match head.more {
            true => Err(self.broken("a reply of more than three frames")),
            false => Ok(Some(head.bytes)),
        }
    }

    fn broken(&mut self, text: &str) -> Fault {
        self.connection.abandon();
        Fault::Broken(text.into())
    }

    /// Decodes the reply that was received last.
    pub(super) fn read<T>(
        &mut self,
        operation: Operation,
        reply: &Reply,
        wait: Deadline,
        decode: impl FnOnce(Option<&mut Decoder<FrameSource>>) -> Result<T, ReplyFault>,
    ) -> Result<T, RpcError> {
        let Some(bytes) = reply.bytes else {
            let result = decode(None).map_err(|fault| self.undecoded(operation, fault, wait));
            self.timing.done = Instant::now();
            return result;
        };
        let mut decoder = Decoder(FrameSource {
            connection: &mut self.connection,
            left: bytes,
            wait,
        });
        let decoded = decode(Some(&mut decoder)).and_then(|value| decoder.end().map(|()| value));
        // What is left belongs to this reply, so that the next one can still be read.
        let left = decoder.0.left;
        if decoded.is_err() && self.connection.skip(left, wait).is_err() {
            self.connection.abandon();
        }
        self.timing.done = Instant::now();
        decoded.map_err(|fault| self.undecoded(operation, fault, wait))
    }

    fn undecoded(&mut self, operation: Operation, fault: ReplyFault, wait: Deadline) -> RpcError {
        match fault {
            ReplyFault::Malformed(malformed) => RpcError::Malformed {
                operation,
                detail: malformed.0,
            },
            ReplyFault::Connection(fault) => {
                self.connection.abandon();
                self.told(operation, fault, wait)
            }
        }
    }

    /// A fault of the connection as an error of the request; after a timeout the server is asked whether it lives.
    pub(super) fn told(&mut self, operation: Operation, fault: Fault, wait: Deadline) -> RpcError {
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

    /// Whether a `NOOP` is answered, on a new connection should this one be unusable.
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
