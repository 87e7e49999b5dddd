//! One TCP connection, plain or TLS, with a deadline for each request. Values go between slot and socket without a copy. A
//! request ends at its deadline, and soon after the run is cancelled, also while bytes flow.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::tls::TlsSetup;
use crate::sys::deadline::{Limits, cancelled, timed_out};
use crate::sys::detached::resolve;
use crate::sys::limits;
use crate::sys::stream::Stream;

/// Timeouts of connecting and of a request that cleans up after the run was cancelled.
const ABORT_TIMEOUT: Duration = Duration::from_millis(250);

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `field` names where the port came from.
    pub fn new(host: &str, port: u64, field: &str) -> Result<Address, String> {
        match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(Address {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port,
            }),
            _ => Err(format!("{field} {port} is not a TCP port; give one from 1 to 65535")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How connections to a service are opened.
#[derive(Clone)]
pub struct ConnectOptions {
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    pub tls: Option<TlsSetup>,
    pub cancelled: Arc<AtomicBool>,
}

/// The deadline of the current request.
struct RequestLimits {
    until: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Limits for RequestLimits {
    fn check(&self) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        match Instant::now() < self.until {
            true => Ok(()),
            false => Err(timed_out()),
        }
    }
}

impl ConnectOptions {
    /// Options for a request that cleans up in a cancelled run; `None` while the run goes on.
    pub fn for_abort(&self) -> Option<ConnectOptions> {
        self.cancelled.load(Ordering::Relaxed).then(|| ConnectOptions {
            connect_timeout: self.connect_timeout.min(ABORT_TIMEOUT),
            request_timeout: self.request_timeout.min(ABORT_TIMEOUT),
            tls: self.tls.clone(),
            cancelled: Arc::default(),
        })
    }
}

enum Transport {
    Plain(Stream<RequestLimits>),
    Tls(Box<StreamOwned<ClientConnection, Stream<RequestLimits>>>),
}

pub struct Link {
    transport: Transport,
    request_timeout: Duration,
}

impl Link {
    pub fn open(address: &Address, options: &ConnectOptions) -> io::Result<Link> {
        let limits = RequestLimits {
            until: Instant::now() + options.connect_timeout,
            cancelled: Arc::clone(&options.cancelled),
        };
        let addresses = resolve(&address.host, address.port, &limits)?;
        let stream = Stream::connect(&addresses, options.connect_timeout, limits)?;
        let transport = match &options.tls {
            None => Transport::Plain(stream),
            Some(setup) => {
                let mut tls = StreamOwned::new(setup.session(&address.host)?, stream);
                handshake(&mut tls)?;
                Transport::Tls(Box::new(tls))
            }
        };
        Ok(Link {
            transport,
            request_timeout: options.request_timeout,
        })
    }

    /// A peer that sent `received` and closed.
    #[cfg(fuzzing)]
    pub fn memory(received: &[u8], piece: usize) -> Link {
        let request_timeout = Duration::from_secs(3600);
        let limits = RequestLimits {
            until: Instant::now() + request_timeout,
            cancelled: Arc::default(),
        };
        Link {
            transport: Transport::Plain(Stream::memory(received, piece, limits)),
            request_timeout,
        }
    }

    fn stream(&mut self) -> &mut Stream<RequestLimits> {
        match &mut self.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(tls) => &mut tls.sock,
        }
    }

    /// Starts the clock of a request.
    pub fn begin_request(&mut self) {
        self.stream().limits.until = Instant::now() + self.request_timeout;
    }

    /// Sends every part, in order.
    pub fn send(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written = match &mut self.transport {
                Transport::Plain(stream) => stream.write_vectored(parts),
                Transport::Tls(tls) => tls.write_vectored(parts),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match &mut self.transport {
            Transport::Plain(_) => Ok(()),
            // TLS keeps records that the socket did not take yet.
            Transport::Tls(tls) => tls.flush(),
        }
    }

    /// At least one byte into the parts, in order; the end of the stream is an error.
    pub fn receive(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let got = match &mut self.transport {
            Transport::Plain(stream) => stream.read_vectored(parts),
            Transport::Tls(tls) => tls.read_vectored(parts),
        };
        match got {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed")),
            got => got,
        }
    }

    /// Fills `bytes` whole.
    pub fn receive_exact(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream().acknowledge_now();
            let got = self.receive(&mut [IoSliceMut::new(bytes)])?;
            bytes = &mut bytes[got..];
        }
        Ok(())
    }
}

/// Certificates are checked here, while the connect timeout runs.
fn handshake(tls: &mut StreamOwned<ClientConnection, Stream<RequestLimits>>) -> io::Result<()> {
    while tls.conn.is_handshaking() {
        match tls.conn.complete_io(&mut tls.sock) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Err(io::Error::new(ErrorKind::TimedOut, "no TLS handshake in time"));
            }
            done => drop(done?),
        }
    }
    Ok(())
}

/// Whether the connection was lost, as one that the other side closed when idle; not a timeout, not an invalid reply.
pub fn is_loss(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::InvalidData)
}

/// The start of a TLS alert, which a TLS server sends in reply to plain bytes.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// Refuses the reply of a TLS server to a plain connection.
pub fn check_plain(received: &[u8]) -> io::Result<()> {
    if received.starts_with(&TLS_ALERT) {
        let sentence = "the server speaks TLS there; switch it on in the adapter JSON (valkey: \"tls_enable\": true, s3: \
                    \"disable_tls\": false)";
        return Err(io::Error::new(ErrorKind::InvalidData, sentence));
    }
    Ok(())
}

/// Advice about a connection that failed, after a semicolon. Errors about invalid replies contain theirs.
pub fn advice(error: &io::Error) -> String {
    match limits::advice(error).or_else(|| kind_advice(error)) {
        Some(advice) => format!("; {advice}"),
        None => String::new(),
    }
}

fn kind_advice(error: &io::Error) -> Option<&'static str> {
    const NO_TLS: &str = "does this port speak TLS? if not, switch it off in the adapter JSON";
    let text = error.to_string();
    let says = |part: &str| text.contains(part);
    Some(match error.kind() {
        ErrorKind::ConnectionRefused => "start the server or correct the address",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            "correct the address, or look at the network between"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no port left for another connection: use fewer workers, or wait"
        }
        ErrorKind::TimedOut if says("TLS handshake") => NO_TLS,
        ErrorKind::TimedOut => "look at the server, or raise connection_timeout or request_timeout",
        ErrorKind::UnexpectedEof if says("handshake") => NO_TLS,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "look at the server's log",
        _ if says("failed to lookup address") => "correct the host name, or see why this machine cannot resolve it",
        _ if !error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => return None,
        _ if says("UnknownIssuer") => "name the authority that signed its certificate in tls_ca_file",
        _ if says("NotValidForName") => "use a host name that its certificate names",
        _ if says("Expired") || says("NotValidYet") => "renew its certificate, or set this machine's clock",
        _ if says("CertificateRequired") => "it asks for a client's certificate, and none is offered here",
        _ => NO_TLS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_true_cause() {
        let tls = |error: rustls::Error| io::Error::new(ErrorKind::InvalidData, error);
        let certificate = |error| tls(rustls::Error::InvalidCertificate(error));
        for (error, part) in [
            (io::Error::from_raw_os_error(24), "ulimit -n"),
            (io::Error::from_raw_os_error(23), "fs.file-max"),
            (ErrorKind::ConnectionRefused.into(), "start the server"),
            (ErrorKind::HostUnreachable.into(), "network between"),
            (
                io::Error::new(ErrorKind::TimedOut, "no answer in time"),
                "request_timeout",
            ),
            (
                io::Error::new(ErrorKind::TimedOut, "no TLS handshake in time"),
                "speak TLS",
            ),
            (
                io::Error::other("failed to lookup address information: x"),
                "correct the host name",
            ),
            (tls(rustls::Error::DecryptError), "speak TLS"),
            (certificate(rustls::CertificateError::UnknownIssuer), "tls_ca_file"),
            (certificate(rustls::CertificateError::Expired), "this machine's clock"),
        ] {
            let text = advice(&error);
            assert!(text.starts_with("; ") && text.contains(part), "{error}: {text}");
        }
        let own = io::Error::new(ErrorKind::InvalidData, "the answer is not RESP: an empty line");
        assert_eq!(advice(&own), "", "it says itself what to do");
        assert!(check_plain(b"+OK\r\n").is_ok() && check_plain(b"\x15\x03\x01\x00\x02\x02\x46").is_err());
    }
}
