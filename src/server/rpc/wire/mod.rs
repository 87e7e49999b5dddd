//! How frames travel between this program and a cache server: the trait `Wire`, its two implementations, and the function that
//! opens one. `zmtp` is our own reader and writer of ZeroMQ's wire format, `libzmq` the library that LMCache's connectors use.

use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::fault::RpcError;
use crate::choices;
use crate::sys::deadline::{Deadline, is_cancelled};

#[cfg(feature = "libzmq")]
mod libzmq;
pub mod zmtp;

/// How long a server may take for its ZeroMQ greeting before it is probed for other protocols.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
const NOT_ZEROMQ: &str = "what is there does not speak ZeroMQ; name the server's ZMQ port (5555 by default)";
/// The refusal of `WireKind::Libzmq` by a build without it.
pub const LIBZMQ_ABSENT: &str = "--wire is libzmq but this program was built without it; use --wire native, or build with the \
                                 Cargo feature libzmq";

choices! {
    /// What carries the messages.
    #[derive(Default)]
    pub enum WireKind ("wire") {
        #[default]
        Native = "native",
        Libzmq = "libzmq",
    }
}

impl WireKind {
    /// Whether this build has it.
    pub const fn is_built(self) -> bool {
        match self {
            WireKind::Native => true,
            WireKind::Libzmq => cfg!(feature = "libzmq"),
        }
    }
}

/// Why a read or write failed.
#[derive(Debug)]
pub enum Fault {
    TimedOut,
    /// The peer closed or reset the connection.
    Closed(String),
    /// The peer does not speak ZeroMQ. These are the first bytes that it sent.
    NotZmtp(Vec<u8>),
    /// A signal ended the wait.
    Interrupted,
    /// The peer violated the protocol.
    Broken(String),
}

/// The header of a frame: its length, and whether more frames of the message follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub more: bool,
    pub bytes: u64,
}

/// One connection to a server after the greeting. Frames are put and then sent with `flush`; a frame that arrives is read in
/// order: its header, then its bytes.
pub trait Wire: Send {
    /// Appends a whole frame to what `flush` sends.
    fn put_frame(&mut self, body: &[u8], more: bool);

    /// Appends the header of a frame. Its body follows with `put`.
    fn put_frame_header(&mut self, bytes: u64, more: bool);

    /// Appends a piece of a frame body, and may send it at once.
    fn put(&mut self, piece: &[u8], wait: Deadline) -> Result<(), Fault>;

    /// Sends what was put.
    fn flush(&mut self, wait: Deadline) -> Result<(), Fault>;

    /// Waits for the next frame of a message.
    fn frame_header(&mut self, wait: Deadline) -> Result<FrameHeader, Fault>;

    /// Reads exactly `bytes` bytes of a small frame.
    fn take(&mut self, bytes: usize, wait: Deadline) -> Result<&[u8], Fault>;

    /// Some of the next bytes of a frame: at least one, at most `bytes`, which is not 0.
    fn piece(&mut self, bytes: u64, wait: Deadline) -> Result<&[u8], Fault>;

    /// Whether the connection was lost or stopped inside a message, so that it cannot be used any more.
    fn is_broken(&self) -> bool;

    /// Marks the connection as broken.
    fn abandon(&mut self);

    /// Skips `bytes` bytes.
    fn skip(&mut self, mut bytes: u64, wait: Deadline) -> Result<(), Fault> {
        while bytes > 0 {
            bytes -= self.piece(bytes, wait)?.len() as u64;
        }
        Ok(())
    }
}

/// Connects and exchanges greetings. The error identifies a server that does not speak ZeroMQ, in the same words for every kind.
pub fn open(kind: WireKind, endpoint: &Endpoint, wait: Deadline) -> Result<Box<dyn Wire>, RpcError> {
    match kind {
        WireKind::Native => Ok(Box::new(open_native(endpoint, wait)?)),
        #[cfg(feature = "libzmq")]
        WireKind::Libzmq => Ok(Box::new(open_libzmq(endpoint, wait)?)),
        #[cfg(not(feature = "libzmq"))]
        WireKind::Libzmq => Err(RpcError::Invalid(LIBZMQ_ABSENT.into())),
    }
}

/// The time of the first attempt; the rest is left for identifying another protocol.
fn first_attempt(wait: Deadline) -> Deadline {
    Deadline {
        at: Instant::now() + GREETING_TIMEOUT.min(wait.left() / 2),
        ..wait
    }
}

fn unreachable(endpoint: &Endpoint, text: &str) -> RpcError {
    RpcError::Unreachable(format!("could not reach the cache server at {endpoint}: {text}"))
}

fn open_native(endpoint: &Endpoint, wait: Deadline) -> Result<zmtp::Connection, RpcError> {
    let failed = |text: &str| unreachable(endpoint, text);
    let greet = |wait: Deadline| -> Result<Result<zmtp::Connection, Fault>, RpcError> {
        let stream = endpoint.open(wait).map_err(|error| match is_cancelled(&error) {
            true => RpcError::Interrupted,
            false => failed(&format!("{error}; {}", Endpoint::advice(&error))),
        })?;
        Ok(zmtp::Connection::greet(stream, "DEALER", wait))
    };
    let mut greeted = greet(first_attempt(wait))?;
    // A ZeroMQ server sends its greeting first. A peer that does not is another kind of server or slow; a slow one gets the
    // rest of the time.
    if let Err(Fault::TimedOut | Fault::Closed(_)) = greeted {
        if let Some(other) = endpoint.identify(&[], wait) {
            return Err(failed(other));
        }
        greeted = greet(wait)?;
    }
    greeted.map_err(|fault| match fault {
        Fault::Interrupted => RpcError::Interrupted,
        Fault::NotZmtp(first_bytes) => failed(endpoint.identify(&first_bytes, wait).unwrap_or(NOT_ZEROMQ)),
        Fault::TimedOut => failed(&format!("it takes the connection and says nothing; {NOT_ZEROMQ}")),
        Fault::Closed(text) | Fault::Broken(text) => failed(&text),
    })
}

/// libzmq does not tell why there was no handshake. The native wire then finds out, in its own words, what is at the address;
/// a slow server gets the rest of the time.
#[cfg(feature = "libzmq")]
fn open_libzmq(endpoint: &Endpoint, wait: Deadline) -> Result<libzmq::Connection, RpcError> {
    match libzmq::Connection::open(endpoint, first_attempt(wait)) {
        Ok(connection) => return Ok(connection),
        Err(Fault::Interrupted) => return Err(RpcError::Interrupted),
        Err(_) => drop(open_native(endpoint, wait)?),
    }
    libzmq::Connection::open(endpoint, wait).map_err(|fault| match fault {
        Fault::Interrupted => RpcError::Interrupted,
        Fault::Closed(text) | Fault::Broken(text) => unreachable(endpoint, &text),
        Fault::TimedOut | Fault::NotZmtp(_) => unreachable(
            endpoint,
            "libzmq did not complete its greeting in time; try a longer --connect-timeout-s",
        ),
    })
}
