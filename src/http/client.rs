//! The client for small requests to HTTP services, one connection per request unless it is to keep one. Its limits also hold while bytes flow, and a
//! termination signal ends a request in whatever state it is. Nothing is retried, and redirects are not followed.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use ureq::http::StatusCode;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Body, Error, RequestBuilder};

use super::trust::Authorities;
use super::{answer, encoding};
use crate::sys::deadline::{Deadline, is_cancelled};
use crate::sys::detached::run_detached;
use crate::sys::stream::Stream;
use crate::url::{is_https, without_password};

const HEAD_BYTES_MAX: usize = 64 << 10;
/// The list of tokens of a long text is the largest body.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// How long a kept connection may be idle: servers close theirs after some seconds.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// How long a request whose time is over may take to end.
const SLACK: Duration = Duration::from_secs(1);

type Response = ureq::http::Response<Body>;

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection alone, name look-up not included.
    pub connect: Option<Duration>,
    pub whole: Duration,
}

/// A response with any status.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// The target of a redirect, without what may be secret in it.
    pub location: Option<String>,
    /// Decoded. Empty where the body of an error could not be read.
    pub body: Vec<u8>,
}

/// Why there is no reply. The texts do not name the address.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was sent, or nothing came in time.
    NoReply(String),
    /// The response's head was fine, its body could not be read.
    Body(String),
    Http(Error),
}

#[derive(Debug)]
pub struct Client {
    pub limits: Limits,
    keeps: bool,
    plain: Agent,
    /// For https; reading the authorities takes milliseconds, so only the first https request does. The error is the reason why
    /// no server can be verified.
    verifying: OnceLock<Result<Agent, String>>,
}

impl Client {
    pub fn new(limits: Limits) -> Client {
        Client::made(limits, false)
    }

    /// One that keeps its connection for the next request, for many requests one after the other.
    pub fn keeping(limits: Limits) -> Client {
        Client::made(limits, true)
    }

    fn made(limits: Limits, keeps: bool) -> Client {
        Client {
            plain: agent(limits, keeps, TlsConfig::default()),
            verifying: OnceLock::new(),
            keeps,
            limits,
        }
    }

    pub fn get<'a>(&self, url: &str, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Reply, Failure> {
        let request = with_headers(self.agent(url)?.get(url), headers);
        self.send(url, move || request.call())
    }

    pub fn post_json<'a>(
        &self,
        url: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: &Value,
    ) -> Result<Reply, Failure> {
        let headers = headers.chain([("content-type", "application/json")]);
        let (request, body) = (with_headers(self.agent(url)?.post(url), headers), body.to_string());
        self.send(url, move || request.send(body))
    }

    fn agent(&self, url: &str) -> Result<&Agent, Failure> {
        if !is_https(url) {
            return Ok(&self.plain);
        }
        let verifying = self.verifying.get_or_init(|| {
            let authorities = Authorities::from_environment()?;
            Ok(agent(self.limits, self.keeps, authorities.for_ureq()))
        });
        verifying.as_ref().map_err(|cause| Failure::NoReply(cause.clone()))
    }

    /// Sends on a thread of its own, because looking up a name cannot be interrupted.
    fn send(
        &self,
        url: &str,
        request: impl FnOnce() -> Result<Response, Error> + Send + 'static,
    ) -> Result<Reply, Failure> {
        let asked = without_password(url);
        let reply = run_detached("question", &Deadline::after(self.limits.whole + SLACK), move || {
            read(request().map_err(Failure::Http)?, &asked)
        });
        reply.unwrap_or_else(|error| {
            Err(Failure::NoReply(match error.kind() {
                _ if is_cancelled(&error) => "the run was ended".to_owned(),
                ErrorKind::TimedOut => format!("timeout: no answer within {} s", self.limits.whole.as_secs_f64()),
                _ => format!("could not ask: {error}"),
            }))
        })
    }
}

fn agent(limits: Limits, keeps: bool, tls: TlsConfig) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(limits.connect)
        .timeout_global(Some(limits.whole))
        // A proxy of the environment may not reach a server on this node, and would add its own latency.
        .proxy(None)
        // A redirect would take an API key elsewhere.
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_age(IDLE_MAX)
        .build();
    let connector = BoundedConnector { keeps }.chain(RustlsConnector::default());
    Agent::with_parts(config, connector, DefaultResolver::default())
}

fn with_headers<'a, B>(
    request: RequestBuilder<B>,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> RequestBuilder<B> {
    let request = request.header("accept-encoding", encoding::ACCEPT);
    headers.fold(request, |request, (name, value)| request.header(name, value))
}

fn read(mut response: Response, asked: &str) -> Result<Reply, Failure> {
    let status = response.status();
    let location = answer::location(&response, asked);
    let body = match answer::body(&mut response, BODY_BYTES_MAX) {
        // The status says enough.
        Err(_) if !status.is_success() => Vec::new(),
        body => body.map_err(Failure::Body)?,
    };
    Ok(Reply { status, location, body })
}

#[derive(Debug)]
struct BoundedConnector {
    keeps: bool,
}

impl Connector for BoundedConnector {
    type Out = BoundedTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<BoundedTransport>, Error> {
        let limits = deadline(details.timeout);
        let addresses = &details.addrs[..];
        let stream =
            Stream::connect(addresses, limits.left(), limits).map_err(|error| ureq_error(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(BoundedTransport {
            stream,
            buffers,
            keeps: self.keeps,
        }))
    }
}

struct BoundedTransport {
    stream: Stream<Deadline>,
    buffers: LazyBuffers,
    keeps: bool,
}

/// The time that ureq allows for one step.
fn deadline(timeout: NextTimeout) -> Deadline {
    /// Where it sets no limit.
    const LONG: Duration = Duration::from_secs(3600);
    Deadline::after((*timeout.after).min(LONG))
}

fn ureq_error(error: io::Error, timeout: NextTimeout) -> Error {
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
        self.stream
            .write_all(output)
            .map_err(|error| ureq_error(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.limits = deadline(timeout);
        let space = self.buffers.input_append_buf();
        if space.is_empty() {
            return Err(Error::BodyStalled);
        }
        let received = self
            .stream
            .read_stamped(space)
            .map_err(|error| ureq_error(error, timeout))?;
        self.buffers.input_appended(received.bytes);
        Ok(received.bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        self.keeps && self.stream.is_idle_and_open()
    }
}

impl fmt::Debug for BoundedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedTransport")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;
    use crate::http::testing::{server, with_body};

    /// Each connection gets as many answers as it has requests, and says which connection it is.
    fn keeping_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                std::thread::spawn(move || {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                    let (mut stream, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                        if line == "\r\n" {
                            stream.write_all(answer.as_bytes()).unwrap();
                        }
                        line.clear();
                    }
                });
            }
        });
        url
    }

    #[test]
    fn a_connection_is_kept_only_if_that_was_asked_for() {
        let limits = Limits {
            connect: None,
            whole: Duration::from_secs(10),
        };
        for (client, connections) in [
            (Client::new(limits), ["0", "1", "2"]),
            (Client::keeping(limits), ["0"; 3]),
        ] {
            let url = keeping_server();
            let answers = connections.map(|_| client.get(&url, [].into_iter()).unwrap().body);
            assert_eq!(answers, connections.map(str::as_bytes));
        }
    }

    #[test]
    fn plain_http_does_not_read_the_authorities() {
        let client = Client::new(Limits {
            connect: None,
            whole: Duration::from_secs(10),
        });
        let (url, _asked) = server(with_body("200 OK", "", b"yes"));
        assert_eq!(client.get(&url, [].into_iter()).unwrap().body, b"yes");
        assert!(client.verifying.get().is_none());
        // Nothing listens there.
        client.get("HTTPS://127.0.0.1:1/", [].into_iter()).unwrap_err();
        assert!(client.verifying.get().is_some());
    }
}
