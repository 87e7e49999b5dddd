//! A client of one cache server: sends requests and matches replies to them by request id. Every wait has a deadline.
//! `operations` has one method for each operation.

use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::fault::{ReplyFault, RpcError};
use super::generation::{Generation, Operation};
use super::messages::{self, Request};
use super::msgpack::Decoder;
use super::probe;
use super::replies::{FrameSource, ignored};
use super::wire::{self, Wire, WireKind};
use crate::sys::deadline::{Deadline, OnSignal, WORK_GRACE};

/// How long LMCache's own bench waits for a reply.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for reopening a lost connection.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timestamps of the last request and its reply.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before the request was encoded.
    pub begun: Instant,
    /// After its last byte was passed to the kernel; with libzmq, to libzmq, whose own thread sends it.
    pub sent: Instant,
    /// When the first frame of the reply had arrived; with libzmq, which delivers whole messages only, when all of it had.
    pub answered: Instant,
    /// After its last byte was read, and its chunks, if any, were passed to the sink.
    pub done: Instant,
}

/// A client of one server. It has one request in flight at a time.
pub struct Client {
    pub(super) connection: Box<dyn Wire>,
    kind: WireKind,
    endpoint: Endpoint,
    pub(super) server: ServerInfo,
    next_id: u64,
    pub(super) reply_timeout: Duration,
    pub(super) on_signal: OnSignal,
    pub(super) timing: Timing,
    disconnects: u32,
}

/// What `Client::connect` detected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    pub generation: Generation,
    /// Tokens per chunk; 0 until `Client::settle_chunk_size`.
    pub chunk_size: u64,
    /// Names of the experimental features that are on, in 0.5.5 and later.
    pub experimental: Vec<String>,
    /// Whether the release is exactly 0.5.0, which only the HTTP API tells; see `set_release_is_0_5_0`.
    pub is_0_5_0: bool,
}

impl Client {
    /// As `connect_by`, over the native wire.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Client, RpcError> {
        Client::connect_by(WireKind::Native, endpoint, timeout)
    }

    /// Connects, detects the server's protocol generation, and asks for its chunk size. Fails if that takes longer than `timeout`.
    pub fn connect_by(kind: WireKind, endpoint: &Endpoint, timeout: Duration) -> Result<Client, RpcError> {
        let mut client = Client::recognise(kind, endpoint, timeout)?;
        client.settle_chunk_size(None)?;
        Ok(client)
    }

    /// Connects and detects the server's protocol generation. The chunk size may be unknown afterwards.
    pub fn recognise(kind: WireKind, endpoint: &Endpoint, timeout: Duration) -> Result<Client, RpcError> {
        let wait = Deadline {
            at: Instant::now() + timeout,
            on_signal: OnSignal::End,
        };
        let connection = wire::open(kind, endpoint, wait)?;
        let unknown = ServerInfo {
            generation: Generation::NEWEST,
            chunk_size: 0,
            experimental: Vec::new(),
            is_0_5_0: false,
        };
        let mut client = Client::new(kind, connection, endpoint.clone(), unknown);
        client.on_signal = OnSignal::End;
        // What errors name.
        client.reply_timeout = timeout;
        client.server = probe::detect(&mut client, wait, timeout)?;
        client.reply_timeout = REPLY_TIMEOUT;
        client.on_signal = OnSignal::Grace(WORK_GRACE);
        Ok(client)
    }

    /// Another connection to a server that a client has recognised: it only has to answer a `NOOP` of its generation.
    pub fn join(
        kind: WireKind,
        endpoint: &Endpoint,
        timeout: Duration,
        server: ServerInfo,
    ) -> Result<Client, RpcError> {
        let wait = Deadline {
            at: Instant::now() + timeout,
            on_signal: OnSignal::End,
        };
        let connection = wire::open(kind, endpoint, wait)?;
        let mut client = Client::new(kind, connection, endpoint.clone(), server);
        client.set_reply_timeout(timeout);
        client.on_signal = OnSignal::End;
        client.noop()?;
        client.on_signal = OnSignal::Grace(WORK_GRACE);
        Ok(client)
    }

    fn new(kind: WireKind, connection: Box<dyn Wire>, endpoint: Endpoint, server: ServerInfo) -> Client {
        let now = Instant::now();
        Client {
            connection,
            kind,
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

    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// Sets the chunk size to the one that the HTTP API reports, or asks the server for it. Returns whether asking has fixed it for
    /// the life of the server, so that it is no longer negotiable for engines.
    pub fn settle_chunk_size(&mut self, reported: Option<u64>) -> Result<bool, RpcError> {
        // A slow server was asked for it already, to be recognised.
        let asked = self.server.chunk_size != 0 || reported.is_none();
        if self.server.chunk_size == 0 {
            self.server.chunk_size = match reported {
                Some(chunk_size) => chunk_size,
                None => self.chunk_size()?,
            };
        }
        match self.server.chunk_size {
            0 => Err(probe::no_chunk_size()),
            _ => Ok(asked && self.server.generation.asking_fixes_chunk_size),
        }
    }

    /// Sets whether the release is exactly 0.5.0, which has CUDA descriptors of its own. The HTTP API reports the release.
    pub fn set_release_is_0_5_0(&mut self, is_0_5_0: bool) {
        self.server.is_0_5_0 = is_0_5_0;
    }

    /// Sets how long each request waits for its reply. The default is `REPLY_TIMEOUT`.
    pub fn set_reply_timeout(&mut self, timeout: Duration) {
        self.reply_timeout = timeout;
    }

    /// Sets what a signal does to a wait for a reply. By default a request in flight gets a grace period; `OnSignal::End` suits
    /// operations that may be abandoned.
    pub fn set_on_signal(&mut self, on_signal: OnSignal) {
        self.on_signal = on_signal;
    }

    /// Timestamps of the last request that was answered.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// How often the connection was lost. A restarted server has lost all registrations.
    pub fn disconnects(&self) -> u32 {
        self.disconnects
    }

    // ---- sending and receiving ---------------------------------------------------------------------------------------

    pub(super) fn wait(&self) -> Deadline {
        Deadline {
            at: Instant::now() + self.reply_timeout,
            on_signal: self.on_signal,
        }
    }

    /// Sends a request and decodes the third frame of its reply, which may be missing.
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

    /// As `exchange`, for operations that a server handles in order of arrival. A server does not answer a request that fails;
    /// a `NOOP` that is sent right after it and answered first shows the failure at once.
    pub(super) fn exchange_in_order<T>(
        &mut self,
        request: &Request,
        decode: impl FnOnce(Option<&mut Decoder<FrameSource>>) -> Result<T, ReplyFault>,
    ) -> Result<T, RpcError> {
        self.timing.begun = Instant::now();
        let wait = self.wait();
        let id = self.send(request, wait)?;
        let behind = self.send(&messages::without_parameters(Operation::Noop), wait)?;
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

    /// Sends a whole request and returns its id.
    pub(super) fn send(&mut self, request: &Request, wait: Deadline) -> Result<u64, RpcError> {
        let number = self.server.generation.id(request.operation).ok_or_else(|| {
            let (operation, release) = (request.operation.name(), self.server.generation.label);
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

    /// Appends the id and operation frames of a request. Payload frames follow if `more`, then `finish`.
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
        sent.map_err(|fault| self.request_error(operation, fault, wait))?;
        self.timing.sent = Instant::now();
        Ok(())
    }

    fn reconnect(&mut self, operation: Operation) -> Result<(), RpcError> {
        self.disconnects += 1;
        let wait = Deadline {
            at: Instant::now() + RECONNECT_TIMEOUT,
            on_signal: self.on_signal,
        };
        match wire::open(self.kind, &self.endpoint, wait) {
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
