//! libzmq, the library that LMCache's own connectors use, as a wire: a DEALER socket, and a monitor that tells when the
//! connection is ready and when it ends. Its thread does the I/O, and whole messages are in memory; neither way copies one.

use std::fs::File;
use std::io;
use std::time::Instant;

use zmq::{PollEvents, PollItem, Socket, SocketEvent};

use super::zmtp::fault_of;
use super::{Endpoint, Fault, FrameHeader, Wire};
use crate::sys::deadline::{Deadline, Limits, TICK};
use crate::sys::limits;

/// Limit on a frame that arrives: one inline reply with 4 GiB of chunks. libzmq closes a connection with a longer one.
const FRAME_BYTES_MAX: i64 = (4 << 30) + (64 << 20);
/// Most whole messages that libzmq holds in each direction: a request with its NOOP, and some late replies.
const QUEUED_MAX: i32 = 8;
/// A lost connection is reported and never opened again by libzmq: this is longer than a run. The value for "never", -1, would
/// drop replies that had arrived before the end and were not read yet.
const RECONNECT_MS: i32 = i32::MAX;
/// Descriptors that must be free: about ten are used, twice as many without eventfd. libzmq ends the process where it gets none.
const DESCRIPTORS: usize = 24;
/// Bytes that are gathered between two checks of the limits.
const CHECKED_BYTES: usize = 1 << 20;
const LOST: &str = "the other side closed the connection, or libzmq did because of what came";

/// What the monitor tells. All but the first end the connection, or show that there will be none.
const EVENTS: [SocketEvent; 7] = [
    SocketEvent::HANDSHAKE_SUCCEEDED,
    SocketEvent::HANDSHAKE_FAILED_NO_DETAIL,
    SocketEvent::HANDSHAKE_FAILED_PROTOCOL,
    SocketEvent::HANDSHAKE_FAILED_AUTH,
    SocketEvent::DISCONNECTED,
    SocketEvent::CLOSED,
    SocketEvent::CONNECT_RETRIED,
];

/// A frame that `flush` hands over to libzmq, which frees it when it was sent.
struct Outgoing {
    body: Vec<u8>,
    more: bool,
}

/// A connection after the greeting.
pub struct Connection {
    socket: Socket,
    monitor: Socket,
    outgoing: Vec<Outgoing>,
    /// The frame that is being read, and how much of it was.
    incoming: zmq::Message,
    read: usize,
    lost: bool,
    broken: bool,
}

impl Connection {
    /// Tries every address of the host until one completes the greeting. The time is divided evenly among them.
    pub fn open(endpoint: &Endpoint, wait: Deadline) -> Result<Connection, Fault> {
        let urls = endpoint.numeric_urls(wait).map_err(fault_of)?;
        check_descriptors().map_err(|error| Fault::Closed(format!("libzmq: {}", limits::with_advice(&error))))?;
        let context = zmq::Context::new();
        let mut fault = Fault::Closed("the host has no address".into());
        for (number, url) in urls.iter().enumerate() {
            let others = u32::try_from(urls.len() - number).unwrap_or(u32::MAX);
            let share = Deadline {
                at: Instant::now() + wait.left() / others,
                ..wait
            };
            match Connection::connect(&context, url, number, share) {
                Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                Err(other) => fault = other,
                connected => return connected,
            }
        }
        Err(fault)
    }

    fn connect(context: &zmq::Context, url: &str, number: usize, wait: Deadline) -> Result<Connection, Fault> {
        let (socket, monitor) = sockets(context, url, number, wait).map_err(lost)?;
        let mut connection = Connection {
            socket,
            monitor,
            outgoing: Vec::new(),
            incoming: zmq::Message::new(),
            read: 0,
            lost: false,
            broken: false,
        };
        loop {
            match connection.event()? {
                Some(event) if event == SocketEvent::HANDSHAKE_SUCCEEDED.to_raw() => return Ok(connection),
                Some(_) => return Err(Fault::Closed(LOST.into())),
                None => step(&mut [connection.monitor.as_poll_item(zmq::POLLIN)], wait)?,
            }
        }
    }

    /// The next event of the monitor, if there is one.
    fn event(&mut self) -> Result<Option<u16>, Fault> {
        match self.monitor.recv_multipart(zmq::DONTWAIT) {
            // The first frame has the number of the event, then a value.
            Ok(frames) => match frames.first().map(Vec::as_slice) {
                Some([low, high, ..]) => Ok(Some(u16::from_ne_bytes([*low, *high]))),
                _ => Err(Fault::Closed("libzmq's monitor sent an event without a number".into())),
            },
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    /// Waits until the socket is ready for `events`. What arrived before the end of the connection is still read.
    fn wait_for(&mut self, events: PollEvents, wait: Deadline) -> Result<(), Fault> {
        loop {
            self.lost |= self.event()?.is_some();
            if self.socket.get_events().map_err(lost)?.intersects(events) {
                return Ok(());
            }
            if self.lost {
                return Err(Fault::Closed(LOST.into()));
            }
            let monitor = self.monitor.as_poll_item(zmq::POLLIN);
            step(&mut [self.socket.as_poll_item(events), monitor], wait)?;
        }
    }

    /// Receives the next frame.
    fn receive(&mut self, wait: Deadline) -> Result<(), Fault> {
        loop {
            match self.socket.recv(&mut self.incoming, zmq::DONTWAIT) {
                Ok(()) => {
                    self.read = 0;
                    return Ok(());
                }
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => self.wait_for(zmq::POLLIN, wait)?,
                Err(error) => return Err(lost(error)),
            }
        }
    }

    fn send(&mut self, wait: Deadline) -> Result<(), Fault> {
        wait.check().map_err(fault_of)?;
        self.lost |= self.event()?.is_some();
        if self.lost {
            return Err(Fault::Closed(LOST.into()));
        }
        // A queue that takes the first frame of a message takes all of them.
        self.wait_for(zmq::POLLOUT, wait)?;
        for frame in self.outgoing.drain(..) {
            let more = if frame.more { zmq::SNDMORE } else { 0 };
            self.socket.send(frame.body, zmq::DONTWAIT | more).map_err(lost)?;
        }
        Ok(())
    }

    fn add(&mut self, body: Vec<u8>, more: bool) {
        // The reply before has been read. A large one is not kept while the next request is put together.
        (self.incoming, self.read) = (zmq::Message::new(), 0);
        self.outgoing.push(Outgoing { body, more });
    }
}

impl Wire for Connection {
    fn put_frame(&mut self, body: &[u8], more: bool) {
        self.add(body.to_vec(), more);
    }

    fn put_frame_header(&mut self, bytes: u64, more: bool) {
        // All of it, so that it never grows: that would copy it.
        self.add(Vec::with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX)), more);
    }

    fn put(&mut self, piece: &[u8], wait: Deadline) -> Result<(), Fault> {
        let frame = self.outgoing.last_mut().expect("a frame header comes before its body");
        let before = frame.body.len() / CHECKED_BYTES;
        frame.body.extend_from_slice(piece);
        match frame.body.len() / CHECKED_BYTES == before {
            true => Ok(()),
            false => wait.check().map_err(fault_of),
        }
    }

    fn flush(&mut self, wait: Deadline) -> Result<(), Fault> {
        let sent = self.send(wait);
        self.outgoing.clear();
        // A part of a message may have been sent.
        self.broken |= sent.is_err();
        sent
    }

    fn frame_header(&mut self, wait: Deadline) -> Result<FrameHeader, Fault> {
        let received = self.receive(wait);
        self.broken |= matches!(received, Err(Fault::Closed(_)));
        received?;
        Ok(FrameHeader {
            more: self.incoming.get_more(),
            bytes: self.incoming.len() as u64,
        })
    }

    fn take(&mut self, bytes: usize, _wait: Deadline) -> Result<&[u8], Fault> {
        let begin = self.read;
        let Some(taken) = self.incoming.get(begin..begin.saturating_add(bytes)) else {
            self.broken = true;
            return Err(Fault::Broken("a frame ended too early".into()));
        };
        self.read += bytes;
        Ok(taken)
    }

    fn piece(&mut self, bytes: u64, wait: Deadline) -> Result<&[u8], Fault> {
        // One byte at least, so that the end of the frame is an error.
        let left = (self.incoming.len() - self.read).max(1);
        self.take(left.min(usize::try_from(bytes).unwrap_or(usize::MAX)), wait)
    }

    fn is_broken(&self) -> bool {
        self.broken
    }

    fn abandon(&mut self) {
        self.broken = true;
    }
}

/// A DEALER that connects to `url`, and its monitor.
fn sockets(context: &zmq::Context, url: &str, number: usize, wait: Deadline) -> zmq::Result<(Socket, Socket)> {
    let socket = context.socket(zmq::DEALER)?;
    let greeting_ms = i32::try_from(wait.left().as_millis()).unwrap_or(i32::MAX);
    socket.set_linger(0)?;
    socket.set_reconnect_ivl(RECONNECT_MS)?;
    socket.set_handshake_ivl(greeting_ms.max(1))?;
    socket.set_maxmsgsize(FRAME_BYTES_MAX)?;
    socket.set_sndhwm(QUEUED_MAX)?;
    socket.set_rcvhwm(QUEUED_MAX)?;
    // Not for the other addresses, which it would reach by a socket of IPv6 where there may be none.
    socket.set_ipv6(url.contains('['))?;
    let monitor = context.socket(zmq::PAIR)?;
    monitor.set_linger(0)?;
    let place = format!("inproc://monitor-{number}");
    let events = EVENTS.iter().fold(0, |all, event| all | i32::from(event.to_raw()));
    socket.monitor(&place, events)?;
    monitor.connect(&place)?;
    socket.connect(url)?;
    Ok((socket, monitor))
}

/// Polls once, at most until the limits are to be checked again.
fn step(items: &mut [PollItem], wait: Deadline) -> Result<(), Fault> {
    wait.check().map_err(fault_of)?;
    let ms = i64::try_from(wait.left().min(TICK).as_millis()).unwrap_or(i64::MAX);
    match zmq::poll(items, ms.max(1)) {
        Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
        Err(error) => Err(lost(error)),
    }
}

fn check_descriptors() -> io::Result<()> {
    let free: io::Result<Vec<File>> = (0..DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
    free.map(drop)
}

fn lost(error: zmq::Error) -> Fault {
    Fault::Closed(format!("libzmq: {error}"))
}

#[cfg(test)]
mod tests;
