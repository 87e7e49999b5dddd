//! The connection under ureq: reads through `sys::stream`, so that the kernel's arrival time of every byte is known and
//! the request's own limits hold. After the request the connection returns to its `Line`. TLS is ureq's, on top of this.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, RustlsConnector, Transport,
};

use super::buffers::StreamBuffers;
use super::line::{Line, Stop};
use crate::sys::stream::Stream;

/// One TCP connection.
pub struct StampedTransport {
    stream: Stream<Arc<Line>>,
    buffers: StreamBuffers,
    line: Arc<Line>,
    /// Nothing was written since the last read: the next write is a request's head and waits for its body.
    begins: bool,
}

impl StampedTransport {
    fn connect(addresses: &[SocketAddr], line: Arc<Line>) -> io::Result<StampedTransport> {
        let stream = Stream::connect(addresses, line.timeouts.connect, Arc::clone(&line))?;
        // Without stamps the clock is read right after the read; the report says so.
        let _ = stream.enable_receive_stamps();
        Ok(StampedTransport {
            stream,
            buffers: StreamBuffers::default(),
            line,
            begins: true,
        })
    }

    fn write(&mut self, amount: usize) -> io::Result<()> {
        let bytes = self.buffers.outgoing(amount);
        let mut left = bytes;
        let mut handed_over = self.line.clock.now();
        self.line.writes(handed_over);
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    // The answer may be here before this thread runs again, so the moment before a write is the one that
                    // says when the last bytes were handed over.
                    if !left.is_empty() {
                        handed_over = self.line.clock.now();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.line.wrote(bytes.len(), handed_over);
        self.buffers.sent();
        Ok(())
    }
}

impl Transport for StampedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.buffers.expect_output(self.line.request_bytes());
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        // ureq sends the head and the body apart; together they are one segment less and one wake-up less.
        let begins = std::mem::replace(&mut self.begins, false) && !self.line.is_handshaking();
        if begins && amount < self.buffers.output().len() {
            self.buffers.hold(amount);
            return Ok(());
        }
        Ok(self.write(amount)?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        if self.buffers.held() > 0 {
            self.write(0)?;
        }
        if !std::mem::replace(&mut self.begins, true) {
            self.buffers.release_output();
        }
        if self.line.is_polling() && self.stream.is_idle_and_open() {
            return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
        }
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            return Err(Error::BodyStalled);
        }
        if self.line.is_unused() {
            return Err(Error::BodyStalled);
        }
        let received = self.stream.read_stamped(room)?;
        let now = self.line.clock.now();
        let kernel = received
            .kernel_wall_ns
            .map(|wall_ns| self.line.clock.of_wall_ns(wall_ns));
        if received.bytes > 0 {
            self.line.received(received.bytes, kernel, now);
        }
        self.buffers.input_appended(received.bytes);
        Ok(received.bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        self.buffers.input().is_empty() && self.stream.is_idle_and_open()
    }
}

impl fmt::Debug for StampedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StampedTransport").field("line", &self.line).finish()
    }
}

/// Gives ureq the connection of a line, or opens one.
#[derive(Clone, Debug)]
pub struct LineConnector {
    pub line: Arc<Line>,
    /// Shared by all lines: it holds the root certificates and TLS sessions.
    pub tls: Arc<RustlsConnector>,
}

impl LineConnector {
    /// Opens a connection, TLS included.
    pub fn dial(&self, details: &ConnectionDetails) -> Result<Box<dyn Transport>, Error> {
        let line = Arc::clone(&self.line);
        line.limit(line.clock.now().plus(line.timeouts.connect), Stop::Connect);
        let tcp = StampedTransport::connect(&details.addrs, Arc::clone(&line))?;
        if !details.needs_tls() {
            return Ok(tcp.boxed());
        }
        line.set_handshaking(true);
        let secured: Result<Option<Either<StampedTransport, _>>, Error> = self.tls.connect(details, Some(tcp));
        line.set_handshaking(false);
        Ok(secured?.ok_or(Error::ConnectionFailed)?.boxed())
    }

    /// Whether a connection between two requests can be used again. Unread bytes mean a closed connection, so the session tickets
    /// that servers send after a TLS handshake are read here first.
    pub fn can_use(&self, kept: &mut dyn Transport) -> bool {
        if kept.is_open() {
            return true;
        }
        if !kept.is_tls() {
            return false;
        }
        self.line.set_polling(true);
        let read = kept.await_input(NextTimeout::default());
        self.line.set_polling(false);
        matches!(read, Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock) && kept.is_open()
    }
}

impl Connector for LineConnector {
    type Out = Lease;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Lease>, Error> {
        let transport = match self.line.take_kept() {
            Some(transport) => transport,
            None => self.dial(details)?,
        };
        Ok(Some(Lease {
            transport: Some(transport),
            line: Arc::clone(&self.line),
            reusable: false,
        }))
    }
}

/// A line's connection for the length of one request. ureq asks `is_open` exactly when it has read an answer to its end and
/// the server keeps the connection; then the line gets it back.
pub struct Lease {
    transport: Option<Box<dyn Transport>>,
    line: Arc<Line>,
    reusable: bool,
}

impl Lease {
    fn inner(&mut self) -> &mut dyn Transport {
        self.transport
            .as_deref_mut()
            .expect("a lease holds its connection until it is dropped")
    }
}

impl Transport for Lease {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner().buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner().transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner().await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.reusable = self.inner().is_open();
        self.reusable
    }

    fn is_tls(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.is_tls())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.reusable
            && let Some(transport) = self.transport.take()
        {
            self.line.keep(transport);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("transport", &self.transport).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::super::line::Timeouts;
    use super::*;
    use crate::engine::timestamp::Clock;

    /// A client's last handshake message has no answer to wait for: held back, the server would not know us before the
    /// first request.
    #[test]
    fn a_requests_head_waits_for_its_body_and_a_handshake_for_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            connect: second,
            first_token: second,
            stall: second,
            total: second,
        };
        let line = Arc::new(Line::new(Clock::start(), timeouts, Arc::new(AtomicBool::new(false))));
        let mut transport = StampedTransport::connect(&[listener.local_addr().unwrap()], Arc::clone(&line)).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let send = |transport: &mut StampedTransport, text: &[u8]| {
            transport.buffers().output()[..text.len()].copy_from_slice(text);
            transport.transmit_output(text.len(), NextTimeout::default()).unwrap();
            transport.buffers.held()
        };
        line.set_handshaking(true);
        assert_eq!(send(&mut transport, b"finished"), 0);
        let mut seen = [0; 8];
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"finished");
        line.set_handshaking(false);
        transport.begins = true;
        assert_eq!(send(&mut transport, b"head"), 4);
        assert_eq!(send(&mut transport, b"body"), 0);
        peer.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"headbody");
    }
}
