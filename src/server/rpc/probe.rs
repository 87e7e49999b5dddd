//! Detects the protocol generation of a server, with requests that every release can handle and that change nothing
//! (docs/protocol.md, "Which release"). What was asked and answered is kept for the message about a release that is not known.

use std::time::{Duration, Instant};

use super::client::{Client, ServerInfo};
use super::fault::RpcError;
use super::generation::{Generation, Operation};
use super::messages::{self, Request};
use super::msgpack::{Decoder, Header, Source};
use super::replies::ignored;
use super::wire::Fault;
use crate::sys::deadline::Deadline;

/// The number of `NOOP` since 0.5.3. Before, it is an operation with parameters, which the server logs and does not answer.
const NOOP_ID: u8 = 24;
/// `NOOP` in 0.5.0 to 0.5.2, `GET_CHUNK_SIZE` since 0.5.3. Since 0.5.7 it fixes the chunk size, so it is only asked where `NOOP_ID`
/// was not answered.
const SECOND_ID: u8 = 21;
/// How long to wait for the reply to a request after a later one of the same class was answered. Worker threads may reorder
/// replies by less than this, so that no reply by then means that the request failed. Each wait for the first answer is as long.
const REORDER_MAX: Duration = Duration::from_millis(250);
/// Every silence is waited out twice: the first wait may have passed while this process or the server was stopped.
const WAITS: u32 = 2;
/// A feature that is on by default in 0.5.6, and that later releases do not name.
const EVENT_STREAM: &str = "kv_event_stream";

/// `timeout` is the time that `wait` began with, for the error message.
pub(super) fn detect(client: &mut Client, wait: Deadline, timeout: Duration) -> Result<ServerInfo, RpcError> {
    let mut questions = Questions {
        client,
        wait,
        tried: Vec::new(),
    };
    // Half of the time is left for the second question.
    let first = REORDER_MAX.min(wait.left() / (2 * WAITS));
    match questions.first(Operation::Noop, NOOP_ID, [first; WAITS as usize])? {
        Some(First::Ok) => return questions.second_numbering(0),
        Some(other) => return Err(other.refused()),
        None => {}
    }
    let rest = wait.left();
    match questions.first(Operation::GetChunkSize, SECOND_ID, [rest])? {
        Some(First::Ok) => Ok(found(Generation::V0_5_0, 0, Vec::new())),
        Some(First::Number(0)) => Err(no_chunk_size()),
        Some(First::Number(chunk_size)) => questions.second_numbering(chunk_size),
        Some(other) => Err(other.refused()),
        None => Err(RpcError::Unreachable(format!(
            "a ZeroMQ server takes the connection but did not answer within {:.1} s: it is busy, its request thread \
             has died (restart it), or it is none of LMCache 0.5.0 to {}",
            timeout.as_secs_f64(),
            Generation::NEWEST.label
        ))),
    }
}

pub(super) fn no_chunk_size() -> RpcError {
    RpcError::Unreachable("the server says that its chunk size is 0; restart it with a --chunk-size above 0".into())
}

fn found(generation: Generation, chunk_size: u64, experimental: Vec<String>) -> ServerInfo {
    ServerInfo {
        generation,
        chunk_size,
        experimental,
        is_0_5_0: false,
    }
}

/// The reply to the first request that is answered.
enum First {
    Ok,
    Number(u64),
    Other(String),
}

impl First {
    /// The error of a reply that no cache server gives.
    fn refused(self) -> RpcError {
        let answer = match self {
            First::Ok => "'OK'".into(),
            First::Number(number) => number.to_string(),
            First::Other(answer) => answer,
        };
        RpcError::Unreachable(format!(
            "the ZeroMQ server there is no LMCache cache server of release 0.5.0 or later: it answered {answer} to the \
             first question"
        ))
    }
}

/// This time from now, and no longer than `wait`.
fn until(time: Duration, wait: Deadline) -> Deadline {
    let at = wait.at.min(Instant::now() + time);
    Deadline { at, ..wait }
}

struct Questions<'a> {
    client: &'a mut Client,
    wait: Deadline,
    /// Each question with its answer.
    tried: Vec<String>,
}

impl Questions<'_> {
    /// Sends a request without parameters to a server of which nothing is known. `None`: no answer within these waits, one after
    /// another.
    fn first<const N: usize>(
        &mut self,
        operation: Operation,
        number: u8,
        waits: [Duration; N],
    ) -> Result<Option<First>, RpcError> {
        let client = &mut *self.client;
        let id = match client.send_numbered(operation, number, &[], self.wait) {
            Err(RpcError::TimedOut { .. }) => return Ok(None),
            sent => sent?,
        };
        let mut waits = waits.into_iter();
        let reply = loop {
            let Some(time) = waits.next() else { return Ok(None) };
            match client.next_reply(&[id], until(time, self.wait)) {
                Ok(reply) => break reply,
                // Between two messages, unless the connection is broken.
                Err(Fault::TimedOut) if !client.connection.is_broken() => {}
                Err(Fault::TimedOut) => return Ok(None),
                Err(fault) => return Err(client.request_error(operation, fault, self.wait)),
            }
        };
        let first = client.read(operation, &reply, self.wait, |reply| {
            let decoder: &mut Decoder<_> = messages::present(reply)?;
            Ok(match decoder.header()? {
                Header::Unsigned(number) => First::Number(number),
                Header::Text(bytes) => match decoder.text_of(bytes, "the answer")?.as_str() {
                    "OK" => First::Ok,
                    text => First::Other(format!("'{text}'")),
                },
                other => {
                    let left = decoder.0.left();
                    decoder.0.skip(left)?;
                    First::Other(format!("{other:?}"))
                }
            })
        })?;
        Ok(Some(first))
    }

    /// Distinguishes the releases since 0.5.3. Sends ids 32 and 24, which are handled in order of arrival: releases before 0.5.5
    /// do not answer 32. If the features that 32 lists do not show 0.5.6, asks for the proofs of later generations, newest first,
    /// then for id 11, which 0.5.6 does not answer. Servers log an error for each question that they do not answer.
    fn second_numbering(mut self, chunk_size: u64) -> Result<ServerInfo, RpcError> {
        let (client, wait) = (&mut *self.client, self.wait);
        let question = client.send_numbered(Operation::GetExperimental, 32, &[], wait)?;
        let noop = client.send_numbered(Operation::Noop, NOOP_ID, &[], wait)?;
        let reply = client.receive(Operation::GetExperimental, &[question, noop], wait)?;
        if reply.id == noop {
            client.read(Operation::Noop, &reply, wait, ignored)?;
            return Ok(found(Generation::V0_5_3, chunk_size, Vec::new()));
        }
        let experimental = client.read(Operation::GetExperimental, &reply, wait, |reply| {
            messages::names(messages::present(reply)?)
        })?;
        if experimental.iter().any(|name| name == EVENT_STREAM) {
            return Ok(found(Generation::V0_5_6, chunk_size, experimental));
        }
        self.tried.push(format!("GET_EXPERIMENTAL names {experimental:?}"));
        Ok(found(self.by_proof()?, chunk_size, experimental))
    }

    /// Of a server without the event stream.
    fn by_proof(&mut self) -> Result<Generation, RpcError> {
        for generation in Generation::ALL.into_iter().rev() {
            let Some(proof) = &generation.proof else { continue };
            if self.answers(proof.question, generation, &(proof.request)(generation))? {
                return Ok(generation);
            }
        }
        let name = format!("lmcache-bench-probe-{}", std::process::id());
        let hits = messages::session_request(Operation::QueryPrefetchLookupHits, &name);
        if self.answers("QUERY_PREFETCH_LOOKUP_HITS", Generation::V0_5_5, &hits)? {
            return Ok(Generation::V0_5_5);
        }
        // 0.5.6 with its events switched off, or a release that is not known here.
        let generation = Generation::V0_5_6;
        let free = messages::free_no_locks(generation);
        if self.answers("FREE_LOOKUP_LOCKS with two parameters", generation, &free)? {
            return Ok(generation);
        }
        Err(RpcError::Unreachable(format!(
            "the cache server there is of a release that this program does not know; it knows those from 0.5.0 to {}, and \
             this one is like none of them ({}); use a newer lmcache-bench",
            Generation::NEWEST.label,
            self.tried.join("; ")
        )))
    }

    /// Sends a request of a generation with a PING behind it, and tells whether the request is answered. It is silent only after
    /// another PING: a server that was stopped between two answers catches up before that one.
    fn answers(&mut self, question: &str, generation: Generation, request: &Request) -> Result<bool, RpcError> {
        let (client, wait) = (&mut *self.client, self.wait);
        let operation = request.operation;
        let Some(number) = generation.id(operation) else {
            return Ok(false);
        };
        let asked = client.send_numbered(operation, number, &request.payloads, wait)?;
        let behind = messages::ping(None);
        let mut answered = false;
        for _ in 0..WAITS {
            let ping = client.send_numbered(Operation::Ping, 22, &behind.payloads, wait)?;
            let reply = client.receive(Operation::Ping, &[asked, ping], wait)?;
            client.read(Operation::Ping, &reply, wait, ignored)?;
            answered = reply.id == asked;
            if !answered {
                match client.next_reply(&[asked], until(REORDER_MAX, wait)) {
                    Ok(late) => {
                        client.read(operation, &late, wait, ignored)?;
                        answered = true;
                    }
                    Err(Fault::TimedOut) => {}
                    Err(fault) => return Err(client.request_error(operation, fault, wait)),
                }
            }
            if answered {
                break;
            }
        }
        let outcome = if answered { "is answered" } else { "is not answered" };
        self.tried.push(format!("{question} {outcome}"));
        Ok(answered)
    }
}
