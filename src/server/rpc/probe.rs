//! Detects the protocol generation of a server, with requests that every release can handle and that change nothing
//! (docs/protocol.md, "Which release").

use std::time::{Duration, Instant};

use super::client::{Client, ServerInfo};
use super::fault::RpcError;
use super::messages;
use super::msgpack::{Decoder, Header, Source};
use super::replies::ignored;
use super::version::{Generation, Operation};
use super::zmtp::Fault;
use crate::sys::deadline::Deadline;

/// The id of the first request: `NOOP` in 0.5.0 to 0.5.2, `GET_CHUNK_SIZE` since 0.5.3.
const FIRST_ID: u8 = 21;
/// How long to wait for the reply to a request after a later one of the same class was answered. Worker threads may reorder
/// replies by less than this, so that no reply by then means that the request failed.
const REORDER_MAX: Duration = Duration::from_millis(250);
/// A feature that is on by default since 0.5.6.
const EVENT_STREAM: &str = "kv_event_stream";

/// The reply to the first request.
enum FirstReply {
    Ok,
    ChunkSize(u64),
    Other(String),
}

/// `timeout` is the time that `wait` began with, for the error message.
pub(super) fn detect(client: &mut Client, wait: Deadline, timeout: Duration) -> Result<ServerInfo, RpcError> {
    let id = client.send_numbered(Operation::GetChunkSize, FIRST_ID, &[], wait)?;
    let reply = match client.next_reply(&[id], wait) {
        Ok(reply) => reply,
        Err(Fault::TimedOut) => {
            return Err(RpcError::Unreachable(format!(
                "a ZeroMQ server takes the connection but did not answer within {:.1} s: it is busy, its request thread \
                 has died (restart it), or it is older than LMCache 0.5.0",
                timeout.as_secs_f64()
            )));
        }
        Err(fault) => return Err(client.request_error(Operation::GetChunkSize, fault, wait)),
    };
    let first = client.read(Operation::GetChunkSize, &reply, wait, |reply| {
        let decoder: &mut Decoder<_> = messages::present(reply)?;
        Ok(match decoder.header()? {
            Header::Unsigned(size) => FirstReply::ChunkSize(size),
            Header::Text(bytes) => match decoder.text_of(bytes, "the answer")?.as_str() {
                "OK" => FirstReply::Ok,
                text => FirstReply::Other(format!("'{text}'")),
            },
            other => {
                let left = decoder.0.left();
                decoder.0.skip(left)?;
                FirstReply::Other(format!("{other:?}"))
            }
        })
    })?;
    let server = match first {
        FirstReply::Ok => first_numbering(client)?,
        FirstReply::ChunkSize(chunk_size) => second_numbering(client, chunk_size, wait)?,
        FirstReply::Other(answer) => {
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

/// 0.5.0 to 0.5.2.
fn first_numbering(client: &mut Client) -> Result<ServerInfo, RpcError> {
    client.server.generation = Generation::V0_5_0;
    Ok(ServerInfo {
        generation: Generation::V0_5_0,
        chunk_size: client.chunk_size()?,
        experimental: Vec::new(),
        is_0_5_0: false,
    })
}

/// Distinguishes the releases since 0.5.3. Sends ids 32 and 24, which are handled in order of arrival: releases before 0.5.5 do
/// not answer 32. If the features that 32 lists do not show 0.5.6, sends ids 11 and 22: 0.5.6 does not answer 11, and logs an
/// error, which is why it comes last.
fn second_numbering(client: &mut Client, chunk_size: u64, wait: Deadline) -> Result<ServerInfo, RpcError> {
    let found = |generation, experimental| ServerInfo {
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
    let mut request_id = Vec::new();
    super::msgpack::text(&mut request_id, &format!("lmcache-bench-probe-{}", std::process::id()));
    let hits = client.send_numbered(Operation::QueryPrefetchLookupHits, 11, &[request_id], wait)?;
    let ping = client.send_numbered(Operation::Ping, 22, &[vec![0xc0]], wait)?;
    let mut reply = client.receive(Operation::Ping, &[hits, ping], wait)?;
    client.read(Operation::Ping, &reply, wait, ignored)?;
    if reply.id == ping {
        let reordered = Deadline {
            at: Instant::now() + REORDER_MAX,
            ..wait
        };
        reply = match client.next_reply(&[hits], reordered) {
            Ok(reply) => reply,
            Err(Fault::TimedOut) => return Ok(found(Generation::V0_5_6, experimental)),
            Err(fault) => return Err(client.request_error(Operation::QueryPrefetchLookupHits, fault, wait)),
        };
        client.read(Operation::QueryPrefetchLookupHits, &reply, wait, ignored)?;
    }
    Ok(found(Generation::V0_5_5, experimental))
}
