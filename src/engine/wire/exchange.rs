//! One request and its answer over one connection, with ureq as the HTTP layer. Every failure becomes a class and a message.
//! A request is sent once.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ureq::http::Response;
use ureq::http::header::CONTENT_TYPE;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::time::{self, Instant};
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout};
use ureq::{Agent, Body, Timeout};

use super::buffers::INPUT_BYTES_MAX;
use super::line::{Line, Stop};
use super::target::Target;
use super::transport::LineConnector;
use super::unpack::Unpack;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::samples::access::BodyRoom;
use crate::engine::samples::record::Record;
use crate::engine::stream::answer::Answer;
use crate::engine::stream::ending;
use crate::engine::stream::repeat::ChunkReader;
use crate::engine::stream::sse::Decoder;
use crate::engine::timestamp::Stamp;
use crate::engine::workload::Request;
use crate::http::answer;
use crate::http::error_body::{error_message, one_line};
use crate::http::trust;

/// Size of one read of an answer's body; token events are much smaller.
const PIECE_BYTES: usize = 4 << 10;
/// Kept from the start of an answer, for the message when it contains no event.
const OPENING_BYTES_MAX: usize = 4 << 10;
/// How long a connection may take to become free after `[DONE]`; after that it is closed.
const DRAIN: Duration = Duration::from_millis(100);

/// A connection with everything needed to send requests on it.
pub struct Exchanger {
    pub line: Arc<Line>,
    target: Arc<Target>,
    connector: LineConnector,
    agent: Agent,
    /// Room for the bodies of requests, where records keep them.
    bodies: Option<Arc<BodyRoom>>,
}

impl Exchanger {
    pub fn new(target: Arc<Target>, connector: LineConnector, bodies: Option<Arc<BodyRoom>>) -> Exchanger {
        Exchanger {
            line: Arc::clone(&connector.line),
            agent: Agent::with_parts(target.http_config(), connector.clone(), target.resolver()),
            target,
            connector,
            bodies,
        }
    }

    /// Makes sure that there is a working connection. Returns the nanoseconds that opening one took, 0 if it was open.
    pub fn open(&self) -> Result<u64, Failure> {
        if let Some(mut kept) = self.line.take_kept()
            && self.connector.can_use(&mut *kept)
        {
            self.line.keep(kept);
            return Ok(0);
        }
        let begin = self.line.clock.now();
        let transport = self.dial().map_err(|error| self.connect_failure(&error))?;
        self.line.keep(transport);
        Ok(self.line.clock.now().ns_since(begin))
    }

    fn dial(&self) -> Result<Box<dyn ureq::unversioned::transport::Transport>, ureq::Error> {
        let resolver = self.target.resolver();
        let after: time::Duration = self.line.timeouts.connect.into();
        let timeout = NextTimeout {
            after,
            reason: Timeout::Connect,
            ..NextTimeout::default()
        };
        let config = self.agent.config();
        self.connector.dial(&ConnectionDetails {
            uri: self.target.uri(),
            addrs: resolver.resolve(self.target.uri(), config, timeout)?,
            config,
            request_level: false,
            resolver: &resolver,
            now: Instant::now(),
            timeout,
            current_time: Arc::new(Instant::now),
            run_connector: Arc::new(|_| Err(ureq::Error::ConnectionFailed)),
            register_shutdown: Arc::new(|_| Ok(())),
        })
    }

    fn connect_failure(&self, error: &ureq::Error) -> Failure {
        let address = self.target.address();
        match self.line.stopped() {
            Some(Stop::Connect) => self.timeout_failure(Stop::Connect),
            _ if is_timeout(error) => self.timeout_failure(Stop::Connect),
            _ => {
                let cause = cause(error);
                let advice = trust::advice(&cause);
                let text = format!("Connection error: could not connect to {address}: {cause}{advice}");
                Failure::new(FailureClass::Connect, text)
            }
        }
    }

    /// Sends one request and reads its answer. `None`: the run was interrupted before the answer ended.
    pub fn run(&mut self, request: Request, scheduled: Stamp) -> Option<Record> {
        let opened = self.open();
        let body = Arc::new(request.body);
        let kept = self.bodies.as_ref().and_then(|room| room.keep(&body));
        let before = CountsBefore::of(&self.line);
        // The clock starts: building and writing the request are inside it, and so is any wait for a core.
        let dispatched = self.line.clock.now();
        let mut record = Record::begin(request.id, scheduled, dispatched);
        record.slot_wait = request.slot_wait;
        record.body = kept;
        record.answer = Answer::new(request.wants_text, request.max_tokens);
        let outcome = match opened {
            Ok(connect_ns) => {
                record.connect_ns = connect_ns;
                self.exchange(body, &mut record)
            }
            Err(failure) => Err(failure),
        };
        if self.line.stopped() == Some(Stop::Interrupted) && !record.answer.is_done() {
            return None;
        }
        record.finished = match record.answer.done {
            Some(done) if outcome.is_ok() => done,
            _ => self.line.clock.now(),
        };
        record.failure = outcome.err().map(|failure| self.target.without_key(failure));
        before.take_difference(&self.line, &mut record);
        record.drop_impossible_counts(request.max_tokens);
        Some(record)
    }

    fn exchange(&mut self, body: Arc<Vec<u8>>, record: &mut Record) -> Result<(), Failure> {
        let total_by = record.dispatched.plus(self.line.timeouts.total);
        let first_by = record.dispatched.plus(self.line.timeouts.first_token);
        if first_by < total_by {
            self.line.limit(first_by, Stop::FirstToken);
        } else {
            self.line.limit(total_by, Stop::Total);
        }
        self.line.begin_request(self.target.request_bytes(body.len()));
        let answered = self.agent.run(self.target.request(body));
        record.first_write = self.line.first_write();
        record.sent = Some(self.line.sent()).filter(|sent| *sent >= record.dispatched);
        let mut response = answered.map_err(|error| self.failure(&error, false))?;
        record.headers = Some(self.line.arrived());
        self.line.used();
        record.status = Some(response.status().as_u16());
        if response.status() != 200 {
            return Err(self.status_failure(&mut response));
        }
        let mut opening = Vec::new();
        let mut unpack = Unpack::of(&response)?;
        self.read_answer(&mut response, &mut unpack, record, total_by, &mut opening)?;
        if record.answer.is_empty() {
            self.check_type(&response, &opening)?;
        }
        ending::check(&record.answer)
    }

    /// Not inlined into `exchange`, so that the read buffer is not on the stack while the request is sent. `opening` receives the
    /// bytes before the first event, for the message about an answer without one.
    #[inline(never)]
    fn read_answer(
        &mut self,
        response: &mut Response<Body>,
        unpack: &mut Unpack,
        record: &mut Record,
        total_by: Stamp,
        opening: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut decoder = Decoder::new();
        let mut chunks = ChunkReader::default();
        let mut reader = response.body_mut().as_reader();
        let mut waiting = true;
        // On the stack: sending the request has already touched these pages.
        let mut piece = [0; PIECE_BYTES];
        loop {
            let bytes = match reader.read(&mut piece) {
                Ok(0) => return self.end_of_body(&mut decoder, record),
                Ok(bytes) => bytes,
                Err(error) => return Err(self.failure(&ureq::Error::Io(error), true)),
            };
            let at = self.line.arrived();
            self.line.used();
            let answer = &mut record.answer;
            let body = unpack.take(&piece[..bytes])?;
            decoder.feed(body, &mut |event| answer.read_event(&mut chunks, event, at))?;
            if answer.is_empty() && opening.len() < OPENING_BYTES_MAX {
                opening.extend_from_slice(&body[..body.len().min(OPENING_BYTES_MAX)]);
            }
            if waiting && answer.has_begun() {
                record.first_token_lag_ns = self.line.counts.lag_ns.load(Relaxed);
            }
            if answer.is_done() {
                self.drain(&mut reader, &mut piece);
                return Ok(());
            }
            if let Some(progress) = answer.last_progress.filter(|_| answer.has_begun()) {
                if std::mem::take(&mut waiting) {
                    self.line.limit(total_by, Stop::Total);
                }
                self.line.progressed(progress);
            }
            // Waits check the limits, but a stream that never pauses has no waits.
            if let Some(stop) = self.line.overdue(at) {
                return Err(self.timeout_failure(stop));
            }
        }
    }

    /// A last event without its blank line is dropped by the standard and the reference. Here it still counts if it is `[DONE]`,
    /// a finish reason, a usage or an error.
    fn end_of_body(&self, decoder: &mut Decoder, record: &mut Record) -> Result<(), Failure> {
        let at = self.line.arrived();
        decoder.finish(&mut |event| record.answer.read_unfinished(event, at))
    }

    /// Reads the rest of the body after `[DONE]`, usually only its end, so that the connection can be used again.
    fn drain(&self, reader: &mut impl Read, piece: &mut [u8]) {
        self.line.limit(self.line.clock.now().plus(DRAIN), Stop::Drain);
        while let Ok(bytes) = reader.read(piece) {
            if bytes == 0 || self.line.overdue(self.line.clock.now()).is_some() {
                return;
            }
        }
    }

    fn failure(&self, error: &ureq::Error, in_answer: bool) -> Failure {
        if let Some(stop) = self.line.stopped() {
            return self.timeout_failure(stop);
        }
        let cause = cause(error);
        match unwrapped(error) {
            ureq::Error::LargeResponseHeader(_, _) | ureq::Error::BodyStalled => Failure::protocol(format!(
                "heads, sizes of chunks or trailers of the engine's answer go on for more than {} KiB",
                INPUT_BYTES_MAX >> 10
            )),
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => self.not_http(&cause),
            _ if in_answer => Failure::new(
                FailureClass::StreamBroken,
                format!(
                    "Connection error: the answer was cut off: {cause}; the engine's log, or that of a proxy before it, says why"
                ),
            ),
            _ => Failure::new(
                FailureClass::StreamBroken,
                format!(
                    "Connection error: the engine closed the connection without an answer: {cause}; its log says why \
                     (a port that speaks TLS closes http:// connections like this)"
                ),
            ),
        }
    }

    /// A TLS server answers a plain HTTP request with an alert, which is not HTTP.
    fn not_http(&self, cause: &str) -> Failure {
        let advice = match self.target.uri().scheme_str() {
            Some("http") => "; check the port of --engine-url, and use https:// if it speaks TLS",
            _ => "; check the port of --engine-url",
        };
        Failure::protocol(format!("the engine's answer is not HTTP: {cause}{advice}"))
    }

    fn timeout_failure(&self, stop: Stop) -> Failure {
        let limits = &self.line.timeouts;
        let text = match stop {
            Stop::Connect => format!(
                "no connection within {} s (--connect-timeout-s)",
                limits.connect.as_secs_f64()
            ),
            Stop::FirstToken => format!(
                "no token within {} s (--first-token-timeout-s)",
                limits.first_token.as_secs_f64()
            ),
            Stop::Stall => format!(
                "no token, finish reason or usage for {} s (--stall-timeout-s)",
                limits.stall.as_secs_f64()
            ),
            Stop::Total => format!(
                "not finished within {} s (--request-timeout-s)",
                limits.total.as_secs_f64()
            ),
            Stop::Interrupted | Stop::Drain => "the run was ended".to_owned(),
        };
        Failure::new(FailureClass::Timeout, format!("Request timed out: {text}"))
    }

    fn status_failure(&self, response: &mut Response<Body>) -> Failure {
        let status = response.status().as_u16();
        let message = match answer::location(response, &self.target.uri().to_string()) {
            Some(location) => {
                let base = location
                    .strip_suffix(self.target.endpoint().path())
                    .unwrap_or(&location);
                Some(format!("it points to {location}; give {base} as --engine-url"))
            }
            None => answer::error_message_of(response),
        };
        let text = match message {
            Some(message) => format!("Error code: {status} - {message}"),
            None => format!("Error code: {status}"),
        };
        Failure::new(FailureClass::HttpStatus, text)
    }

    /// The failure of an answer without an event, with its content type and text.
    fn check_type(&self, response: &Response<Body>, opening: &[u8]) -> Result<(), Failure> {
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let what = match kind {
            Some(kind) if !kind.starts_with("text/event-stream") => {
                format!("the engine answered with {} instead of an event stream", one_line(kind))
            }
            _ if opening.trim_ascii().is_empty() => return Ok(()),
            _ => "the engine's answer holds no event".to_owned(),
        };
        let text = match error_message(opening) {
            Some(said) => format!("{what}: {said}"),
            None => what,
        };
        Err(Failure::protocol(text))
    }
}

/// The connection's counts at one moment.
struct CountsBefore {
    bytes_sent: u64,
    bytes_received: u64,
    reads: u64,
    reads_without_stamp: u64,
    lag_ns_sum: u64,
}

impl CountsBefore {
    fn of(line: &Line) -> CountsBefore {
        let counts = &line.counts;
        CountsBefore {
            bytes_sent: counts.bytes_sent.load(Relaxed),
            bytes_received: counts.bytes_received.load(Relaxed),
            reads: counts.reads.load(Relaxed),
            reads_without_stamp: counts.reads_without_stamp.load(Relaxed),
            lag_ns_sum: counts.lag_ns_sum.load(Relaxed),
        }
    }

    fn take_difference(&self, line: &Line, record: &mut Record) {
        let now = CountsBefore::of(line);
        record.bytes_sent = now.bytes_sent - self.bytes_sent;
        record.bytes_received = now.bytes_received - self.bytes_received;
        record.reads = now.reads - self.reads;
        record.reads_without_stamp = now.reads_without_stamp - self.reads_without_stamp;
        record.lag_ns_sum = now.lag_ns_sum - self.lag_ns_sum;
    }
}

fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(inner) => inner.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// ureq wraps its own errors into I/O errors when a body is read.
fn unwrapped(error: &ureq::Error) -> &ureq::Error {
    match error {
        ureq::Error::Io(outer) => {
            let inner = outer.get_ref().and_then(|inner| inner.downcast_ref());
            inner.unwrap_or(error)
        }
        _ => error,
    }
}

/// The error's message, on one line.
fn cause(error: &ureq::Error) -> String {
    one_line(&answer::cause(error))
}
