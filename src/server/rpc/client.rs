//! One connection to a cache server: requests out, replies in, matched by request id. It must never wait without a
//! deadline, and never reports a reply that belongs to another request. `operations` has one method per operation.

use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::fault::{ReplyFault, RpcError};
use super::messages::{self, Request};
use super::msgpack::{Decoder, Source};
use super::version::{Generation, Operation};
use super::zmtp::{Connection, Fault, Wait};

/// What the reference waits for a reply.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a `NOOP` may take that tells a dead server from one that failed a request.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long opening a lost connection again may take.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a ZeroMQ server may take to greet before it is looked at for something else.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
const STRANGER: &str = "what is there does not speak ZeroMQ; name the server's ZMQ port (5555 by default)";
/// Replies to requests that timed out, read past on the way to the one that is due.
const LATE_REPLIES_MAX: u32 = 10_000;
/// Longest request id and operation that a reply may repeat.
const NAME_BYTES_MAX: u64 = 64;

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
    url: String,
    pub(super) server: Server,
    next_id: u64,
    reply_timeout: Duration,
    stop_on_signal: bool,
    timing: Timing,
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

/// How a reply came in: its third frame's length, if there is one.
pub(super) struct Reply {
    pub id: u64,
    bytes: Option<u64>,
}

/// The third frame of a reply while it arrives.
pub(super) struct FrameSource<'a> {
    connection: &'a mut Connection,
    left: u64,
    wait: Wait,
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

impl Client {
    /// Connects and finds out what is there, all within `deadline` from now.
    pub fn connect(url: &str, deadline: Duration) -> Result<Client, RpcError> {
        let endpoint = Endpoint::parse(url).map_err(RpcError::Unreachable)?;
        let wait = Wait {
            until: Instant::now() + deadline,
            stop_on_signal: true,
        };
        let connection = open(&endpoint, url, wait)?;
        let unknown = Server {
            generation: Generation::V0_5_6,
            chunk_size: 0,
            experimental: Vec::new(),
            is_0_5_0: false,
        };
        let mut client = Client::over(connection, endpoint, url.to_string(), unknown);
        client.stop_on_signal = true;
        client.server = super::probe::detect(&mut client, wait, deadline)?;
        client.stop_on_signal = false;
        Ok(client)
    }

    /// A second connection to the same server, without asking again what it is.
    pub fn another(&self) -> Result<Client, RpcError> {
        let wait = Wait {
            until: Instant::now() + RECONNECT_TIMEOUT,
            stop_on_signal: self.stop_on_signal,
        };
        let connection = open(&self.endpoint, &self.url, wait)?;
        let mut client = Client::over(connection, self.endpoint.clone(), self.url.clone(), self.server.clone());
        client.reply_timeout = self.reply_timeout;
        client.stop_on_signal = self.stop_on_signal;
        Ok(client)
    }

    fn over(connection: Connection, endpoint: Endpoint, url: String, server: Server) -> Client {
        let now = Instant::now();
        Client {
            connection,
            endpoint,
            url,
            server,
            next_id: 1,
            reply_timeout: REPLY_TIMEOUT,
            stop_on_signal: false,
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

    /// Whether SIGINT and SIGTERM end a wait for a reply. Off at first, so that cleaning up goes on; on it is right for
    /// operations that leave nothing half done.
    pub fn set_stop_on_signal(&mut self, stop: bool) {
        self.stop_on_signal = stop;
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

    pub(super) fn wait(&self) -> Wait {
        Wait {
            until: Instant::now() + self.reply_timeout,
            stop_on_signal: self.stop_on_signal,
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
    pub(super) fn send(&mut self, request: &Request, wait: Wait) -> Result<u64, RpcError> {
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
        wait: Wait,
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

    pub(super) fn finish(&mut self, operation: Operation, wait: Wait) -> Result<(), RpcError> {
        let sent = self.connection.flush(wait);
        sent.map_err(|fault| self.told(operation, fault, wait))?;
        self.timing.sent = Instant::now();
        Ok(())
    }

    fn reconnect(&mut self, operation: Operation) -> Result<(), RpcError> {
        self.disconnects += 1;
        let wait = Wait {
            until: Instant::now() + RECONNECT_TIMEOUT,
            stop_on_signal: self.stop_on_signal,
        };
        match open(&self.endpoint, &self.url, wait) {
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

    /// Waits for the reply to one of `ids`; replies to earlier requests are read past.
    pub(super) fn receive(&mut self, operation: Operation, ids: &[u64], wait: Wait) -> Result<Reply, RpcError> {
        match self.next_reply(ids, wait) {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.told(operation, fault, wait)),
        }
    }

    pub(super) fn next_reply(&mut self, ids: &[u64], wait: Wait) -> Result<Reply, Fault> {
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

    fn name_frame(&mut self, wait: Wait) -> Result<(Vec<u8>, bool), Fault> {
        let head = self.connection.head(wait)?;
        if head.bytes > NAME_BYTES_MAX {
            return Err(self.broken(&format!("a frame of {} bytes instead of a request id", head.bytes)));
        }
        let name = self.connection.take(head.bytes as usize, wait)?.to_vec();
        Ok((name, head.more))
    }

    /// The length of the third frame, which must be the last.
    fn last_frame(&mut self, more: bool, wait: Wait) -> Result<Option<u64>, Fault> {
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
        wait: Wait,
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

    fn undecoded(&mut self, operation: Operation, fault: ReplyFault, wait: Wait) -> RpcError {
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
    pub(super) fn told(&mut self, operation: Operation, fault: Fault, wait: Wait) -> RpcError {
        match fault {
            Fault::Interrupted => RpcError::Interrupted,
            Fault::TimedOut => RpcError::TimedOut {
                operation,
                waited: Instant::now().saturating_duration_since(wait.until) + self.reply_timeout,
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
        let wait = Wait {
            until: Instant::now() + LIVENESS_TIMEOUT,
            stop_on_signal: self.stop_on_signal,
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

/// For a reply whose coming is all that matters.
pub(super) fn ignored(reply: Option<&mut Decoder<FrameSource>>) -> Result<(), ReplyFault> {
    reply.map_or(Ok(()), |decoder| decoder.skip())
}

/// Opens and greets; whatever is not a ZeroMQ server is named.
fn open(endpoint: &Endpoint, url: &str, wait: Wait) -> Result<Connection, RpcError> {
    let failed = |text: String| RpcError::Unreachable(format!("could not reach the cache server at {url}: {text}"));
    let greet = |wait: Wait| -> Result<Result<Connection, Fault>, RpcError> {
        let stream = endpoint.open(wait.until);
        let advice = "is it running, and is --rpc-url its ZMQ address?";
        let stream = stream.map_err(|error| failed(format!("{error}; {advice}")))?;
        Ok(Connection::greet(stream, "DEALER", wait))
    };
    let soon = Wait {
        until: wait.until.min(Instant::now() + GREETING_TIMEOUT),
        ..wait
    };
    let mut greeted = greet(soon)?;
    // ZeroMQ servers speak first. One that does not is something else, or slow: then it gets the rest of the time.
    if let Err(Fault::TimedOut | Fault::Closed(_)) = greeted {
        if let Some(other) = endpoint.identify(&[], wait.until) {
            return Err(failed(other.into()));
        }
        greeted = greet(wait)?;
    }
    greeted.map_err(|fault| match fault {
        Fault::Interrupted => RpcError::Interrupted,
        Fault::NotZmtp(first_bytes) => failed(endpoint.identify(&first_bytes, wait.until).unwrap_or(STRANGER).into()),
        Fault::TimedOut => failed(format!("it takes the connection and says nothing; {STRANGER}")),
        Fault::Closed(text) | Fault::Broken(text) => failed(text),
    })
}
