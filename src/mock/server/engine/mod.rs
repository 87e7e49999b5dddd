//! The engine-driven operations of the mock: slots in shared memory, or chunks inside the messages (`inline`). A worker may have
//! several layer groups, each with chunks of its own.

use super::cache::ChunkId;
use super::config::FaultKind;
use super::request::{self, ChunkGroup};
use super::service::{Answer, Outcome, Service, boolean, reply};
use super::worker::Worker;
use crate::server::rpc::msgpack;
use crate::server::rpc::{ChunkLayout, Inline, Operation};

pub(crate) mod inline;

/// More than a worker can prepare in one request.
const PREPARED_MAX: usize = 1 << 20;

/// One chunk of one layer group.
#[derive(Clone, Copy)]
struct Object {
    group: usize,
    /// The chunk's number in its request.
    number: usize,
    id: ChunkId,
}

impl Service {
    pub(super) fn register_engine(&mut self, registration: &[u8]) -> Answer {
        let generation = self.config.generation;
        let registration = request::engine_registration(registration, generation, self.chunk_size)?;
        let id = registration.instance_id;
        self.workers.entry(id).or_insert(Worker::EngineDriven(registration));
        let (shm_name, bytes) = match (&self.config.shm_name, self.cache.pool_bytes()) {
            (Some(name), Some(bytes)) => (name.as_str(), bytes),
            _ => ("", 0),
        };
        Ok(reply(|out| {
            let names_null_block = generation.groups_engine_layouts;
            msgpack::map(out, 2 + usize::from(names_null_block));
            msgpack::text(out, "shm_name");
            msgpack::text(out, shm_name);
            msgpack::text(out, "pool_size");
            msgpack::unsigned(out, bytes);
            if names_null_block {
                msgpack::text(out, "null_block_id");
                msgpack::unsigned(out, 0);
            }
        }))
    }

    /// A transfer's chunks, the worker's layer groups and its id; silence for what real servers do not answer.
    fn engine_transfer(&mut self, key: &[u8], id: &[u8]) -> Result<Option<Transfer>, msgpack::Malformed> {
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(None);
        };
        Ok(match self.workers.get(&id) {
            Some(Worker::EngineDriven(engine)) => Some(Transfer {
                chunks,
                id,
                groups: engine.groups.clone(),
            }),
            _ => None,
        })
    }

    /// `skipped`: for each of several layer groups the numbers of chunks that are left out.
    pub(super) fn prepare_store(&mut self, key: &[u8], id: &[u8], skipped: Option<&[u8]>) -> Answer {
        let Some(transfer) = self.engine_transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let skipped = skipped.map_or(Ok(Vec::new()), request::block_ids)?;
        if !skipped.is_empty() && (transfer.groups.len() < 2 || skipped.len() != transfer.groups.len()) {
            return Ok(Outcome::Silence);
        }
        if self.cache.pool_bytes().is_none() {
            return Ok(reply(|out| context(out, None, &[], &transfer, self)));
        }
        let is_skipped = |object: &Object| {
            let of_group = skipped.get(object.group);
            of_group.is_some_and(|numbers| numbers.contains(&(object.number as u64)))
        };
        let wanted = transfer.objects(|_| 0).into_iter().filter(|object| !is_skipped(object));
        let reserved: Vec<Object> = wanted
            .filter(|object| {
                let bytes = transfer.layout(object.group, 1).chunk_bytes();
                self.cache.reserve(object.id, bytes)
            })
            .collect();
        let pending = self.prepared.entry(transfer.id).or_default();
        if pending.len() + reserved.len() <= PREPARED_MAX {
            pending.extend(reserved.iter().map(|object| object.id));
        }
        Ok(reply(|out| context(out, Some(Step::Store), &reserved, &transfer, self)))
    }

    pub(super) fn commit_store(&mut self, key: &[u8], id: &[u8], data: &[u8]) -> Answer {
        let Some(transfer) = self.engine_transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let data = request::binary(data)?;
        // Servers of envelopes take chunks inside of messages in the place of slots that were not asked for.
        let inline = self.config.generation.inline == Inline::Envelope && !data.is_empty();
        if self.cache.pool_bytes().is_some() && !inline {
            let pending = self.prepared.remove(&transfer.id).unwrap_or_default();
            let is_ours = |chunk: &ChunkId| transfer.chunks.contains(&chunk.of_group(0));
            let (ours, others): (Vec<ChunkId>, Vec<ChunkId>) = pending.into_iter().partition(is_ours);
            ours.iter().for_each(|chunk| self.cache.publish(*chunk));
            self.prepared.insert(transfer.id, others);
            return Ok(boolean(!ours.is_empty()));
        }
        match transfer.groups.len() {
            1 => self.commit_inline(data, &transfer.chunks, &transfer.layout(0, transfer.chunks.len())),
            _ => self.commit_groups(data, &transfer),
        }
    }

    pub(super) fn prepare_retrieve(&mut self, key: &[u8], id: &[u8]) -> Answer {
        let Some(transfer) = self.engine_transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let objects = transfer.objects(|group| group.first_of(transfer.chunks.len()));
        let is_readable = |object: &Object| {
            let bytes = transfer.layout(object.group, 1).chunk_bytes();
            self.cache.readable(object.id) == Some(bytes)
        };
        let success = objects.iter().all(is_readable);
        let corrupt = success && self.config.fault(FaultKind::Corrupt, Operation::PrepareRetrieve);
        let inline = self.cache.pool_bytes().is_none();
        if corrupt && !inline {
            for object in &objects {
                let mut first = [0];
                self.cache.read(object.id, 0, &mut first);
                self.cache.write(object.id, 0, &[first[0] ^ 1]);
            }
        }
        let mut data = Vec::new();
        if success && inline {
            data = self.inline_chunks(&transfer, &objects, corrupt);
            objects.iter().for_each(|object| self.cache.unlock(object.id, 1));
        }
        let step = (success && !inline).then_some(Step::Retrieve);
        Ok(reply(|out| {
            msgpack::map(out, 3);
            msgpack::text(out, "success");
            msgpack::boolean(out, success);
            msgpack::text(out, "data");
            msgpack::binary(out, &data);
            context_entry(out, step, &objects, &transfer, self);
        }))
    }

    pub(super) fn commit_retrieve(&mut self, key: &[u8], id: &[u8]) -> Answer {
        if self.transfer(key, id)?.is_none() {
            return Ok(Outcome::Silence);
        }
        let Some(transfer) = self.engine_transfer(key, id)? else {
            return Ok(boolean(true));
        };
        if self.cache.pool_bytes().is_some() {
            let objects = transfer.objects(|group| group.first_of(transfer.chunks.len()));
            objects.iter().for_each(|object| self.cache.unlock(object.id, 1));
        }
        Ok(boolean(true))
    }
}

/// The chunks of one request of a worker.
struct Transfer {
    /// Of the first group.
    chunks: Vec<ChunkId>,
    id: u64,
    groups: Vec<ChunkGroup>,
}

impl Transfer {
    /// Shape of one chunk of a group, for so many of them.
    fn layout(&self, group: usize, chunks: usize) -> ChunkLayout {
        ChunkLayout {
            dtype: self.groups[group].dtype,
            shape: self.groups[group].shape.clone(),
            chunks,
        }
    }

    /// The chunks of all groups, group by group, each from number `first` on.
    fn objects(&self, first: impl Fn(&ChunkGroup) -> usize) -> Vec<Object> {
        let of_group = |(group, facts): (usize, &ChunkGroup)| {
            let chunks = self.chunks.iter().enumerate().skip(first(facts));
            let object = move |(number, id): (usize, &ChunkId)| Object {
                group,
                number,
                id: id.of_group(group as u32),
            };
            chunks.map(object).collect::<Vec<_>>()
        };
        self.groups.iter().enumerate().flat_map(of_group).collect()
    }
}

/// The order of the lists in a context.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Store,
    Retrieve,
}

/// The result of `PREPARE_STORE`; without a step there is nothing in its context.
fn context(out: &mut Vec<u8>, step: Option<Step>, objects: &[Object], transfer: &Transfer, service: &Service) {
    msgpack::map(out, 1);
    context_entry(out, step, objects, transfer, service);
}

/// The entry `context` of a map.
fn context_entry(out: &mut Vec<u8>, step: Option<Step>, objects: &[Object], transfer: &Transfer, service: &Service) {
    msgpack::text(out, "context");
    let has_groups = transfer.groups.len() > 1;
    let lists: &[&str] = match step {
        None => &[],
        Some(Step::Store) if has_groups => &["slots", "chunk_indices", "group_ids"],
        Some(Step::Store) => &["slots", "chunk_indices"],
        Some(Step::Retrieve) if has_groups => &["slots", "group_ids", "chunk_indices"],
        Some(Step::Retrieve) if objects.is_empty() => &[],
        Some(Step::Retrieve) => &["slots"],
    };
    msgpack::map(out, lists.len());
    for list in lists {
        msgpack::text(out, list);
        match *list {
            "slots" => slots(out, objects, transfer, service),
            "chunk_indices" => msgpack::numbers(out, objects.iter().map(|object| object.number as u64)),
            _ => msgpack::numbers(out, objects.iter().map(|object| object.group as u64)),
        }
    }
}

fn slots(out: &mut Vec<u8>, objects: &[Object], transfer: &Transfer, service: &Service) {
    msgpack::array(out, objects.len());
    for object in objects {
        let layout = transfer.layout(object.group, 1);
        msgpack::map(out, 4);
        msgpack::text(out, "offset");
        msgpack::unsigned(out, service.cache.offset(object.id).unwrap_or(0));
        msgpack::text(out, "length");
        msgpack::unsigned(out, layout.chunk_bytes());
        msgpack::text(out, "shape");
        msgpack::numbers(out, layout.shape.iter().copied());
        msgpack::text(out, "dtype");
        msgpack::text(out, layout.dtype.name());
    }
}
