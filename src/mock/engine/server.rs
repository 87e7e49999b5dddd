//! The event loop: one thread that accepts, reads, and writes each event when it is due. It blocks only in epoll, and at
//! most until the next event is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{After, Step};
use super::config::Config;
use super::connection::{Connection, Read};
use super::fault::Faults;
use super::record::{Log, Outcome, Served};
use super::service::{self, Service};
use crate::error::Error;
use crate::sys::poll::{self, Interest, Poll, Ready};
use crate::sys::signal;
use crate::sys::socket::{self, StampsEnabled};

const CONNECTIONS_MAX: usize = 16_384;
const BACKLOG: u16 = 8_192;
/// Files beside the connections.
const FILES_BESIDE: u64 = 64;
const LISTENER: u64 = u64::MAX;
/// Events written before the sockets are polled again.
const EVENTS_PER_TURN: usize = 64;
/// Reads of one socket before others get their turn.
const READS_PER_TURN: usize = 4;
const READ_BYTES: usize = 256 << 10;
/// Connections accepted at once.
const ACCEPTS_PER_TURN: usize = 256;
/// The longest wait, so that a request to stop is noticed.
const WAIT_NS_MAX: u64 = 50_000_000;
/// How long to wait for the kernel's first stamp.
const STAMPS_WAIT: Duration = Duration::from_millis(200);
/// The log is written when nothing is due for so long.
const QUIET_NS: u64 = 2_000_000;

/// Due time, a number that keeps equal times in order, and the connection with its generation.
type Due = Reverse<(u64, u64, usize, u64)>;

pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    poll: Poll,
    service: Service,
    log: Log,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    accepted: u64,
    due: BinaryHeap<Due>,
    order: u64,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// Without it a connection's first bytes have no stamp; where the kernel keeps none at all, the log says `read`.
    _stamps: Option<StampsEnabled>,
}

fn environment(what: &str, cause: &io::Error) -> Error {
    Error::Environment(format!("lmcache-bench mock engine: could not {what}: {cause}"))
}

impl Server {
    /// Opens the port; nothing is answered before `serve`.
    pub fn bind(config: Config, log: Log) -> Result<Server, Error> {
        let place = format!("listen on {}:{} (--host, --port)", config.host, config.port);
        let complain = |cause: io::Error| environment(&place, &cause);
        let listener = TcpListener::bind((config.host.as_str(), config.port)).map_err(complain)?;
        listener.set_nonblocking(true).map_err(complain)?;
        poll::set_backlog(&listener, BACKLOG).map_err(complain)?;
        let address = listener.local_addr().map_err(complain)?;
        let poll = Poll::new().map_err(complain)?;
        poll.add(listener.as_raw_fd(), LISTENER, Interest::READ)
            .map_err(complain)?;
        socket::raise_open_file_limit(CONNECTIONS_MAX as u64 + FILES_BESIDE).map_err(complain)?;
        Ok(Server {
            listener,
            address,
            poll,
            service: Service::new(config)?,
            log,
            connections: Vec::new(),
            free: Vec::new(),
            accepted: 0,
            due: BinaryHeap::new(),
            order: 0,
            buffer: vec![0; READ_BYTES],
            scratch: Vec::new(),
            _stamps: StampsEnabled::wait(STAMPS_WAIT).ok(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is set or a signal came, and returns the records that were kept.
    pub fn serve(mut self, stop: &AtomicBool) -> Result<Vec<Served>, Error> {
        poll::set_minimal_timer_slack().map_err(|cause| environment("sharpen its timers", &cause))?;
        let mut ready = Vec::new();
        while !stop.load(Ordering::Relaxed) && signal::received().is_none() {
            let timeout_ns = self.write_due()?;
            if timeout_ns > QUIET_NS {
                self.log.flush()?;
            }
            self.poll
                .wait(&mut ready, timeout_ns)
                .map_err(|cause| environment("wait for its sockets", &cause))?;
            for ready in &ready {
                match ready.token {
                    LISTENER => self.accept()?,
                    _ => self.handle(*ready)?,
                }
            }
        }
        for slot in 0..self.connections.len() {
            self.lose(slot)?;
        }
        self.log.flush()?;
        Ok(self.log.into_kept())
    }

    /// Writes what is due; returns the time until the next event.
    fn write_due(&mut self) -> Result<u64, Error> {
        for _ in 0..EVENTS_PER_TURN {
            let now_ns = poll::monotonic_ns();
            match self.due.peek() {
                Some(Reverse((due_ns, ..))) if *due_ns <= now_ns => {}
                Some(Reverse((due_ns, ..))) => return Ok((due_ns - now_ns).min(WAIT_NS_MAX)),
                None => return Ok(WAIT_NS_MAX),
            }
            if let Some(Reverse((due_ns, _, slot, number))) = self.due.pop()
                && self.lives(slot, number)
            {
                self.advance(slot, due_ns, now_ns)?;
            }
        }
        Ok(0)
    }

    fn lives(&self, slot: usize, number: u64) -> bool {
        let connection = self.connections.get(slot).and_then(Option::as_ref);
        connection.is_some_and(|connection| connection.number == number)
    }

    fn accept(&mut self) -> Result<(), Error> {
        for _ in 0..ACCEPTS_PER_TURN {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Out of descriptors, or a connection that is already closed: the others are served on.
                Err(_) => return Ok(()),
            };
            if self.connections.len() - self.free.len() >= CONNECTIONS_MAX {
                continue;
            }
            let prepared = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true))
                .and_then(|()| socket::enable_receive_stamps(&stream));
            if prepared.is_err() {
                continue;
            }
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.accepted += 1;
            let fd = stream.as_raw_fd();
            self.connections[slot] = Some(Connection::new(stream, self.accepted));
            if self.poll.add(fd, token(slot, self.accepted), Interest::READ).is_err() {
                self.lose(slot)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, ready: Ready) -> Result<(), Error> {
        let slot = (ready.token & u64::from(u32::MAX)) as usize;
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return Ok(());
        };
        if token(slot, connection.number) != ready.token {
            return Ok(());
        }
        if ready.writable && connection.waiting.is_some() {
            match connection.write_rest() {
                Ok(true) => {}
                Ok(false) => {
                    let step = connection.waiting.take();
                    let fd = connection.stream.as_raw_fd();
                    self.poll
                        .modify(fd, ready.token, Interest::READ)
                        .map_err(|cause| environment("wait for a socket", &cause))?;
                    if let Some(step) = step {
                        self.follow(slot, step)?;
                    }
                }
                Err(_) => return self.lose(slot),
            }
        }
        if ready.readable {
            return self.read(slot);
        }
        if ready.closed { self.lose(slot) } else { Ok(()) }
    }

    fn read(&mut self, slot: usize) -> Result<(), Error> {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections[slot].as_mut() else {
                return Ok(());
            };
            match connection.read(&mut self.buffer) {
                Read::Some => self.begin(slot)?,
                Read::Nothing => return Ok(()),
                Read::Closed => return self.lose(slot),
            }
        }
        Ok(())
    }

    /// Starts the answer if a request is complete.
    fn begin(&mut self, slot: usize) -> Result<(), Error> {
        let Some(connection) = self.connections[slot].as_mut() else {
            return Ok(());
        };
        let (answer, arrival) = match connection.next_request() {
            Ok(None) => return Ok(()),
            Ok(Some((head, body, arrival))) => {
                let answer = self.service.answer(&head, &body, connection.number, arrival);
                (answer, arrival)
            }
            Err(refusal) => {
                let arrival = connection.arrival();
                let served = Served {
                    connection: connection.number,
                    arrival_ns: arrival.ns,
                    arrival_wall_ns: arrival.wall_ns,
                    arrival_source: arrival.source,
                    read_ns: arrival.read_ns,
                    ..Served::default()
                };
                (service::refuse(served, false, &refusal, &Faults::default()), arrival)
            }
        };
        let begins_ns = answer.begins_ns(arrival.ns);
        connection.answer = Some(answer);
        self.follow(slot, Step::At(begins_ns))
    }

    /// Writes the next piece of the answer at `slot`.
    fn advance(&mut self, slot: usize, due_ns: u64, now_ns: u64) -> Result<(), Error> {
        let Some(connection) = self.connections[slot].as_mut() else {
            return Ok(());
        };
        let Some(answer) = connection.answer.as_mut() else {
            return Ok(());
        };
        self.scratch.clear();
        let step = answer.fill(due_ns, now_ns, &mut self.scratch);
        let split = answer.split;
        let written = connection.write(&self.scratch, split);
        if let Some(answer) = connection.answer.as_mut() {
            answer.note_written(now_ns, poll::monotonic_ns());
        }
        match written {
            Ok(false) => self.follow(slot, step),
            Ok(true) => {
                connection.waiting = Some(step);
                let both = Interest {
                    readable: true,
                    writable: true,
                };
                self.poll
                    .modify(connection.stream.as_raw_fd(), token(slot, connection.number), both)
                    .map_err(|cause| environment("wait for a socket", &cause))
            }
            Err(_) => self.lose(slot),
        }
    }

    fn follow(&mut self, slot: usize, step: Step) -> Result<(), Error> {
        let Some(connection) = self.connections[slot].as_mut() else {
            return Ok(());
        };
        let after = match step {
            Step::At(due_ns) => {
                self.order += 1;
                self.due.push(Reverse((due_ns, self.order, slot, connection.number)));
                return Ok(());
            }
            Step::End(after) => after,
        };
        if let Some(mut answer) = connection.answer.take_if(|_| after != After::Stall) {
            answer.served.done_ns = poll::monotonic_ns();
            answer.served.finish(&answer.tally);
            self.log.add(answer.served)?;
        }
        match after {
            After::KeepAlive => self.begin(slot),
            // The record is written when the client gives up.
            After::Stall => Ok(()),
            After::Close => self.lose(slot),
            After::Reset => {
                if let Some(connection) = self.connections[slot].take() {
                    self.free.push(slot);
                    // Closed in any case, as a reset if the option was set.
                    let _ = poll::close_with_reset(connection.stream);
                }
                Ok(())
            }
        }
    }

    /// Removes a connection; an unfinished answer is logged as far as it was sent.
    fn lose(&mut self, slot: usize) -> Result<(), Error> {
        let Some(connection) = self.connections[slot].take() else {
            return Ok(());
        };
        self.free.push(slot);
        if let Some(mut answer) = connection.answer {
            if answer.served.outcome == Outcome::Complete {
                answer.served.outcome = Outcome::ClientClosed;
            }
            answer.served.done_ns = poll::monotonic_ns();
            answer.served.finish(&answer.tally);
            self.log.add(answer.served)?;
        }
        Ok(())
    }
}

/// The slot, and enough of the connection's number to know that it is still the same one.
fn token(slot: usize, number: u64) -> u64 {
    (number << 32) | slot as u64
}
