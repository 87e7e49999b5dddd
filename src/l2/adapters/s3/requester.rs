//! Signed requests to an S3 endpoint over one connection, retried when the service is overloaded or an idle connection was
//! closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::credentials::Credentials;
use super::http::{Head, HttpConnection};
use super::refusal::{Refusal, RequestKind};
use super::sign;
use crate::l2::adapters::service::link::{Address, ConnectOptions, advice, is_loss};
use crate::l2::adapters::service::tally::Tally;
use crate::l2::adapters::step_timer::StepTimer;
use crate::units::decimal;

const ATTEMPTS_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A longer `Retry-After` fails the key.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(50);

/// What all connections of one adapter share.
pub struct Setup {
    pub connect: ConnectOptions,
    pub address: Address,
    /// The Host header: the endpoint's host and port as given.
    pub host: String,
    /// In front of every object name: `/`, or `/bucket/` in path style.
    pub root: String,
    /// For messages: `https://bucket.host`.
    pub shown: String,
    pub region: String,
    pub credentials: Credentials,
    /// Larger objects are stored in parts.
    pub put_bytes_max: usize,
    pub tally: Arc<Tally>,
}

pub struct Requester {
    setup: Arc<Setup>,
    connection: Option<HttpConnection>,
}

/// One request, without the headers that every request has.
pub struct Call<'a> {
    pub kind: RequestKind,
    pub path: &'a str,
    pub query: &'a str,
    /// Lower-case names.
    pub headers: Vec<(&'a str, String)>,
    pub body: &'a [u8],
}

/// Why a request failed.
pub enum RequestError {
    /// The service refused it.
    Refused(Box<Refusal>),
    /// No connection, a connection that was lost, or an invalid response; a sentence.
    Lost(String),
}

/// Where the body of a success goes.
pub enum Sink<'a> {
    Text,
    Buffer(&'a mut [u8]),
}

/// A success; the body is in `text` or in the sink's buffer.
pub struct Answer {
    pub head: Head,
    pub text: String,
    pub body_bytes: u64,
}

impl Requester {
    pub fn new(setup: &Arc<Setup>) -> Requester {
        Requester {
            setup: Arc::clone(setup),
            connection: None,
        }
    }

    /// Opens the connection unless a usable one is open.
    pub fn connect(&mut self) -> Result<&mut HttpConnection, String> {
        let usable = self.connection.take().filter(|connection| connection.reusable);
        let connection = match usable {
            Some(connection) => connection,
            None => self.open(&self.setup.connect)?,
        };
        Ok(self.connection.insert(connection))
    }

    fn open(&self, options: &ConnectOptions) -> Result<HttpConnection, String> {
        let address = &self.setup.address;
        HttpConnection::open(address, options)
            .map_err(|error| format!("could not connect to {address}: {error}{}", advice(&error)))
    }

    /// The request's head with its signature.
    fn sign(&self, call: &Call<'_>) -> String {
        let setup = &self.setup;
        let timestamp = sign::timestamp(SystemTime::now());
        let mut headers = call.headers.clone();
        headers.push(("host", setup.host.clone()));
        headers.push(("x-amz-content-sha256", sign::UNSIGNED_PAYLOAD.to_owned()));
        headers.push(("x-amz-date", timestamp.clone()));
        if let Some(token) = &setup.credentials.session_token {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let method = call.kind.method();
        if method == "PUT" || method == "POST" {
            headers.push(("content-length", call.body.len().to_string()));
        }
        headers.sort();
        let request = sign::Request {
            method,
            path: call.path,
            query: call.query,
            headers: &headers,
        };
        let authorization = sign::authorization(&request, &setup.credentials, &setup.region, &timestamp);
        let mark = if call.query.is_empty() { "" } else { "?" };
        let mut head = format!("{method} {}{mark}{} HTTP/1.1\r\n", call.path, call.query);
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("authorization: {authorization}\r\n\r\n"));
        head
    }

    /// Sends a request until it has a final response: retries at once when an idle connection was closed, and after a pause
    /// when the service is overloaded.
    pub fn call(&mut self, call: &Call<'_>, mut sink: Sink<'_>, timer: &mut StepTimer) -> Result<Answer, RequestError> {
        let mut pause = FIRST_PAUSE;
        let mut lost_before = false;
        let mut attempt = 1;
        if let (RequestKind::Abort, Some(options)) = (call.kind, self.setup.connect.for_abort()) {
            self.connection = Some(self.open(&options).map_err(RequestError::Lost)?);
        }
        loop {
            let stale = self.connect().map_err(RequestError::Lost)?.proven;
            timer.times.open_ns += timer.step_ns();
            let shown = self.setup.shown.clone();
            match self.exchange(call, &mut sink, timer) {
                Ok(answer) => {
                    let Err(refusal) = call.kind.check(&answer.head, &answer.text) else {
                        return Ok(answer);
                    };
                    let requested = answer.head.header("retry-after").and_then(decimal);
                    let wait = requested.map_or(pause, Duration::from_secs);
                    if !refusal.is_passing() || attempt == ATTEMPTS_MAX || wait > PAUSE_MAX || !self.rest(wait) {
                        return Err(RequestError::Refused(refusal));
                    }
                    self.setup.tally.repeat(|| format!("{shown} answered {refusal}"));
                    pause *= 2;
                }
                Err(error) => {
                    self.connection = None;
                    if lost_before || !stale || !is_loss(&error) {
                        return Err(RequestError::Lost(format!("{error}{}", advice(&error))));
                    }
                    lost_before = true;
                    self.setup.tally.repeat(|| format!("{shown}: {error}"));
                }
            }
            attempt += 1;
        }
    }

    /// Waits; false when the run is cancelled meanwhile.
    fn rest(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if self.setup.connect.cancelled.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(NAP.min(end.saturating_duration_since(Instant::now())));
        }
        true
    }

    fn exchange(&mut self, call: &Call<'_>, sink: &mut Sink<'_>, timer: &mut StepTimer) -> io::Result<Answer> {
        let request = self.sign(call);
        let connection = self.connection.as_mut().expect("connect() came before");
        let sent = connection.send(&request, call.body);
        let sent_ns = timer.step_ns();
        let head = match (connection.head(call.kind.method()), sent) {
            (Ok(head), Ok(())) => head,
            // A response after a broken pipe counts only as a refusal.
            (Ok(head), Err(_)) if head.status >= 300 => {
                connection.reusable = false;
                head
            }
            (Err(error), Ok(())) => return Err(error),
            (_, Err(error)) => return Err(error),
        };
        let head_ns = timer.step_ns();
        let (text, body_bytes) = match sink {
            Sink::Buffer(place) if head.status < 300 => (String::new(), connection.body_into(&head, place)?),
            _ => (connection.text(&head)?, 0),
        };
        if call.kind == RequestKind::Get {
            timer.times.open_ns += sent_ns + head_ns;
            timer.times.transfer_ns += timer.step_ns();
        } else {
            timer.times.transfer_ns += sent_ns;
            timer.times.publish_ns += head_ns;
        }
        Ok(Answer { head, text, body_bytes })
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// A whole object, or a part of one.
    pub fn put(
        &mut self,
        kind: RequestKind,
        path: &str,
        query: &str,
        body: &[u8],
        timer: &mut StepTimer,
    ) -> Result<Answer, RequestError> {
        let call = Call {
            kind,
            path,
            query,
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            body,
        };
        self.call(&call, Sink::Text, timer)
    }
}
