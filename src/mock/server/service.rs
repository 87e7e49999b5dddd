//! How the mock server handles each operation, without waits and sockets. Requests that a real server does not answer get no
//! answer.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;

use super::cache::{Cache, ChunkId, Counts, chunk_prefixes};
use super::config::{Config, FaultKind};
use super::descriptor;
use super::memory::NO_EVENT;
use super::request;
use super::worker::{KvMemory, Worker, heads_first};
use crate::server::rpc::msgpack::{self, Malformed};
use crate::server::rpc::{Key, Operation};

/// Limit on each of workers, jobs and request ids.
pub(super) const ENTRIES_MAX: usize = 100_000;
pub(super) const CHUNK_SIZE_MAX: u64 = 1 << 20;

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The result, encoded; without one for void and nil.
    Reply(Option<Vec<u8>>),
    Silence,
}

pub struct Service {
    pub config: Config,
    pub cache: Cache,
    pub workers: HashMap<u64, Worker>,
    pub sessions: HashSet<String>,
    /// Results of lookups that no client has queried yet.
    pub jobs: HashMap<String, u64>,
    /// Slots that were prepared and not committed, by worker.
    pub(super) prepared: HashMap<u64, Vec<ChunkId>>,
    /// Tokens of a chunk; negotiable until a client has asked for it, where the release has that.
    pub chunk_size: u64,
    chunk_size_is_fixed: bool,
}

/// Silence, with a reason that a real server would log.
impl From<Malformed> for Outcome {
    fn from(_: Malformed) -> Outcome {
        Outcome::Silence
    }
}

pub(super) type Answer = Result<Outcome, Malformed>;

impl Service {
    pub fn new(config: Config) -> io::Result<Service> {
        let cache = Cache::new(config.memory_bytes, config.shm_name.as_deref())?;
        Ok(Service {
            chunk_size: config.chunk_size,
            chunk_size_is_fixed: false,
            config,
            cache,
            workers: HashMap::new(),
            sessions: HashSet::new(),
            jobs: HashMap::new(),
            prepared: HashMap::new(),
        })
    }

    /// Handles one request.
    pub fn handle(&mut self, operation: Operation, payloads: &[Vec<u8>]) -> Outcome {
        if self.config.fault(FaultKind::UnknownOp, operation) {
            return Outcome::Silence;
        }
        if self.config.fault(FaultKind::Refuse, operation) {
            return refusal(operation);
        }
        self.answer(operation, payloads).unwrap_or(Outcome::Silence)
    }

    fn answer(&mut self, operation: Operation, payloads: &[Vec<u8>]) -> Answer {
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        match (operation, payloads.as_slice()) {
            (Operation::Noop, []) => Ok(reply(|out| msgpack::text(out, "OK"))),
            (Operation::GetChunkSize, []) => {
                self.chunk_size_is_fixed = true;
                Ok(number(self.chunk_size))
            }
            (Operation::NegotiateChunkSize, [alignment]) => self.negotiate_chunk_size(request::number(alignment)?),
            (Operation::Ping, [id]) => request::optional_number(id).map(|_| boolean(true)),
            (Operation::GetExperimental, []) => Ok(self.experimental()),
            (Operation::QueryPrefetchLookupHits, [id]) => request::text(id).map(|_| number(0)),
            (Operation::Clear, parameters) => self.clear(parameters),
            (Operation::Lookup, [key, tp_size]) => self.lookup(key, tp_size),
            (Operation::QueryPrefetchStatus, [id]) => Ok(self.job(&request::text(id)?)),
            (Operation::WaitPrefetchStatus, [id, _]) => Ok(self.job(&request::text(id)?)),
            (Operation::FreeLookupLocks, [key, tp_size, extra @ ..])
                if extra.len() == usize::from(self.config.generation.frees_extra_ranges) =>
            {
                self.free_lookup_locks(key, tp_size, extra.first().copied())
            }
            (Operation::EndSession, [id]) => {
                self.sessions.remove(&request::text(id)?);
                Ok(Outcome::Reply(None))
            }
            (operation, payloads) => self.answer_transfer(operation, payloads),
        }
    }

    fn answer_transfer(&mut self, operation: Operation, payloads: &[&[u8]]) -> Answer {
        let engine = self.config.engine_driven;
        let lmcache = self.config.lmcache_driven;
        match (operation, payloads) {
            (Operation::RegisterKvCache, parameters) if lmcache => self.register_kv_cache(parameters),
            (Operation::UnregisterKvCache, [id]) if lmcache => self.unregister(id),
            (Operation::Store, [key, id, blocks, event]) if lmcache => self.store(key, id, blocks, event),
            (Operation::Retrieve, [key, id, blocks, event, skip]) if lmcache => {
                self.retrieve(key, id, blocks, event, skip)
            }
            (Operation::RegisterEngineContext, [registration]) if engine => self.register_engine(registration),
            (Operation::UnregisterEngineContext, [id]) if engine => self.unregister(id),
            (Operation::PrepareStore, [key, id, skipped @ ..])
                if engine && skipped.len() == usize::from(self.config.generation.prepares_with_skipped_chunks) =>
            {
                self.prepare_store(key, id, skipped.first().copied())
            }
            (Operation::CommitStore, [key, id, data]) if engine => self.commit_store(key, id, data),
            (Operation::PrepareRetrieve, [key, id]) if engine => self.prepare_retrieve(key, id),
            (Operation::CommitRetrieve, [key, id]) if engine => self.commit_retrieve(key, id),
            _ => Ok(Outcome::Silence),
        }
    }

    fn experimental(&self) -> Outcome {
        let names = self.config.generation.experimental;
        reply(|out| {
            msgpack::array(out, names.len());
            names.iter().for_each(|name| msgpack::text(out, name));
        })
    }

    /// Rounds the chunk size up to a multiple of `alignment`, once. Silence where the size is fixed and no multiple, and where
    /// sessions exist.
    fn negotiate_chunk_size(&mut self, alignment: u64) -> Answer {
        let known = self.config.generation.asking_fixes_chunk_size;
        if !known || alignment == 0 || alignment > CHUNK_SIZE_MAX {
            return Ok(Outcome::Silence);
        }
        let rounded = match self.chunk_size_is_fixed {
            true => self.chunk_size,
            false => self.chunk_size.next_multiple_of(alignment),
        };
        let changes_under_sessions = rounded != self.chunk_size && !self.sessions.is_empty();
        if !rounded.is_multiple_of(alignment) || changes_under_sessions {
            return Ok(Outcome::Silence);
        }
        (self.chunk_size, self.chunk_size_is_fixed) = (rounded, true);
        Ok(number(rounded))
    }

    fn clear(&mut self, parameters: &[&[u8]]) -> Answer {
        let force = match (self.config.generation.clear_takes_force, parameters) {
            (true, [force]) => request::whole(force, |decoder| decoder.boolean("force"))?,
            (false, []) => true,
            _ => return Ok(Outcome::Silence),
        };
        self.cache.clear(force);
        Ok(Outcome::Reply(None))
    }

    // ---- keys -------------------------------------------------------------------------------------------------------

    pub(super) fn remember(&mut self, key: &Key) {
        if self.sessions.len() < ENTRIES_MAX {
            self.sessions.insert(key.request_id.clone());
        }
    }

    /// Digests of the chunks `start..end`, if those are whole chunks.
    pub(super) fn range(&self, key: &Key) -> Option<Vec<u64>> {
        let size = self.chunk_size;
        let whole = key.start.is_multiple_of(size) && key.end.is_multiple_of(size);
        let first = (key.start / size) as usize;
        whole.then(|| chunk_prefixes(key, key.end, size).split_off(first))
    }

    /// A transfer's key, chunks and worker; silence for what real servers do not answer.
    pub(super) fn transfer(&mut self, key: &[u8], id: &[u8]) -> Result<Option<(Vec<ChunkId>, u64)>, Malformed> {
        let (key, id) = (request::key(key, self.config.generation)?, request::number(id)?);
        let (Some(rank), Some(prefixes)) = (key.worker_id, self.range(&key)) else {
            return Ok(None);
        };
        self.remember(&key);
        let chunks = prefixes.into_iter().map(|prefix| ChunkId::new(prefix, rank)).collect();
        Ok(Some((chunks, id)))
    }

    // ---- lmcache-driven ----------------------------------------------------------------------------------------------

    fn register_kv_cache(&mut self, parameters: &[&[u8]]) -> Answer {
        let [id, tensors, model_name, world_size, engine, hints, groups] = parameters else {
            return Ok(Outcome::Silence);
        };
        let id = request::number(id)?;
        let descriptors = descriptor::descriptors(tensors, self.config.generation)?;
        let model_name = request::text(model_name)?;
        let world_size = u32::try_from(request::number(world_size)?).map_err(|_| Malformed("world_size".into()))?;
        let engine = request::text(engine)?;
        let layout = heads_first(self.config.generation, request::kv_layout(hints)?.as_deref());
        let groups = request::groups(groups)?;
        if !["vllm", "sglang", "trtllm", "mock"].contains(&engine.as_str()) || self.workers.len() >= ENTRIES_MAX {
            return Ok(Outcome::Silence);
        }
        let Some(heads_first) = layout else {
            return Ok(Outcome::Silence);
        };
        if let Entry::Vacant(vacant) = self.workers.entry(id) {
            let Ok(memory) = KvMemory::open((model_name, world_size), &descriptors, groups, heads_first) else {
                return Ok(Outcome::Silence);
            };
            vacant.insert(Worker::LmcacheDriven(memory));
        }
        Ok(Outcome::Reply(None))
    }

    fn unregister(&mut self, id: &[u8]) -> Answer {
        let id = request::number(id)?;
        self.workers.remove(&id);
        // As in real servers, a prepared chunk is published, whatever it holds.
        for chunk in self.prepared.remove(&id).unwrap_or_default() {
            self.cache.publish(chunk);
        }
        Ok(Outcome::Reply(None))
    }

    /// The answer about a worker that is not registered.
    fn unknown_worker(&self) -> Outcome {
        match self.config.generation.answers_unknown_instances {
            true => transferred(b"", false),
            false => Outcome::Silence,
        }
    }

    fn store(&mut self, key: &[u8], id: &[u8], blocks: &[u8], event: &[u8]) -> Answer {
        let (blocks, event) = (request::block_ids(blocks)?, request::binary(event)?);
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let Some(Worker::LmcacheDriven(memory)) = self.workers.get_mut(&id) else {
            return Ok(self.unknown_worker());
        };
        if blocks.len() != memory.groups.len() || !memory.memories.await_client(event) {
            return Ok(Outcome::Silence);
        }
        let size = self.chunk_size;
        let bytes = memory.chunk_bytes(size);
        for (number, chunk) in chunks.into_iter().enumerate() {
            let is_null = |(group, ids): (&request::Group, &Vec<u64>)| {
                let count = memory.chunk_blocks(group, size);
                let ids = ids.get(number * count..(number + 1) * count);
                ids.is_some_and(|ids| ids.iter().all(|id| *id == 0))
            };
            let null = self.config.generation.skips_null_blocks && memory.groups.iter().zip(&blocks).all(is_null);
            if null || !self.cache.reserve(chunk, bytes) {
                continue;
            }
            if !memory.store(&mut self.cache, chunk, &blocks, number, size) {
                self.cache.abandon(chunk);
                return Ok(transferred(&memory.memories.answer_event(), false));
            }
            self.cache.publish(chunk);
        }
        Ok(transferred(&memory.memories.answer_event(), true))
    }

    fn retrieve(&mut self, key: &[u8], id: &[u8], blocks: &[u8], event: &[u8], skip: &[u8]) -> Answer {
        let (blocks, event, skip) = (
            request::block_ids(blocks)?,
            request::binary(event)?,
            request::number(skip)?,
        );
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let corrupt = self.config.fault(FaultKind::Corrupt, Operation::Retrieve);
        let Some(Worker::LmcacheDriven(memory)) = self.workers.get_mut(&id) else {
            return Ok(self.unknown_worker());
        };
        if blocks.len() != memory.groups.len() || !memory.memories.await_client(event) {
            return Ok(Outcome::Silence);
        }
        let size = self.chunk_size;
        let bytes = memory.chunk_bytes(size);
        if chunks.iter().any(|chunk| self.cache.readable(*chunk) != Some(bytes)) {
            return Ok(transferred(NO_EVENT, false));
        }
        if self.config.fault(FaultKind::MoveNothing, Operation::Retrieve) {
            chunks.iter().for_each(|chunk| self.cache.unlock(*chunk, 1));
            return Ok(transferred(NO_EVENT, true));
        }
        let cache = &self.cache;
        let mut chunk =
            |(number, id): (usize, &ChunkId)| memory.retrieve(cache, *id, &blocks, (number, size), skip, corrupt);
        let copied = chunks.iter().enumerate().all(&mut chunk);
        chunks.iter().for_each(|chunk| self.cache.unlock(*chunk, 1));
        Ok(transferred(&memory.memories.answer_event(), copied))
    }

    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }
}

pub(super) fn reply(encode: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let mut out = Vec::new();
    encode(&mut out);
    Outcome::Reply(Some(out))
}

pub(super) fn boolean(value: bool) -> Outcome {
    reply(|out| msgpack::boolean(out, value))
}

pub(super) fn number(value: u64) -> Outcome {
    reply(|out| msgpack::unsigned(out, value))
}

fn transferred(event: &[u8], accepted: bool) -> Outcome {
    reply(|out| {
        msgpack::array(out, 2);
        msgpack::binary(out, event);
        msgpack::boolean(out, accepted);
    })
}

fn refusal(operation: Operation) -> Outcome {
    match operation {
        Operation::Store | Operation::Retrieve => transferred(NO_EVENT, false),
        Operation::CommitStore | Operation::CommitRetrieve | Operation::Ping => boolean(false),
        Operation::QueryPrefetchStatus | Operation::WaitPrefetchStatus => number(0),
        Operation::PrepareRetrieve => reply(|out| {
            msgpack::map(out, 1);
            msgpack::text(out, "success");
            msgpack::boolean(out, false);
        }),
        _ => Outcome::Silence,
    }
}
