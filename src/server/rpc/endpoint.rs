//! The address of a cache server: parsing `--rpc-url`, opening a stream to it, and identifying a service that is not a cache
//! server. Every wait has a deadline.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::deadline::Deadline;
use crate::sys::detached::resolve;
use crate::sys::limits;
use crate::sys::stream::Stream;

/// Time limit of `Endpoint::addresses`.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A parsed address. It displays as the text that it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    address: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Address {
    fn parse(url: &str) -> Result<Address, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("tcp", url));
        match scheme {
            "tcp" => {}
            "ipc" if rest.starts_with('/') => {
                return Ok(Address::Unix { path: rest.to_string() });
            }
            "ipc" => return Err(format!("'{url}' needs an absolute path, as in ipc:///run/lmcache.sock")),
            "inproc" => {
                return Err(format!(
                    "'{url}' only reaches into its own process; name a tcp:// address"
                ));
            }
            "grpc" | "grpc+unix" => {
                return Err(format!(
                    "'{url}' is a gRPC address, which is not supported; start the server with its ZMQ transport and name \
                     its tcp:// address"
                ));
            }
            "http" | "https" => {
                return Err(format!(
                    "'{url}' is an HTTP address; name the server's ZMQ port here (tcp://HOST:5555) and its HTTP address \
                     with --url"
                ));
            }
            _ => {
                return Err(format!(
                    "'{url}' has the unknown scheme '{scheme}'; use tcp://HOST:PORT"
                ));
            }
        }
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| format!("'{url}' has no port; use tcp://HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match (host, port.parse::<u16>()) {
            ("" | "*", _) => Err(format!("'{url}' names no host; use tcp://HOST:PORT")),
            (_, Ok(0) | Err(_)) => Err(format!("'{url}' has no port between 1 and 65535")),
            (host, Ok(port)) => Ok(Address::Tcp {
                host: host.to_string(),
                port,
            }),
        }
    }
}

impl Endpoint {
    /// Parses `tcp://HOST:PORT`, `HOST:PORT` or `ipc://PATH`. The error is one sentence that quotes `url`.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        Ok(Endpoint {
            address: Address::parse(url)?,
            url: url.to_owned(),
        })
    }

    /// The socket addresses that the host resolves to: empty for a Unix socket and for a name that does not resolve.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match &self.address {
            Address::Unix { .. } => Vec::new(),
            Address::Tcp { host, port } => resolve(host, *port, &Deadline::after(RESOLVE_TIMEOUT)).unwrap_or_default(),
        }
    }

    /// Numeric URLs for libzmq, which would resolve a name without a deadline and try its first address only.
    pub fn numeric_urls(&self, wait: Deadline) -> io::Result<Vec<String>> {
        match &self.address {
            Address::Unix { path } => Ok(vec![format!("ipc://{path}")]),
            Address::Tcp { host, port } => {
                let addresses = resolve(host, *port, &wait)?;
                Ok(addresses.iter().map(|address| format!("tcp://{address}")).collect())
            }
        }
    }

    /// Opens a stream, trying every address of the host until the deadline.
    pub fn open(&self, wait: Deadline) -> io::Result<Stream<Deadline>> {
        match &self.address {
            Address::Unix { path } => Stream::connect_unix(Path::new(path), wait),
            Address::Tcp { host, port } => Stream::connect(&resolve(host, *port, &wait)?, wait.left(), wait),
        }
    }

    /// What to do about a stream that could not be opened.
    pub fn advice(error: &io::Error) -> &'static str {
        limits::advice(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::PermissionDenied => "you must be allowed to write to the server's socket: run as its user",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                "correct --rpc-url, or look at the network between"
            }
            _ if error.to_string().contains("failed to lookup address") => {
                "correct the host in --rpc-url, or see why this machine cannot resolve it"
            }
            _ => "is it running, and is --rpc-url its ZMQ address?",
        })
    }

    /// Identifies a gRPC or HTTP server at the address, the two usual mistakes. `first_bytes` is what the peer sent unasked;
    /// if that is not enough, requests are sent on new connections until the deadline.
    pub fn identify(&self, first_bytes: &[u8], wait: Deadline) -> Option<&'static str> {
        const GRPC: &str = "a gRPC (HTTP/2) server is there; only the ZMQ transport is supported, so start the server \
                            without --transport grpc";
        const HTTP: &str = "an HTTP server is there; name the server's ZMQ port (5555 by default), and the HTTP address \
                            with --url";
        let protocol = |bytes: &[u8]| match bytes {
            [b'H', b'T', b'T', b'P', ..] => Some(HTTP),
            // A SETTINGS frame, which begins every HTTP/2 connection: three bytes of length, type 4.
            [0, 0, _, 4, ..] => Some(GRPC),
            _ => None,
        };
        // The probes are shorter than 71 and 80 bytes for a reason. libzmq takes bytes that are not its greeting for ZMTP 1.0,
        // where the first byte is a length (`G` is 71, `P` is 80). After that many bytes it delivers a message of one frame,
        // which ends the request thread of a cache server.
        let probes: [&[u8]; 2] = [
            b"GET / HTTP/1.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        ];
        protocol(first_bytes).or_else(|| {
            let mut probes = probes.iter();
            probes.find_map(|probe| protocol(&self.response_prefix(probe, wait)))
        })
    }

    /// Sends a probe on a new connection and returns up to 16 bytes of the response: empty for a Unix socket, or without a
    /// response within half a second.
    fn response_prefix(&self, probe: &[u8], wait: Deadline) -> Vec<u8> {
        const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
        let Address::Tcp { .. } = self.address else {
            return Vec::new();
        };
        let mut prefix = [0; 16];
        let mut send_probe = || -> io::Result<usize> {
            let mut stream = self.open(wait)?;
            stream.limits.at = wait.at.min(Instant::now() + RESPONSE_TIMEOUT);
            stream.write_all(probe)?;
            stream.read(&mut prefix)
        };
        let bytes = send_probe().unwrap_or(0);
        prefix[..bytes].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_and_ipc_addresses_are_parsed_and_displayed_as_typed() {
        let tcp = |host: &str, port| {
            let host = host.into();
            Address::Tcp { host, port }
        };
        let unix = Address::Unix { path: "/run/x".into() };
        for (url, address) in [
            ("tcp://localhost:5555", tcp("localhost", 5555)),
            ("10.0.0.1:15556", tcp("10.0.0.1", 15556)),
            ("tcp://[::1]:5555", tcp("::1", 5555)),
            ("ipc:///run/x", unix),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.address, address);
            assert_eq!(endpoint.to_string(), url);
        }
    }

    #[test]
    fn unsupported_addresses_are_refused_with_advice() {
        let text = |url| Endpoint::parse(url).unwrap_err();
        assert!(text("grpc://h:1").contains("gRPC"));
        assert!(text("http://h:8080").contains("--url"));
        assert!(text("inproc://x").contains("tcp://"));
        assert!(text("ftp://h:1").contains("unknown scheme 'ftp'"));
        for broken in [
            "h",
            "tcp://h:0",
            "tcp://h:65536",
            "tcp://h:",
            "tcp://:5555",
            "tcp://*:5555",
            "ipc://x",
            "",
        ] {
            assert!(text(broken).contains("'"), "{broken}");
        }
    }
}
