//! One worker's session with an S3 endpoint: signed requests over one connection, retries where the service asks for them,
//! and uploads in parts for large objects. A key counts as stored only after the service said so for the whole object.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::answer::{self, Refusal};
use super::credentials::Credentials;
use super::http::{Head, HttpConnection};
use super::sign;
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::service::lap::Lap;
use crate::l2::adapters::service::link::{Address, Dial, advice};
use crate::l2::adapters::service::pool::Session;
use crate::l2::adapters::service::tally::Tally;

/// The AWS CRT's part size: larger objects are stored in parts, and loads ask for ranges of it.
pub const PART_BYTES: usize = 8 << 20;
const ATTEMPTS_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A `Retry-After` beyond this is answered with a failed key.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(50);

/// What all sessions of one adapter share.
pub struct Setup {
    pub dial: Dial,
    pub address: Address,
    /// The Host header: the endpoint's host and port as given.
    pub host: String,
    /// In front of every object name: `/`, or `/bucket/` in path style.
    pub root: String,
    /// For messages: `https://bucket.host`.
    pub shown: String,
    pub region: String,
    pub credentials: Credentials,
    pub tally: Arc<Tally>,
}

pub struct S3Session {
    setup: Arc<Setup>,
    connection: Option<HttpConnection>,
}

/// One request but for what every request has.
struct Call<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    /// Lower-case names.
    headers: Vec<(&'a str, String)>,
    body: &'a [u8],
}

/// Why a request came to nothing.
enum Trouble {
    /// The service's answer is no.
    Refused(Refusal),
    /// A sentence: no connection, or it broke, or the answer made no sense.
    Lost(String),
}

/// What to do with a good answer's body.
enum Sink<'a> {
    Text,
    Buffer(&'a mut [u8]),
}

/// A good answer; the body is in `text` or in the sink's buffer.
struct Answer {
    head: Head,
    text: String,
    body_bytes: u64,
}

impl S3Session {
    pub fn new(setup: &Arc<Setup>) -> S3Session {
        S3Session {
            setup: Arc::clone(setup),
            connection: None,
        }
    }

    /// Opens the connection, so that a wrong endpoint is known before the run.
    pub fn connect(&mut self) -> Result<&mut HttpConnection, String> {
        let setup = &self.setup;
        let usable = self.connection.take().filter(|connection| connection.reusable);
        let connection = match usable {
            Some(connection) => connection,
            None => HttpConnection::open(&setup.address, &setup.dial)
                .map_err(|error| format!("could not connect to {}: {error}{}", setup.address, advice(&error)))?,
        };
        Ok(self.connection.insert(connection))
    }

    fn path_of(&self, item: &Item) -> String {
        format!("{}{}", self.setup.root, sign::encode_path(&item.key.wire_name()))
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
        if call.method == "PUT" || call.method == "POST" {
            headers.push(("content-length", call.body.len().to_string()));
        }
        headers.sort();
        let request = sign::Request {
            method: call.method,
            path: call.path,
            query: call.query,
            headers: &headers,
        };
        let authorization = sign::authorization(&request, &setup.credentials, &setup.region, &timestamp);
        let mark = if call.query.is_empty() { "" } else { "?" };
        let mut head = format!("{} {}{mark}{} HTTP/1.1\r\n", call.method, call.path, call.query);
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("authorization: {authorization}\r\n\r\n"));
        head
    }

    /// Sends a request until it is answered for good: again at once when an old connection turns out to be dead, again after
    /// a pause when the service is overloaded.
    fn call(&mut self, call: &Call<'_>, mut sink: Sink<'_>, lap: &mut Lap) -> Result<Answer, Trouble> {
        let mut pause = FIRST_PAUSE;
        let mut lost_before = false;
        let mut attempt = 1;
        loop {
            let stale = self.connect().map_err(Trouble::Lost)?.proven;
            lap.times.open_ns += lap.lap_ns();
            let shown = self.setup.shown.clone();
            match self.exchange(call, &mut sink, lap) {
                Ok(answer) if answer.head.status < 300 => return Ok(answer),
                Ok(answer) => {
                    let refusal = Refusal::new(answer.head.status, &answer.head.reason, &answer.text);
                    let asked = answer.head.header("retry-after").and_then(|text| text.parse().ok());
                    let wait = asked.map_or(pause, Duration::from_secs);
                    if !refusal.is_passing() || attempt == ATTEMPTS_MAX || wait > PAUSE_MAX || !self.rest(wait) {
                        return Err(Trouble::Refused(refusal));
                    }
                    self.setup.tally.repeat(|| format!("{shown} answered {refusal}"));
                    pause *= 2;
                }
                Err(error) => {
                    self.connection = None;
                    if lost_before || !stale || error.kind() == ErrorKind::TimedOut {
                        return Err(Trouble::Lost(format!("{error}{}", advice(&error))));
                    }
                    lost_before = true;
                    self.setup.tally.repeat(|| format!("{shown}: {error}"));
                }
            }
            attempt += 1;
        }
    }

    /// Waits, unless the run is cancelled meanwhile.
    fn rest(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if self.setup.dial.cancelled.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(NAP.min(end.saturating_duration_since(Instant::now())));
        }
        true
    }

    fn exchange(&mut self, call: &Call<'_>, sink: &mut Sink<'_>, lap: &mut Lap) -> io::Result<Answer> {
        let request = self.sign(call);
        let connection = self.connection.as_mut().expect("connect() came before");
        let sent = connection.send(&request, call.body);
        let sent_ns = lap.lap_ns();
        let head = match (connection.head(call.method), sent) {
            (Ok(head), Ok(())) => head,
            // An answer in spite of a broken pipe is a refusal; anything else is the broken pipe's fault.
            (Ok(head), Err(_)) if head.status >= 300 => {
                connection.reusable = false;
                head
            }
            (Err(error), Ok(())) => return Err(error),
            (_, Err(error)) => return Err(error),
        };
        let head_ns = lap.lap_ns();
        let (text, body_bytes) = match sink {
            Sink::Buffer(place) if head.status < 300 => (String::new(), connection.body_into(&head, place)?),
            _ => (connection.text(&head)?, 0),
        };
        if call.method == "GET" {
            lap.times.open_ns += sent_ns + head_ns;
            lap.times.transfer_ns += lap.lap_ns();
        } else {
            lap.times.transfer_ns += sent_ns;
            lap.times.publish_ns += head_ns;
        }
        Ok(Answer { head, text, body_bytes })
    }

    fn store(&mut self, path: &str, bytes: &[u8], lap: &mut Lap) -> Result<(), Trouble> {
        if bytes.len() > PART_BYTES {
            return self.store_in_parts(path, bytes, lap);
        }
        self.put(path, "", bytes, lap).map(drop)
    }

    fn put(&mut self, path: &str, query: &str, body: &[u8], lap: &mut Lap) -> Result<Answer, Trouble> {
        let call = Call {
            method: "PUT",
            path,
            query,
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            body,
        };
        self.call(&call, Sink::Text, lap)
    }

    /// Nothing is visible before the last request; a failed upload is taken back.
    fn store_in_parts(&mut self, path: &str, bytes: &[u8], lap: &mut Lap) -> Result<(), Trouble> {
        let begun = self.call(&post(path, "uploads=", &[]), Sink::Text, lap)?;
        let Some(id) = answer::element(&begun.text, "UploadId").map(|id| sign::encode_query(&id)) else {
            return Err(Trouble::Lost(
                "the answer to a multipart upload names no UploadId".to_owned(),
            ));
        };
        let mut send_parts = || -> Result<(), Trouble> {
            let mut list = String::from("<CompleteMultipartUpload>");
            for (index, part) in bytes.chunks(PART_BYTES).enumerate() {
                let number = index + 1;
                let answer = self.put(path, &format!("partNumber={number}&uploadId={id}"), part, lap)?;
                let tag = answer.head.header("etag").unwrap_or_default();
                list.push_str(&format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
                ));
            }
            list.push_str("</CompleteMultipartUpload>");
            let query = format!("uploadId={id}");
            let done = self.call(&post(path, &query, list.as_bytes()), Sink::Text, lap)?;
            // This one answer may begin with 200 and still carry an error.
            match answer::element(&done.text, "Error").is_some() {
                true => Err(Trouble::Refused(Refusal::new(200, "OK", &done.text))),
                false => Ok(()),
            }
        };
        let outcome = send_parts();
        if outcome.is_err() {
            let call = Call {
                method: "DELETE",
                path,
                query: &format!("uploadId={id}"),
                headers: Vec::new(),
                body: &[],
            };
            // The first error is the one to report.
            let _ = self.call(&call, Sink::Text, lap);
        }
        outcome
    }

    fn lookup(&mut self, path: &str, lap: &mut Lap) -> Result<Outcome, Trouble> {
        let call = Call {
            method: "HEAD",
            path,
            query: "",
            headers: Vec::new(),
            body: &[],
        };
        match self.call(&call, Sink::Text, lap) {
            // As LMCache: an empty object is none.
            Ok(answer) if answer.head.content_length().is_some_and(|len| len > 0) => Ok(Outcome::Found),
            Ok(_) => Ok(Outcome::Missing),
            Err(trouble) => missing_or(trouble),
        }
    }

    fn load(&mut self, path: &str, slot: &mut [u8], lap: &mut Lap) -> Result<Outcome, Trouble> {
        let wanted = slot.len();
        let mut at = 0;
        while at < wanted {
            let call = Call {
                method: "GET",
                path,
                query: "",
                headers: vec![("range", format!("bytes={at}-{}", at + PART_BYTES - 1))],
                body: &[],
            };
            let end = wanted.min(at + PART_BYTES);
            let whole_answer = at == 0;
            let place = if whole_answer {
                &mut slot[..]
            } else {
                &mut slot[at..end]
            };
            let answer = match self.call(&call, Sink::Buffer(place), lap) {
                Ok(answer) => answer,
                Err(trouble) => return missing_or(trouble),
            };
            let total = match (answer.head.status, answer.head.header("content-range")) {
                (206, Some(range)) => answer::total_of(range, at as u64).map_err(Trouble::Lost)?,
                // A server without ranges sends everything.
                (200, _) if whole_answer => answer.body_bytes,
                (status, _) => return Err(Trouble::Lost(format!("an unexpected {status} for a range"))),
            };
            if total > wanted as u64 {
                return Err(Trouble::Lost(answer::longer(total, wanted)));
            }
            at += usize::try_from(answer.body_bytes)
                .unwrap_or(usize::MAX)
                .min(wanted - at);
            if answer.body_bytes == 0 || total < wanted as u64 {
                return Ok(Outcome::Short {
                    held_bytes: total.min(at as u64),
                });
            }
        }
        Ok(Outcome::Loaded)
    }
}

fn post<'a>(path: &'a str, query: &'a str, body: &'a [u8]) -> Call<'a> {
    Call {
        method: "POST",
        path,
        query,
        headers: Vec::new(),
        body,
    }
}

/// No such object is an answer; no such bucket is a fault.
fn missing_or(trouble: Trouble) -> Result<Outcome, Trouble> {
    match trouble {
        Trouble::Refused(refusal) if refusal.is_missing_object() => Ok(Outcome::Missing),
        other => Err(other),
    }
}

impl Session for S3Session {
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant) {
        for item in items {
            let mut lap = Lap::start(created);
            let path = self.path_of(item);
            let result = match (operation, &mut item.slot) {
                (Operation::Store, Some(slot)) => self.store(&path, slot.bytes(), &mut lap).map(|()| Outcome::Stored),
                (Operation::Load, Some(slot)) => self.load(&path, slot.bytes_mut(), &mut lap),
                (Operation::Lookup, _) => self.lookup(&path, &mut lap),
                (_, None) => Err(Trouble::Lost("no buffer came with this key".to_owned())),
            };
            let failed = |why: String| {
                let action = answer::action(operation);
                Outcome::Failed(format!("could not {action} {}: {why}", self.setup.shown))
            };
            item.outcome = result.unwrap_or_else(|trouble| match trouble {
                Trouble::Refused(refusal) => failed(format!("{refusal}{}", refusal.advice())),
                Trouble::Lost(why) => failed(why),
            });
            item.times = lap.finish();
        }
    }
}
