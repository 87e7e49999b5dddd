//! The engine-driven operations of the mock: slots in shared memory, or chunks inside the messages.

use super::cache::ChunkId;
use super::chunk_pickle;
use super::config::FaultKind;
use super::request;
use super::service::{Answer, Outcome, Service, boolean, reply};
use super::worker::Worker;
use crate::server::rpc::msgpack;
use crate::server::rpc::pickle::{self, Form};
use crate::server::rpc::{ChunkLayout, Operation};

/// More than a worker can prepare in one request.
const PREPARED_MAX: usize = 1 << 20;

impl Service {
    pub(super) fn register_engine(&mut self, registration: &[u8]) -> Answer {
        let generation = self.config.generation;
        let registration = request::engine_registration(registration, generation, self.config.chunk_size)?;
        let id = registration.instance_id;
        self.workers.entry(id).or_insert(Worker::EngineDriven(registration));
        let (shm_name, bytes) = match (&self.config.shm_name, self.cache.pool_bytes()) {
            (Some(name), Some(bytes)) => (name.as_str(), bytes),
            _ => ("", 0),
        };
        Ok(reply(|out| {
            msgpack::map(out, 2);
            msgpack::text(out, "shm_name");
            msgpack::text(out, shm_name);
            msgpack::text(out, "pool_size");
            msgpack::unsigned(out, bytes);
        }))
    }

    /// Shape of one chunk of the worker, for so many of them.
    fn layout(&self, id: u64, chunks: usize) -> Option<ChunkLayout> {
        match self.workers.get(&id)? {
            Worker::EngineDriven(engine) => Some(ChunkLayout {
                dtype: engine.dtype,
                shape: engine.shape.clone(),
                chunks,
            }),
            Worker::LmcacheDriven(_) => None,
        }
    }

    pub(super) fn prepare_store(&mut self, key: &[u8], id: &[u8]) -> Answer {
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let Some(layout) = self.layout(id, chunks.len()) else {
            return Ok(Outcome::Silence);
        };
        if self.cache.pool_bytes().is_none() {
            return Ok(context(&layout, None, &[], self));
        }
        let bytes = layout.chunk_bytes();
        let mut reserved = Vec::new();
        let mut indices = Vec::new();
        for (number, chunk) in chunks.into_iter().enumerate() {
            if self.cache.reserve(chunk, bytes) {
                reserved.push(chunk);
                indices.push(number as u64);
            }
        }
        let pending = self.prepared.entry(id).or_default();
        if pending.len() + reserved.len() <= PREPARED_MAX {
            pending.extend_from_slice(&reserved);
        }
        Ok(context(&layout, Some(&indices), &reserved, self))
    }

    pub(super) fn commit_store(&mut self, key: &[u8], id: &[u8], data: &[u8]) -> Answer {
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let data = request::binary(data)?;
        let Some(layout) = self.layout(id, chunks.len()) else {
            return Ok(Outcome::Silence);
        };
        if self.cache.pool_bytes().is_some() {
            let pending = self.prepared.remove(&id).unwrap_or_default();
            let (ours, others): (Vec<ChunkId>, Vec<ChunkId>) =
                pending.into_iter().partition(|chunk| chunks.contains(chunk));
            ours.iter().for_each(|chunk| self.cache.publish(*chunk));
            self.prepared.insert(id, others);
            return Ok(boolean(!ours.is_empty()));
        }
        let fresh: Vec<bool> = chunks
            .iter()
            .map(|chunk| self.cache.reserve(*chunk, layout.chunk_bytes()))
            .collect();
        let cache = &mut self.cache;
        let mut from = data;
        let read = pickle::read_chunks(
            &mut from,
            data.len() as u64,
            &layout,
            Form::TorchOrBare,
            &mut |number, at, piece| {
                if fresh[number] {
                    cache.write(chunks[number], at, piece);
                }
            },
        );
        for (chunk, _) in chunks.iter().zip(&fresh).filter(|(_, fresh)| **fresh) {
            match read {
                Ok(()) => self.cache.publish(*chunk),
                Err(_) => self.cache.abandon(*chunk),
            }
        }
        read.map(|()| boolean(true))
    }

    pub(super) fn prepare_retrieve(&mut self, key: &[u8], id: &[u8]) -> Answer {
        let Some((chunks, id)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        let Some(layout) = self.layout(id, chunks.len()) else {
            return Ok(Outcome::Silence);
        };
        let bytes = layout.chunk_bytes();
        let success = chunks.iter().all(|chunk| self.cache.readable(*chunk) == Some(bytes));
        let corrupt = success && self.config.fault(FaultKind::Corrupt, Operation::PrepareRetrieve);
        let inline = self.cache.pool_bytes().is_none();
        if corrupt && !inline {
            for chunk in &chunks {
                let mut first = [0];
                self.cache.read(*chunk, 0, &mut first);
                self.cache.write(*chunk, 0, &[first[0] ^ 1]);
            }
        }
        let mut data = Vec::new();
        if success && inline {
            data = chunk_pickle::chunk_list(&layout, &mut |number, to| {
                self.cache.read(chunks[number], 0, to);
                if corrupt && let Some(first) = to.first_mut() {
                    *first ^= 1;
                }
            });
            chunks.iter().for_each(|chunk| self.cache.unlock(*chunk, 1));
        }
        let listed: &[ChunkId] = if success && !inline { &chunks } else { &[] };
        Ok(reply(|out| {
            msgpack::map(out, 3);
            msgpack::text(out, "success");
            msgpack::boolean(out, success);
            msgpack::text(out, "data");
            msgpack::binary(out, &data);
            msgpack::text(out, "context");
            msgpack::map(out, usize::from(!listed.is_empty()));
            if !listed.is_empty() {
                slots(out, &layout, listed, self);
            }
        }))
    }

    pub(super) fn commit_retrieve(&mut self, key: &[u8], id: &[u8]) -> Answer {
        let Some((chunks, _)) = self.transfer(key, id)? else {
            return Ok(Outcome::Silence);
        };
        if self.cache.pool_bytes().is_some() {
            chunks.iter().for_each(|chunk| self.cache.unlock(*chunk, 1));
        }
        Ok(boolean(true))
    }
}

/// The result of `PREPARE_STORE`; without indices there is nothing in it.
fn context(layout: &ChunkLayout, indices: Option<&[u64]>, chunks: &[ChunkId], service: &Service) -> Outcome {
    reply(|out| {
        msgpack::map(out, 1);
        msgpack::text(out, "context");
        let Some(indices) = indices else {
            msgpack::map(out, 0);
            return;
        };
        msgpack::map(out, 2);
        slots(out, layout, chunks, service);
        msgpack::text(out, "chunk_indices");
        msgpack::numbers(out, indices.iter().copied());
    })
}

fn slots(out: &mut Vec<u8>, layout: &ChunkLayout, chunks: &[ChunkId], service: &Service) {
    msgpack::text(out, "slots");
    msgpack::array(out, chunks.len());
    for chunk in chunks {
        msgpack::map(out, 4);
        msgpack::text(out, "offset");
        msgpack::unsigned(out, service.cache.offset(*chunk).unwrap_or(0));
        msgpack::text(out, "length");
        msgpack::unsigned(out, layout.chunk_bytes());
        msgpack::text(out, "shape");
        msgpack::numbers(out, layout.shape.iter().copied());
        msgpack::text(out, "dtype");
        msgpack::text(out, layout.dtype.name());
    }
}
