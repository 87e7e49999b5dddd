//! The one client for small questions to HTTP services. Its limits hold also while bytes flow, a signal ends a question in
//! whatever state it is, and nothing is sent twice.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Body, Error};

use super::trust::Authorities;
use super::{answer, encoding};
use crate::sys::deadline::{Deadline, is_cancelled};
use crate::sys::detached::run_detached;
use crate::sys::stream::Stream;
use crate::url::without_password;

/// A head may be so long.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// A list of tokens of a long text is the largest answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A question that is over takes so long at most to say so.
const SLACK: Duration = Duration::from_secs(1);

/// How long a question may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connect: Duration,
    pub whole: Duration,
}

/// Asks within limits, without a proxy of the environment, which would be another machine's latency, and without following
/// redirects, which would take a key elsewhere.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    pub limits: Limits,
    /// Why no https server can be verified, if so.
    untrusted: Option<String>,
}

/// What a server answered, whatever its status.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// Where a redirect points to.
    pub location: Option<String>,
    /// Decoded. Empty where only the words of an error status could not be read.
    pub body: Result<Vec<u8>, String>,
}

/// Why there is no reply.
#[derive(Debug)]
pub enum NoReply {
    /// Nothing was sent, or the wait was ended: a whole sentence.
    Ended(String),
    Failed(Error),
}

impl Client {
    pub fn new(limits: Limits) -> Client {
        let (tls, untrusted) = match Authorities::from_environment() {
            Ok(authorities) => (authorities.for_ureq(), None),
            Err(cause) => (TlsConfig::default(), Some(cause)),
        };
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(limits.connect))
            .timeout_global(Some(limits.whole))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .build();
        let connector = BoundedConnector.chain(RustlsConnector::default());
        Client {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            limits,
            untrusted,
        }
    }

    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply, NoReply> {
        let mut request = self.agent.get(url).header("accept-encoding", encoding::ACCEPT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(url, move || request.call())
    }

    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Reply, NoReply> {
        let mut request = self.agent.post(url).header("accept-encoding", encoding::ACCEPT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (request, body) = (request.content_type("application/json"), body.to_string());
        self.exchange(url, move || request.send(body))
    }

    /// On a thread of its own, because looking up a name cannot be interrupted.
    fn exchange(
        &self,
        url: &str,
        question: impl FnOnce() -> Result<Response<Body>, Error> + Send + 'static,
    ) -> Result<Reply, NoReply> {
        if let Some(cause) = self.untrusted.as_ref().filter(|_| url.starts_with("https:")) {
            return Err(NoReply::Ended(cause.clone()));
        }
        let (whole, asked) = (self.limits.whole, without_password(url));
        let limits = Deadline::after(whole + SLACK);
        let answered = run_detached("question", &limits, move || {
            question().map(|response| reply(response, &asked))
        });
        let answered = answered.map_err(|error| {
            NoReply::Ended(match error.kind() {
                _ if is_cancelled(&error) => "the run was ended".to_owned(),
                ErrorKind::TimedOut => format!("timeout: no answer within {} s", whole.as_secs_f64()),
                _ => format!("could not ask: {error}"),
            })
        })?;
        answered.map_err(NoReply::Failed)
    }
}

fn reply(mut response: Response<Body>, asked: &str) -> Reply {
    let status = response.status();
    let body = match answer::body(&mut response, ANSWER_BYTES_MAX) {
        // The status is what matters, also without its words.
        Err(_) if !status.is_success() => Ok(Vec::new()),
        body => body,
    };
    Reply {
        status,
        location: answer::location(&response, asked),
        body,
    }
}

#[derive(Debug)]
struct BoundedConnector;

impl Connector for BoundedConnector {
    type Out = BoundedTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<BoundedTransport>, Error> {
        let limits = deadline(details.timeout);
        let addresses = &details.addrs[..];
        let stream = Stream::connect(addresses, limits.left(), limits).map_err(|error| told(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(BoundedTransport { stream, buffers }))
    }
}

struct BoundedTransport {
    stream: Stream<Deadline>,
    buffers: LazyBuffers,
}

/// What is left of the time that ureq gives a step.
fn deadline(timeout: NextTimeout) -> Deadline {
    /// Where it gives none.
    const LONG: Duration = Duration::from_secs(3600);
    Deadline::after((*timeout.after).min(LONG))
}

fn told(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

impl Transport for BoundedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.limits = deadline(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| told(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.limits = deadline(timeout);
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            return Err(Error::BodyStalled);
        }
        let received = self.stream.read_stamped(room).map_err(|error| told(error, timeout))?;
        self.buffers.input_appended(received.bytes);
        Ok(received.bytes > 0)
    }

    /// Every question has a connection of its own.
    fn is_open(&mut self) -> bool {
        false
    }
}

impl fmt::Debug for BoundedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedTransport")
    }
}
