//! One command and its reply, or several at once. Values go directly between slots and the socket; a store succeeds only with
//! `+OK`.

use std::io::{self, IoSlice};

use super::answer;
use super::wire::{self, Body, Connection, Reply};
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::step_timer::StepTimer;

/// How one attempt of a request ended.
pub enum Attempt {
    Done(Outcome),
    /// The server's error.
    Refused(String),
    /// `stale`: the connection worked before, so it may have died of age and the request may be sent again.
    Broken {
        error: io::Error,
        stale: bool,
    },
    /// No connection could be made; a sentence.
    Unreachable(String),
}

/// A command without its value, which goes between the two parts.
fn frame(operation: Operation, key: &[u8], value_bytes: usize, ttl_seconds: Option<u64>) -> (Vec<u8>, Vec<u8>) {
    match operation {
        Operation::Lookup => (wire::command(&[b"EXISTS", key]), Vec::new()),
        Operation::Load => (wire::command(&[b"GET", key]), Vec::new()),
        Operation::Store => {
            let mut head = wire::array_head(if ttl_seconds.is_some() { 5 } else { 3 });
            wire::push_bulk(&mut head, b"SET");
            wire::push_bulk(&mut head, key);
            wire::push_bulk_head(&mut head, value_bytes);
            let mut tail = b"\r\n".to_vec();
            if let Some(seconds) = ttl_seconds {
                wire::push_bulk(&mut tail, b"EX");
                wire::push_bulk(&mut tail, seconds.to_string().as_bytes());
            }
            (head, tail)
        }
    }
}

fn value_of(operation: Operation, item: &Item) -> &[u8] {
    match (operation, &item.slot) {
        (Operation::Store, Some(slot)) => slot.bytes(),
        _ => &[],
    }
}

/// One command and its reply.
pub fn exchange(
    connection: &mut Connection,
    operation: Operation,
    key: &[u8],
    ttl_seconds: Option<u64>,
    asking: bool,
    item: &mut Item,
    timer: &mut StepTimer,
) -> io::Result<Attempt> {
    let value = value_of(operation, item);
    let (head, tail) = frame(operation, key, value.len(), ttl_seconds);
    let ask = if asking {
        wire::command(&[b"ASKING"])
    } else {
        Vec::new()
    };
    connection.send(&mut [
        IoSlice::new(&ask),
        IoSlice::new(&head),
        IoSlice::new(value),
        IoSlice::new(&tail),
    ])?;
    let sent_ns = timer.step_ns();
    if asking {
        match connection.reply()? {
            Reply::Simple(text) if text == "OK" => {}
            Reply::Error(text) => {
                connection.reply()?;
                return Ok(Attempt::Refused(text));
            }
            other => return Err(wire::unexpected("ASKING", "+OK", &other.shown())),
        }
    }
    let attempt = receive(connection, operation, item);
    let answered_ns = timer.step_ns();
    if operation == Operation::Store {
        timer.times.transfer_ns += sent_ns;
        timer.times.publish_ns += answered_ns;
    } else {
        timer.times.open_ns += sent_ns;
        timer.times.transfer_ns += answered_ns;
    }
    attempt
}

pub fn send_all(
    connection: &mut Connection,
    operation: Operation,
    keys: &[Vec<u8>],
    ttl_seconds: Option<u64>,
    items: &[Item],
) -> io::Result<()> {
    let value_bytes = |item: &Item| value_of(operation, item).len();
    let frames: Vec<(Vec<u8>, Vec<u8>)> = keys
        .iter()
        .zip(items)
        .map(|(key, item)| frame(operation, key, value_bytes(item), ttl_seconds))
        .collect();
    let parts = frames.iter().zip(items);
    let mut parts: Vec<IoSlice<'_>> = parts
        .flat_map(|((head, tail), item)| [head.as_slice(), value_of(operation, item), tail.as_slice()])
        .map(IoSlice::new)
        .collect();
    connection.send(&mut parts)
}

/// The reply to one command: done or refused.
pub fn receive(connection: &mut Connection, operation: Operation, item: &mut Item) -> io::Result<Attempt> {
    if operation == Operation::Load {
        let slot = item.slot.as_mut().map(|slot| slot.bytes_mut()).unwrap_or_default();
        let wanted = slot.len();
        return Ok(match connection.reply_into(slot)? {
            Body::Filled => Attempt::Done(Outcome::Loaded),
            Body::Nil => Attempt::Done(Outcome::Missing),
            Body::Short(held_bytes) => Attempt::Done(Outcome::Short { held_bytes }),
            Body::Longer(len) => Attempt::Done(Outcome::Failed(answer::longer(len, wanted))),
            Body::Error(text) => Attempt::Refused(text),
        });
    }
    Ok(match (operation, connection.reply()?) {
        (Operation::Store, Reply::Simple(text)) if text == "OK" => Attempt::Done(Outcome::Stored),
        (Operation::Lookup, Reply::Integer(1)) => Attempt::Done(Outcome::Found),
        (Operation::Lookup, Reply::Integer(0)) => Attempt::Done(Outcome::Missing),
        (_, Reply::Error(text)) => Attempt::Refused(text),
        (Operation::Store, other) => return Err(wire::unexpected("SET", "+OK", &other.shown())),
        (_, other) => return Err(wire::unexpected("EXISTS", ":0 or :1", &other.shown())),
    })
}
