//! The HTTP endpoints of a cache server that a client needs: release, status, checksums of blocks. Transfers do not need
//! them, since a server may run without HTTP.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::api_key::{ApiKey, authorization, message_without};
use crate::http::client::{Client, Failure, Limits, Reply};
use crate::http::error_body::one_line;
use crate::http::{answer, lmcache_key, trust};
use crate::python;
use crate::sys::deadline::Deadline;
use crate::sys::detached::resolve;
use crate::sys::limits;
use crate::sys::stream::Stream;
use crate::url::{with_scheme, without_password};

/// How long to wait for a ZeroMQ server's first byte before the first request, unless told otherwise.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_CONNECT: Duration = Duration::from_secs(2);
/// Addresses of a host that are checked.
const ADDRESSES_MAX: usize = 8;
const ZMTP_FIRST_BYTE: u8 = 0xff;

/// The HTTP side of one server.
pub struct HttpApi {
    client: Client,
    key: Option<ApiKey>,
    /// Without a slash at the end.
    base: String,
    /// The base without its password, for messages.
    shown: String,
    /// Whether it is known that no ZeroMQ server is there.
    is_checked: Cell<bool>,
    look: Duration,
    /// Addresses of the ZeroMQ port, which must not get HTTP requests.
    rpc_addresses: Vec<SocketAddr>,
}

/// Why a request to an endpoint failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Nothing answered.
    Unreachable(String),
    /// The server has no such endpoint.
    Missing(String),
    /// An error status, with the message in its body.
    Refused { status: u16, detail: String },
    /// The server wants a key, or another one.
    Key { cause: String, advice: String },
    /// The answer is not as the protocol defines it.
    Malformed(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Unreachable(text) | HttpError::Missing(text) | HttpError::Malformed(text) => f.write_str(text),
            HttpError::Refused { status, detail } if detail.is_empty() => write!(f, "the server answered {status}"),
            HttpError::Refused { status, detail } => write!(f, "the server answered {status}: {detail}"),
            HttpError::Key { cause, advice } => write!(f, "{cause}; {advice}"),
        }
    }
}

/// The blocks of a worker to digest. Only lmcache-driven workers have digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChecksumRequest {
    pub instance_id: u64,
    pub block_ids: Vec<u64>,
    /// Blocks of one digest.
    pub chunk_blocks: u64,
}

/// Load and locks as `/status` gives them; `None` for what this server leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    pub chunk_size: Option<u64>,
    pub is_healthy: Option<bool>,
    pub active_sessions: Option<u64>,
    pub active_prefetch_jobs: Option<u64>,
    pub total_object_count: Option<u64>,
    pub write_locked_count: Option<u64>,
    pub read_locked_count: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    /// Instances of lmcache-driven workers; `None` when that transfer mode is not loaded.
    pub registered_gpu_ids: Option<Vec<u64>>,
    /// Instances of engine-driven workers; `None` when that transfer mode is not loaded.
    pub registered_non_cuda_instance_ids: Option<Vec<u64>>,
}

impl HttpApi {
    /// `url` is the base, as in `http://localhost:8080`. Every request ends after `timeout`.
    pub fn new(url: &str, timeout: Duration) -> Result<HttpApi, String> {
        let shown = without_password(url.trim_end_matches('/'));
        let base = with_scheme(url.trim_end_matches('/'));
        if !url.contains("://") || !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(format!("--url '{shown}' is no HTTP address; use http://HOST:PORT"));
        }
        let limits = Limits {
            connect: None,
            whole: timeout,
        };
        Ok(HttpApi {
            client: Client::new(limits),
            key: None,
            base,
            shown,
            is_checked: Cell::new(false),
            look: LOOK,
            rpc_addresses: Vec::new(),
        })
    }

    /// Sends this key with every request.
    pub fn with_key(mut self, key: Option<ApiKey>) -> HttpApi {
        self.key = key;
        self
    }

    /// Waits longer for a ZeroMQ server's first byte, where a slow one is to be recognised.
    pub fn looking_for(mut self, time: Duration) -> HttpApi {
        self.look = time;
        self
    }

    /// The release as the server names it, such as `0.5.6`.
    pub fn release(&self) -> Result<String, HttpError> {
        match self.get("/lmc_version")? {
            Value::String(release) => Ok(self.without_key(one_line(&release))),
            other => Err(self.malformed("/lmc_version", "text", &one_line(&other.to_string()))),
        }
    }

    pub fn status(&self) -> Result<ServerStatus, HttpError> {
        let status = self.get("/status")?;
        if !status.is_object() {
            return Err(self.malformed("/status", "a JSON object", &one_line(&status.to_string())));
        }
        let memory = &status["storage_manager"]["l1_manager"];
        let ids = |name: &str| {
            let ids = status.get(name)?.as_array()?;
            Some(ids.iter().filter_map(Value::as_u64).collect())
        };
        Ok(ServerStatus {
            chunk_size: status["chunk_size"].as_u64(),
            is_healthy: status["is_healthy"].as_bool(),
            active_sessions: status["active_sessions"].as_u64(),
            active_prefetch_jobs: status["active_prefetch_jobs"].as_u64(),
            total_object_count: memory["total_object_count"].as_u64(),
            write_locked_count: memory["write_locked_count"].as_u64(),
            read_locked_count: memory["read_locked_count"].as_u64(),
            memory_used_bytes: memory["memory_used_bytes"].as_u64(),
            memory_total_bytes: memory["memory_total_bytes"].as_u64(),
            registered_gpu_ids: ids("registered_gpu_ids"),
            registered_non_cuda_instance_ids: ids("registered_non_cuda_instance_ids"),
        })
    }

    /// MD5 digests of the blocks as hex, one per `chunk_blocks` blocks. 0.5.0 has another endpoint than later releases.
    pub fn checksums(&self, request: &ChecksumRequest) -> Result<Vec<String>, HttpError> {
        let body = serde_json::json!({
            "block_ids": request.block_ids,
            "chunk_size": request.chunk_blocks,
            "instance_id": request.instance_id,
            "layerwise": false,
        });
        let answer = match self.post("/cache/checksums", &body) {
            Err(HttpError::Missing(_)) => self.get(&check_path(request))?,
            answer => answer?,
        };
        if let Some(text) = answer["error"].as_str() {
            return Err(HttpError::Refused {
                status: 200,
                detail: self.without_key(one_line(text)),
            });
        }
        let digests = answer["chunk_checksums"].as_array();
        let digests: Option<Vec<String>> =
            digests.and_then(|digests| digests.iter().map(|digest| digest.as_str().map(String::from)).collect());
        let due = request
            .block_ids
            .len()
            .div_ceil(usize::try_from(request.chunk_blocks).unwrap_or(0).max(1));
        match digests {
            Some(digests) if digests.len() == due => Ok(digests),
            Some(digests) => Err(HttpError::Malformed(format!(
                "{} digests from {} where {due} are due",
                digests.len(),
                self.shown
            ))),
            None => Err(HttpError::Malformed(format!(
                "no chunk_checksums in the answer of {}",
                self.shown
            ))),
        }
    }

    /// Sends nothing to these addresses, which are those of `--rpc-url`.
    pub fn avoiding(mut self, rpc_addresses: Vec<SocketAddr>) -> HttpApi {
        self.rpc_addresses = rpc_addresses;
        self
    }

    /// An HTTP request to the ZeroMQ port of a cache server ends its request thread for good, so the port is checked before
    /// the first request. The port of `--rpc-url` is known to be one; at others a ZeroMQ server would send the first byte.
    fn check_port(&self) -> Result<(), HttpError> {
        if self.is_checked.get() {
            return Ok(());
        }
        let refused = |what: &str| {
            HttpError::Unreachable(format!(
                "{} is {what}; name the server's HTTP address with --url",
                self.shown
            ))
        };
        // The request itself reports an address that cannot be resolved.
        let addresses = addresses_of(&self.base).unwrap_or_default();
        if addresses
            .iter()
            .any(|address| self.rpc_addresses.iter().any(|taken| same_port(*address, *taken)))
        {
            return Err(refused("the ZeroMQ port of --rpc-url"));
        }
        // The request may go to any of them.
        if addresses
            .into_iter()
            .take(ADDRESSES_MAX)
            .any(|address| speaks_zmtp(address, self.look))
        {
            return Err(refused("a ZeroMQ port"));
        }
        self.is_checked.set(true);
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Value, HttpError> {
        self.check_port()?;
        let bearer = self.key.as_ref().map(ApiKey::bearer);
        let reply = self.client.get(&format!("{}{path}", self.base), authorization(&bearer));
        self.answer(path, reply)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.check_port()?;
        let bearer = self.key.as_ref().map(ApiKey::bearer);
        let reply = self
            .client
            .post_json(&format!("{}{path}", self.base), authorization(&bearer), body);
        self.answer(path, reply)
    }

    fn answer(&self, path: &str, reply: Result<Reply, Failure>) -> Result<Value, HttpError> {
        let url = format!("{}{path}", self.shown);
        let Reply { status, location, body } = reply.map_err(|failure| match failure {
            Failure::NoReply(cause) => HttpError::Unreachable(format!("{url}: {cause}")),
            Failure::Body(cause) => HttpError::Malformed(format!("{url}: {}", self.without_key(cause))),
            Failure::Http(error) => self.unreachable(&error),
        })?;
        let status = status.as_u16();
        if let Some(location) = location.map(|location| self.without_key(location)) {
            return Err(HttpError::Missing(format!(
                "{url} answered {status} and points to {location}; give the address of the cache server itself as --url"
            )));
        }
        let error = match python::json::loads(&body) {
            Ok(value) if status == 200 => return Ok(value),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let detail = message_without(self.key.as_ref(), &body).unwrap_or_default();
        match (status, error) {
            (401, _) => Err(self.locked(status, detail)),
            (403, _) if self.key.is_some() => Err(self.locked(status, detail)),
            (200, Some(error)) if python::json::costs_too_much(&error) => {
                Err(self.malformed(path, "as a cache server does", &error.to_string()))
            }
            (200, _) => Err(self.malformed(path, "JSON", &detail)),
            // An unknown instance is a 404 too, with other words.
            (405, _) => Err(self.missing(path)),
            (404, _) if detail == "Not Found" || !detail.contains("instance_id") => Err(self.missing(path)),
            _ => Err(HttpError::Refused { status, detail }),
        }
    }

    /// The server refused the request without a key, or with the one that was sent.
    fn locked(&self, status: u16, detail: String) -> HttpError {
        let refused = HttpError::Refused { status, detail };
        let (what, advice) = match &self.key {
            Some(key) => ("refused the API key", key.advice("it")),
            None => ("wants an API key", format!("set {}", lmcache_key::VARIABLE)),
        };
        HttpError::Key {
            cause: format!("{} {what} ({refused})", self.shown),
            advice,
        }
    }

    fn without_key(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.hidden_in(text),
            None => text,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> HttpError {
        let cause = answer::cause(error);
        // Messages about limits or certificates have advice of their own.
        let advice = match (limits::has_advice(&cause), trust::advice(&cause)) {
            (true, _) => String::new(),
            (false, "") => format!("; {}", advice(error)),
            (false, of_certificate) => of_certificate.to_owned(),
        };
        HttpError::Unreachable(format!("could not ask {}: {cause}{advice}", self.shown))
    }

    /// `detail` is what the server answered instead.
    fn malformed(&self, path: &str, wanted: &str, detail: &str) -> HttpError {
        HttpError::Malformed(format!(
            "{}{} did not answer {wanted} but \"{}\"; is --url the address of the cache server?",
            self.shown,
            path.split('?').next().unwrap_or(path),
            self.without_key(detail.to_owned())
        ))
    }

    fn missing(&self, path: &str) -> HttpError {
        let path = path.split('?').next().unwrap_or(path);
        HttpError::Missing(format!(
            "{} has no {path}; is --url the address of the cache server?",
            self.shown
        ))
    }
}

/// The addresses that requests to the base may go to.
fn addresses_of(base: &str) -> io::Result<Vec<SocketAddr>> {
    let uri: ureq::http::Uri = base.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let host = uri.host().ok_or(io::ErrorKind::InvalidInput)?;
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    resolve(host, port, &Deadline::after(LOOK_CONNECT))
}

/// Whether two addresses reach the same port. The unspecified address means this host.
fn same_port(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let here = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
    one.port() == other.port() && (a == b || (here(a) && here(b)))
}

/// ZeroMQ servers send first, HTTP servers do not. The wait grows with the time that the connection took.
fn speaks_zmtp(address: SocketAddr, look: Duration) -> bool {
    let mut first = [0];
    let mut listen = || -> io::Result<usize> {
        let begun = Instant::now();
        let mut stream = Stream::connect(&[address], LOOK_CONNECT, Deadline::after(LOOK_CONNECT))?;
        stream.limits = Deadline::after(look + 2 * begun.elapsed());
        match stream.read(&mut first) {
            // What came while this process was stopped counts.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                stream.limits = Deadline::after(LOOK_CONNECT);
                Ok(stream.read_soon(&mut first)?.unwrap_or(0))
            }
            read => read,
        }
    };
    matches!(listen(), Ok(1)) && first[0] == ZMTP_FIRST_BYTE
}

/// The endpoint of 0.5.0.
fn check_path(request: &ChecksumRequest) -> String {
    let ids: Vec<String> = request.block_ids.iter().map(u64::to_string).collect();
    format!(
        "/kvcache/check?block_ids={}&chunk_size={}&instance_id={}&layerwise=false",
        ids.join(","),
        request.chunk_blocks,
        request.instance_id
    )
}

/// What to do about a request without an answer.
fn advice(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "it takes the connection and is too busy, or --url is another port of it",
        ureq::Error::HostNotFound => "correct the host in --url",
        _ => "does the server have its HTTP API on, and is --url its address?",
    }
}

#[cfg(test)]
mod tests;
