//! Finds out which generation a server is, with requests that no release takes harm from (docs/protocol.md). It must never
//! send an operation that some release does not know, nor one that changes anything.

use std::time::{Duration, Instant};

use super::client::{Client, Server};
use super::fault::RpcError;
use super::messages;
use super::msgpack::{Decoder, Head, Source};
use super::replies::ignored;
use super::version::{Generation, Operation};
use super::zmtp::Fault;
use crate::sys::deadline::Deadline;

/// Id 21: `NOOP` at first, `GET_CHUNK_SIZE` since 0.5.3.
const FIRST: u8 = 21;
/// Once a later request of the same class was answered, one that fails is silent for good; workers may overtake by this.
const SILENCE: Duration = Duration::from_millis(250);
/// On since 0.5.6 unless the server was told otherwise.
const EVENT_STREAM: &str = "kv_event_stream";

enum First {
    Ok,
    ChunkSize(u64),
    Other(String),
}

pub(super) fn detect(client: &mut Client, wait: Deadline, deadline: Duration) -> Result<Server, RpcError> {
    let id = client.send_numbered(Operation::GetChunkSize, FIRST, &[], wait)?;
    let reply = match client.next_reply(&[id], wait) {
        Ok(reply) => reply,
        Err(Fault::TimedOut) => {
            return Err(RpcError::Unreachable(format!(
                "a ZeroMQ server takes the connection but did not answer within {:.1} s: it is busy, its request thread \
                 has died (restart it), or it is older than LMCache 0.5.0",
                deadline.as_secs_f64()
            )));
        }
        Err(fault) => return Err(client.told(Operation::GetChunkSize, fault, wait)),
    };
    let first = client.read(Operation::GetChunkSize, &reply, wait, |reply| {
        let decoder: &mut Decoder<_> = messages::present(reply)?;
        Ok(match decoder.head()? {
            Head::Unsigned(size) => First::ChunkSize(size),
            Head::Text(bytes) => match decoder.text_of(bytes, "the answer")?.as_str() {
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
    let server = match first {
        First::Ok => first_numbering(client)?,
        First::ChunkSize(chunk_size) => second_numbering(client, chunk_size, wait)?,
        First::Other(answer) => {
            return Err(RpcError::Unreachable(format!(
                "the ZeroMQ server there is no LMCache cache server of release 0.5.0 to 0.5.6: it answered {answer} to \
                 the first question"
            )));
        }
    };
    match server.chunk_size {
        0 => Err(RpcError::Unreachable(
            "the server says that its chunk size is 0; restart it with a --chunk-size above 0".into(),
        )),
        _ => Ok(server),
    }
}

fn first_numbering(client: &mut Client) -> Result<Server, RpcError> {
    client.server.generation = Generation::V0_5_0;
    Ok(Server {
        generation: Generation::V0_5_0,
        chunk_size: client.chunk_size()?,
        experimental: Vec::new(),
        is_0_5_0: false,
    })
}

/// Ids 32 and 24, which are answered in order of arrival: the first is silent before 0.5.5. If it does not settle the
/// matter, ids 11 and 22: the first is silent since 0.5.6 (and makes it log an error, so it is asked last).
fn second_numbering(client: &mut Client, chunk_size: u64, wait: Deadline) -> Result<Server, RpcError> {
    let found = |generation, experimental| Server {
        generation,
        chunk_size,
        experimental,
        is_0_5_0: false,
    };
    let question = client.send_numbered(Operation::GetExperimental, 32, &[], wait)?;
    let noop = client.send_numbered(Operation::Noop, 24, &[], wait)?;
    let reply = client.receive(Operation::GetExperimental, &[question, noop], wait)?;
    if reply.id == noop {
        client.read(Operation::Noop, &reply, wait, ignored)?;
        return Ok(found(Generation::V0_5_3, Vec::new()));
    }
    let experimental = client.read(Operation::GetExperimental, &reply, wait, |reply| {
        messages::names(messages::present(reply)?)
    })?;
    if experimental.iter().any(|name| name == EVENT_STREAM) {
        return Ok(found(Generation::V0_5_6, experimental));
    }
    let mut made_up = Vec::new();
    super::msgpack::text(&mut made_up, &format!("lmcache-bench-probe-{}", std::process::id()));
    let hits = client.send_numbered(Operation::QueryPrefetchLookupHits, 11, &[made_up], wait)?;
    let ping = client.send_numbered(Operation::Ping, 22, &[vec![0xc0]], wait)?;
    let mut reply = client.receive(Operation::Ping, &[hits, ping], wait)?;
    client.read(Operation::Ping, &reply, wait, ignored)?;
    if reply.id == ping {
        let mut silence = wait;
        silence.at = Instant::now() + SILENCE;
        reply = match client.next_reply(&[hits], silence) {
            Ok(reply) => reply,
            Err(Fault::TimedOut) => return Ok(found(Generation::V0_5_6, experimental)),
            Err(fault) => return Err(client.told(Operation::QueryPrefetchLookupHits, fault, wait)),
        };
        client.read(Operation::QueryPrefetchLookupHits, &reply, wait, ignored)?;
    }
    Ok(found(Generation::V0_5_5, experimental))
}
