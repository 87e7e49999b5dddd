//! Finds out which generation a server is, with requests that no release takes harm from (docs/protocol.md). It must never
//! send an operation that some release does not know, nor one that changes anything.

use std::time::{Duration, Instant};

use super::client::{Client, Server};
use super::fault::RpcError;
use super::messages;
use super::msgpack::{Decoder, Head, Source};
use super::version::{Generation, Operation};
use super::zmtp::{Fault, Wait};

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

pub(super) fn detect(client: &mut Client, wait: Wait, deadline: Duration) -> Result<Server, RpcError> {
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
        0 => Err(RpcError::Unreachable("the server says that its chunk size is 0".into())),
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

/// Ids 32, 24, 11 and 22 in one go. 0.5.5 answers the first and third, earlier releases only the third, later ones only
/// the first; the second and fourth, which all answer, tell when silence is final.
fn second_numbering(client: &mut Client, chunk_size: u64, wait: Wait) -> Result<Server, RpcError> {
    let mut made_up = Vec::new();
    super::msgpack::text(&mut made_up, &format!("lmcache-bench-probe-{}", std::process::id()));
    let experimental = client.send_numbered(Operation::GetExperimental, 32, &[], wait)?;
    let noop = client.send_numbered(Operation::Noop, 24, &[], wait)?;
    let hits = client.send_numbered(Operation::QueryPrefetchLookupHits, 11, &[made_up], wait)?;
    let ping = client.send_numbered(Operation::Ping, 22, &[vec![0xc0]], wait)?;
    let mut seen = Seen::default();
    let mut wait = wait;
    while seen.verdict().is_none() {
        let reply = match client.next_reply(&[experimental, noop, hits, ping], wait) {
            Ok(reply) => reply,
            Err(Fault::TimedOut) if seen.pinged => break,
            Err(fault) => return Err(client.told(Operation::GetExperimental, fault, wait)),
        };
        if reply.id == experimental {
            let names = client.read(Operation::GetExperimental, &reply, wait, |reply| {
                messages::names(messages::present(reply)?)
            });
            seen.experimental = Some(names?);
            continue;
        }
        client.read(Operation::Noop, &reply, wait, |reply| match reply {
            Some(decoder) => decoder.skip(),
            None => Ok(()),
        })?;
        seen.nooped |= reply.id == noop;
        seen.answered_hits |= reply.id == hits;
        if reply.id == ping {
            seen.pinged = true;
            wait.until = wait.until.min(Instant::now() + SILENCE);
        }
    }
    Ok(Server {
        generation: seen.verdict().unwrap_or(Generation::V0_5_6),
        chunk_size,
        experimental: seen.experimental.unwrap_or_default(),
        is_0_5_0: false,
    })
}

#[derive(Default)]
struct Seen {
    experimental: Option<Vec<String>>,
    nooped: bool,
    answered_hits: bool,
    pinged: bool,
}

impl Seen {
    fn verdict(&self) -> Option<Generation> {
        match &self.experimental {
            Some(names) if names.iter().any(|name| name == EVENT_STREAM) => Some(Generation::V0_5_6),
            Some(_) if self.answered_hits => Some(Generation::V0_5_5),
            // Both are answered in order of arrival, so the silence of the first is final.
            None if self.nooped => Some(Generation::V0_5_3),
            _ => None,
        }
    }
}
