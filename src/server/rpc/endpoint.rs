//! Where a server is: the forms of `--rpc-url`, opening the stream, and naming what is there when it is no cache server. It
//! must never wait without a deadline.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::apart::resolve;
use crate::sys::deadline::Deadline;
use crate::sys::limits;
use crate::sys::stream::Stream;

/// How long the names of addresses that only might matter are looked up.
const RESOLVE: Duration = Duration::from_secs(2);

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

impl Endpoint {
    /// Reads `tcp://HOST:PORT`, `HOST:PORT` or `ipc://PATH`.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("tcp", url));
        match scheme {
            "tcp" => {}
            "ipc" if rest.starts_with('/') => {
                return Ok(Endpoint::Unix { path: rest.to_string() });
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
            (host, Ok(port)) => Ok(Endpoint::Tcp {
                host: host.to_string(),
                port,
            }),
        }
    }

    /// The addresses behind it, as far as they can be resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Endpoint::Unix { .. } => Vec::new(),
            Endpoint::Tcp { host, port } => resolve(host, *port, &Deadline::after(RESOLVE)).unwrap_or_default(),
        }
    }

    /// Opens a stream, trying every address of the host until the deadline.
    pub fn open(&self, wait: Deadline) -> io::Result<Stream<Deadline>> {
        match self {
            Endpoint::Unix { path } => Stream::connect_unix(Path::new(path), wait),
            Endpoint::Tcp { host, port } => Stream::connect(&resolve(host, *port, &wait)?, wait.left(), wait),
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

    /// Names what answers at the address, if it is one of the usual mistakes. `first_bytes` is what it said by itself.
    pub fn identify(&self, first_bytes: &[u8], wait: Deadline) -> Option<&'static str> {
        const GRPC: &str = "a gRPC (HTTP/2) server is there; only the ZMQ transport is supported, so start the server \
                            without --transport grpc";
        const HTTP: &str = "an HTTP server is there; name the server's ZMQ port (5555 by default), and the HTTP address \
                            with --url";
        let said = |bytes: &[u8]| match bytes {
            [b'H', b'T', b'T', b'P', ..] => Some(HTTP),
            // A SETTINGS frame, which begins every HTTP/2 connection: three bytes of length, type 4.
            [0, 0, _, 4, ..] => Some(GRPC),
            _ => None,
        };
        // Short on purpose: libzmq takes other bytes than its greeting for the oldest form of its protocol, reads the
        // first one as a length, and hands the request thread of a cache server a message of one frame once that many
        // have come, which ends it. `G` stands for 71 bytes and `P` for 80.
        let probes: [&[u8]; 2] = [
            b"GET / HTTP/1.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        ];
        said(first_bytes).or_else(|| probes.iter().find_map(|probe| said(&self.answer(probe, wait))))
    }

    /// The first bytes of the answer to a probe on a connection of its own.
    fn answer(&self, probe: &[u8], wait: Deadline) -> Vec<u8> {
        const ANSWER: Duration = Duration::from_millis(500);
        let Endpoint::Tcp { .. } = self else {
            return Vec::new();
        };
        let mut first = [0; 16];
        let mut ask = || -> io::Result<usize> {
            let mut stream = self.open(wait)?;
            stream.limits.at = wait.at.min(Instant::now() + ANSWER);
            stream.write_all(probe)?;
            stream.read(&mut first)
        };
        let bytes = ask().unwrap_or(0);
        first[..bytes].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_forms() {
        let tcp = |host: &str, port| {
            Ok(Endpoint::Tcp {
                host: host.into(),
                port,
            })
        };
        assert_eq!(Endpoint::parse("tcp://localhost:5555"), tcp("localhost", 5555));
        assert_eq!(Endpoint::parse("10.0.0.1:15556"), tcp("10.0.0.1", 15556));
        assert_eq!(Endpoint::parse("tcp://[::1]:5555"), tcp("::1", 5555));
        assert_eq!(
            Endpoint::parse("ipc:///run/x"),
            Ok(Endpoint::Unix { path: "/run/x".into() })
        );
    }

    #[test]
    fn other_addresses_say_what_to_do() {
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
