//! One connection to a cache server: requests out, replies in, matched by request id. It must never wait without a
//! deadline, and never reports a reply that belongs to another request. `operations` has one method per operation.

use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::fault::{ReplyFault, RpcError};
use super::messages::{self, Request};
use super::msgpack::Decoder;
use super::replies::{FrameSource, ignored};
use super::version::{Generation, Operation};
use super::zmtp::{Connection, Fault};
use crate::sys::deadline::{Deadline, OnSignal, WORK_GRACE, is_cancelled};

/// What the reference waits for a reply.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long opening a lost connection again may take.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a ZeroMQ server may take to greet before it is looked at for something else.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
const STRANGER: &str = "what is there does not speak ZeroMQ; name the server's ZMQ port (5555 by default)";

/// When the last request went out and its reply came in.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before the request was encoded.
    pub begun: Instant,
    /// After its last byte was handed to the kernel.
    pub sent: Instant,
    /// When the reply's first frame was here.
    pub answered: Instant,
    /// After its last byte was read, and handed to the sink if it has chunks.
    pub done: Instant,
}

/// A client of one server. Requests of one client are served in order; one per rank lets ranks go in parallel.
pub struct Client {
    pub(super) connection: Connection,
    endpoint: Endpoint,
    pub(super) server: Server,
    next_id: u64,
    pub(super) reply_timeout: Duration,
    pub(super) on_signal: OnSignal,
    pub(super) timing: Timing,
    disconnects: u32,
}

/// What connecting found out about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub generation: Generation,
    /// Tokens of a chunk.
    pub chunk_size: u64,
    /// Experimental features that are on, in 0.5.5 and later.
    pub experimental: Vec<String>,
    /// Set by whoever learns from HTTP that the release is exactly 0.5.0.
    pub is_0_5_0: bool,
}

impl Client {
    /// Connects and detects the server's protocol generation. Fails if that takes longer than `timeout`.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Client, RpcError> {
        let wait = Deadline {
            at: Instant::now() + timeout,
            on_signal: OnSignal::End,
        };
        let connection = open(endpoint, wait)?;
        let unknown = Server {
            generation: Generation::V0_5_6,
            chunk_size: 0,
            experimental: Vec::new(),
            is_0_5_0: false,
        };
        let mut client = Client::over(connection, endpoint.clone(), unknown);
        client.on_signal = OnSignal::End;
        client.server = super::probe::detect(&mut client, wait, timeout)?;
        client.on_signal = OnSignal::Grace(WORK_GRACE);
        Ok(client)
    }

    /// A second connection to the same server, without asking again what it is.
    pub fn another(&self) -> Result<Client, RpcError> {
        let wait = Deadline {
            at: Instant::now() + RECONNECT_TIMEOUT,
            on_signal: self.on_signal,
        };
        let connection = open(&self.endpoint, wait)?;
        let mut client = Client::over(connection, self.endpoint.clone(), self.server.clone());
        client.reply_timeout = self.reply_timeout;
        client.on_signal = self.on_signal;
        Ok(client)
    }

    fn over(connection: Connection, endpoint: Endpoint, server: Server) -> Client {
        let now = Instant::now();
        Client {
            connection,
            endpoint,
            server,
            next_id: 1,
            reply_timeout: REPLY_TIMEOUT,
            on_signal: OnSignal::Grace(WORK_GRACE),
            timing: Timing {
                begun: now,
                sent: now,
                answered: now,
                done: now,
            },
            disconnects: 0,
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Tells the client what HTTP says about the release; only the CUDA descriptors of 0.5.0 depend on it.
    pub fn set_release_is_0_5_0(&mut self, is_0_5_0: bool) {
        self.server.is_0_5_0 = is_0_5_0;
    }

    /// How long each request waits for its reply, `REPLY_TIMEOUT` at first.
    pub fn set_reply_timeout(&mut self, timeout: Duration) {
        self.reply_timeout = timeout;
    }

    /// What a signal does to a wait for a reply. At first what is under way may finish; to end at once is right for
    /// operations that leave nothing half done.
    pub fn set_on_signal(&mut self, on_signal: OnSignal) {
        self.on_signal = on_signal;
    }

    /// Clock readings of the last request that was answered.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// How often the connection was lost. A restarted server has forgotten every registration.
    pub fn disconnects(&self) -> u32 {
        self.disconnects
    }

    // ---- the core ----------------------------------------------------------------------------------------------------

    pub(super) fn wait(&self) -> Deadline {
        Deadline {
            at: Instant::now() + self.reply_timeout,
            on_signal: self.on_signal,
        }
    }

    /// Sends a request and decodes the third frame of its reply, or its absence.
    pub(super) fn exchange<T>(
        &mut self,
        request: &Request,
        decode: impl FnOnce(Option<&mut Decoder<FrameSource>>) -> Result<T, ReplyFault>,
    ) -> Result<T, RpcError> {
        self.timing.begun = Instant::now();
        let wait = self.wait();
        let id = self.send(request, wait)?;
        let reply = self.receive(request.operation, &[id], wait)?;
        self.read(request.operation, &reply, wait, decode)
    }

    /// As `exchange`, for operations that a server works off in order of arrival: a `NOOP` right behind tells that the
    /// request failed, without waiting for it.
    pub(super) fn exchange_in_order<T>(
        &mut self,
        request: &Request,
        decode: impl FnOnce(Option<&mut Decoder<FrameSource>>) -> Result<T, ReplyFault>,
    ) -> Result<T, RpcError> {
        self.timing.begun = Instant::now();
        let wait = self.wait();
        let id = self.send(request, wait)?;
        let behind = self.send(&messages::bare(Operation::Noop), wait)?;
        let reply = self.receive(request.operation, &[id, behind], wait)?;
        if reply.id == behind {
            self.read(Operation::Noop, &reply, wait, ignored)?;
            return Err(RpcError::Refused {
                operation: request.operation,
            });
        }
        let result = self.read(request.operation, &reply, wait, decode)?;
        let timing = self.timing;
        let reply = self.receive(Operation::Noop, &[behind], wait)?;
        self.read(Operation::Noop, &reply, wait, ignored)?;
        self.timing = timing;
        Ok(result)
    }

    pub(super) fn mark_begun(&mut self) {
        self.timing.begun = Instant::now();
    }

    /// Sends a whole request; its id.
    pub(super) fn send(&mut self, request: &Request, wait: Deadline) -> Result<u64, RpcError> {
        let number = self.server.generation.id(request.operation).ok_or_else(|| {
            let (operation, release) = (request.operation.name(), self.server.generation.label());
            RpcError::Invalid(format!("servers of release {release} have no {operation}"))
        })?;
        self.send_numbered(request.operation, number, &request.payloads, wait)
    }

    pub(super) fn send_numbered(
        &mut self,
        operation: Operation,
        number: u8,
        payloads: &[Vec<u8>],
        wait: Deadline,
    ) -> Result<u64, RpcError> {
        let id = self.begin(operation, number, !payloads.is_empty())?;
        for (index, payload) in payloads.iter().enumerate() {
            self.connection.put_frame(payload, index + 1 < payloads.len());
        }
        self.finish(operation, wait)?;
        Ok(id)
    }

    /// Puts id and operation of a request; payload frames follow if `more`, then `finish`.
    pub(super) fn begin(&mut self, operation: Operation, number: u8, more: bool) -> Result<u64, RpcError> {
        if self.connection.is_broken() {
            self.reconnect(operation)?;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.connection.put_frame(&id.to_be_bytes(), true);
        self.connection.put_frame(&[number], more);
        Ok(id)
    }

    pub(super) fn finish(&mut self, operation: Operation, wait: Deadline) -> Result<(), RpcError> {
        let sent = self.connection.flush(wait);
        sent.map_err(|fault| self.told(operation, fault, wait))?;
        self.timing.sent = Instant::now();
        Ok(())
    }

    fn reconnect(&mut self, operation: Operation) -> Result<(), RpcError> {
        self.disconnects += 1;
        let wait = Deadline {
            at: Instant::now() + RECONNECT_TIMEOUT,
            on_signal: self.on_signal,
        };
        match open(&self.endpoint, wait) {
            Ok(connection) => {
                self.connection = connection;
                Ok(())
            }
            Err(RpcError::Interrupted) => Err(RpcError::Interrupted),
            Err(error) => Err(RpcError::Disconnected {
                operation,
                cause: error.to_string(),
            }),
        }
    }
}

/// Opens and greets; whatever is not a ZeroMQ server is named.
fn open(endpoint: &Endpoint, wait: Deadline) -> Result<Connection, RpcError> {
    let failed =
        |text: String| RpcError::Unreachable(format!("could not reach the cache server at {endpoint}: {text}"));
    let greet = |wait: Deadline| -> Result<Result<Connection, Fault>, RpcError> {
        let stream = endpoint.open(wait).map_err(|error| match is_cancelled(&error) {
            true => RpcError::Interrupted,
            false => failed(format!("{error}; {}", Endpoint::advice(&error))),
        })?;
        Ok(Connection::greet(stream, "DEALER", wait))
    };
    let soon = Deadline {
        // The other half is for finding out what is there instead.
        at: Instant::now() + GREETING_TIMEOUT.min(wait.left() / 2),
        ..wait
    };
    let mut greeted = greet(soon)?;
    // ZeroMQ servers speak first. One that does not is something else, or slow: then it gets the rest of the time.
    if let Err(Fault::TimedOut | Fault::Closed(_)) = greeted {
        if let Some(other) = endpoint.identify(&[], wait) {
            return Err(failed(other.into()));
        }
        greeted = greet(wait)?;
    }
    greeted.map_err(|fault| match fault {
        Fault::Interrupted => RpcError::Interrupted,
        Fault::NotZmtp(first_bytes) => failed(endpoint.identify(&first_bytes, wait).unwrap_or(STRANGER).into()),
        Fault::TimedOut => failed(format!("it takes the connection and says nothing; {STRANGER}")),
        Fault::Closed(text) | Fault::Broken(text) => failed(text),
    })
}
