//! One client of the mock server: reads frames, handles one request after the other, each with at least its delay, and writes
//! the reply. The length of messages is limited.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::config::FaultKind;
use super::service::{Outcome, Service};
use crate::server::rpc::msgpack::{Decoder, Header};
use crate::server::rpc::wire::Wire;
use crate::server::rpc::zmtp::{Connection, Fault};
use crate::server::rpc::{Generation, Operation};
use crate::sys::deadline::Deadline;
use crate::sys::stream::Stream;

/// Request id, operation id and the parameters of the longest operation, and some more for malformed messages.
const FRAMES_MAX: usize = 16;
/// One inline request: 4 GiB of chunks and a key.
const MESSAGE_BYTES_MAX: u64 = (4 << 30) + (64 << 20);
/// Longer than any test; the wait also ends with the process.
const IDLE: Duration = Duration::from_secs(24 * 3600);
const GREETING: Duration = Duration::from_secs(5);
/// A sleep ends this long before the due time; the rest is spent spinning, which is exact.
const WAKE_EARLY: Duration = Duration::from_micros(150);

/// The request in a message.
enum Asked {
    Operation(Operation),
    /// An operation that the release has but this program does not, or whose number is not known to it.
    Silence,
    /// A message that ends the request thread of the release.
    Fatal,
}

/// Serves until the client disconnects or a signal arrives.
pub fn serve(stream: TcpStream, service: &Mutex<Service>, dead: &AtomicBool) {
    // Whatever the error, the connection is closed.
    let _ = converse(stream, service, dead);
}

fn converse(stream: TcpStream, service: &Mutex<Service>, dead: &AtomicBool) -> Result<(), Fault> {
    let wait = Deadline::after(GREETING);
    let stream = Stream::tcp(stream, wait).map_err(|error| Fault::Closed(error.to_string()))?;
    let mut connection = Connection::greet(stream, "ROUTER", wait)?;
    loop {
        let wait = Deadline::after(IDLE);
        let frames = message(&mut connection, wait)?;
        let arrived = Instant::now();
        if dead.load(Ordering::Relaxed) {
            continue;
        }
        let Some(answered) = handle(&frames, service, dead, arrived) else {
            continue;
        };
        if answered.disconnect {
            return Ok(());
        }
        connection.put_frame(&frames[0], true);
        connection.put_frame(&frames[1], answered.result.is_some());
        if let Some(result) = &answered.result {
            connection.put_frame_header(result.len() as u64, false);
            connection.put(result, wait)?;
        }
        connection.flush(wait)?;
    }
}

struct Answered {
    result: Option<Vec<u8>>,
    disconnect: bool,
}

/// Returns the reply to a message when it is due.
fn handle(frames: &[Vec<u8>], service: &Mutex<Service>, dead: &AtomicBool, arrived: Instant) -> Option<Answered> {
    let mut service = service.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = service.config.generation;
    let operation = match asked(frames, generation) {
        Asked::Operation(operation) => operation,
        Asked::Silence => return None,
        Asked::Fatal => {
            dead.store(true, Ordering::Relaxed);
            return None;
        }
    };
    if service.config.fault(FaultKind::Die, operation) {
        dead.store(true, Ordering::Relaxed);
        return None;
    }
    let outcome = service.handle(operation, &frames[2..]);
    let config = &service.config;
    let due = arrived + config.delay(operation);
    let drop_reply = config.fault(FaultKind::DropReply, operation);
    let disconnect = config.fault(FaultKind::Disconnect, operation);
    let wrong_type = config.fault(FaultKind::WrongType, operation);
    let truncate = config.fault(FaultKind::TruncateReply, operation);
    drop(service);
    let Outcome::Reply(mut result) = outcome else {
        return None;
    };
    if drop_reply {
        return None;
    }
    if wrong_type {
        result = Some(b"\xa5wrong".to_vec());
    } else if truncate && let Some(result) = &mut result {
        result.truncate(result.len() / 2);
    }
    sleep_until(due);
    Some(Answered { result, disconnect })
}

fn asked(frames: &[Vec<u8>], generation: Generation) -> Asked {
    // A message of one frame ends the thread of every release.
    let Some(operation) = frames.get(1) else {
        return Asked::Fatal;
    };
    let bad = match generation.dies_of_bad_operations {
        true => Asked::Fatal,
        false => Asked::Silence,
    };
    let mut decoder = Decoder(operation.as_slice());
    match (decoder.header(), decoder.0.is_empty()) {
        (Ok(Header::Unsigned(id)), true) if id == 0 || id > generation.number_max => bad,
        (Ok(Header::Unsigned(id)), true) => generation.operation(id).map_or(Asked::Silence, Asked::Operation),
        (Ok(Header::Text(bytes)), false) if generation.takes_names && bytes == decoder.0.len() as u64 => {
            let named = std::str::from_utf8(decoder.0).ok().and_then(Operation::of_name);
            named.map_or(Asked::Silence, Asked::Operation)
        }
        _ => bad,
    }
}

fn message(connection: &mut Connection, wait: Deadline) -> Result<Vec<Vec<u8>>, Fault> {
    let mut frames = Vec::new();
    let mut bytes = 0u64;
    loop {
        let head = connection.frame_header(wait)?;
        bytes = bytes.saturating_add(head.bytes);
        if bytes > MESSAGE_BYTES_MAX || frames.len() == FRAMES_MAX {
            return Err(Fault::Broken("a message without bounds".into()));
        }
        let mut frame = Vec::new();
        let mut left = head.bytes;
        // Allocated as bytes arrive, not by the stated length.
        while left > 0 {
            let piece = connection.piece(left, wait)?;
            frame.extend_from_slice(piece);
            left -= piece.len() as u64;
        }
        frames.push(frame);
        if !head.more {
            return Ok(frames);
        }
    }
}

/// Sleeps, and spins at the end, since a sleeping thread wakes up late.
fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > WAKE_EARLY {
        thread::sleep(left - WAKE_EARLY);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
