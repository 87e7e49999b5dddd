//! The event loop: one thread that accepts, reads, and writes each event when it is due. It blocks only in epoll, and at
//! most until the next event is due. Requests that one turn read are served in the order in which they arrived.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{After, Step};
use super::arrived::Arrived;
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
    /// Requests that were read in this turn and are not served yet.
    arrived: Vec<Arrived>,
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
            arrived: Vec::new(),
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
            self.serve_arrived()?;
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
                // The next request of a connection may have come before its answer ended.
                self.serve_arrived()?;
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
                // What follows a whole request is read in the next turn.
                Read::Some if self.take_request(slot) => return Ok(()),
                Read::Some => {}
                Read::Nothing => return Ok(()),
                Read::Closed => return self.lose(slot),
            }
        }
        Ok(())
    }

    /// Takes the request at `slot` if it is complete.
    fn take_request(&mut self, slot: usize) -> bool {
        let arrived = self.connections[slot].as_mut().and_then(|connection| {
            let request = match connection.next_request() {
                Ok(request) => Ok(request?),
                Err(refusal) => Err(refusal),
            };
            connection.awaits_answer = true;
            Some(Arrived {
                slot,
                number: connection.number,
                arrival: connection.arrival(),
                request,
            })
        });
        let before = self.arrived.len();
        self.arrived.extend(arrived);
        self.arrived.len() > before
    }

    /// Starts the answers to the requests that were read. The cache is used in the order of their arrival, whatever the order in
    /// which their sockets were reported.
    fn serve_arrived(&mut self) -> Result<(), Error> {
        let mut arrived = std::mem::take(&mut self.arrived);
        Arrived::sort(&mut arrived);
        for request in arrived.drain(..) {
            if self.lives(request.slot, request.number) {
                self.begin(request)?;
            }
        }
        // The room is kept for the next turn.
        self.arrived = arrived;
        Ok(())
    }

    fn begin(&mut self, request: Arrived) -> Result<(), Error> {
        let (slot, number, arrival) = (request.slot, request.number, request.arrival);
        let sent = self
            .connections
            .iter()
            .flatten()
            .filter_map(|other| other.answer.as_ref());
        let is_busy = || sent.clone().any(|answer| answer.served.completion_tokens > 0);
        let answer = match request.request {
            Ok((head, body)) => self.service.answer((&head, &body), number, arrival, &is_busy),
            Err(refusal) => service::refuse(arrival.served(number), false, &refusal, &Faults::default()),
        };
        let begins_ns = answer.begins_ns(arrival.ns);
        if let Some(connection) = self.connections[slot].as_mut() {
            connection.answer = Some(answer);
            connection.awaits_answer = false;
        }
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
            After::KeepAlive => {
                self.take_request(slot);
                Ok(())
            }
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::thread;

    use super::*;

    fn request(word: &str) -> (String, String) {
        let body = format!("{{\"prompt\": \"{word}\", \"max_tokens\": 1}}");
        let head = "POST /v1/completions HTTP/1.1\r\nConnection: close\r\n";
        (format!("{head}Content-Length: {}\r\n\r\n", body.len()), body)
    }

    /// The first connection is readable first, and the last byte of its request comes last. All of it is there before the
    /// loop begins, so one turn reads both.
    #[test]
    fn requests_of_one_turn_are_served_in_the_order_of_their_last_bytes() {
        let _stamps = StampsEnabled::wait(Duration::from_secs(10)).expect("this kernel stamps what it receives");
        let server = Server::bind(Config::default(), Log::in_memory()).unwrap();
        let address = server.address();
        let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        let ((head, body), (other_head, other_body)) = (request("first"), request("second"));
        clients[0].write_all(head.as_bytes()).unwrap();
        clients[1].write_all((other_head + &other_body).as_bytes()).unwrap();
        clients[0].write_all(body.as_bytes()).unwrap();
        let stop = AtomicBool::new(false);
        let records = thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(&stop).unwrap());
            for client in &mut clients {
                client.read_to_end(&mut Vec::new()).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            serving.join().unwrap()
        });
        let number = |connection| records.iter().find(|record| record.connection == connection).unwrap().n;
        assert_eq!((number(1), number(2)), (2, 1), "{records:?}");
        assert!(records.iter().all(|record| record.arrival_source == "kernel"));
    }
}
