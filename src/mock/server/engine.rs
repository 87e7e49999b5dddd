//! The engine-driven operations of the mock: slots in shared memory, or chunks inside the messages.

use std::convert::Infallible;

use super::cache::ChunkId;
use super::chunk_pickle;
use super::config::FaultKind;
use super::request;
use super::service::{Answer, Outcome, Service, boolean, reply};
use super::worker::Worker;
use crate::server::rpc::inline::{self, ChunkFrame, Form};
use crate::server::rpc::msgpack;
use crate::server::rpc::{ChunkLayout, ChunkSink, Inline, Operation};

/// More than a worker can prepare in one request.
const PREPARED_MAX: usize = 1 << 20;

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

    /// `skipped`: the chunks that a worker with several layer groups leaves out; others have none.
    pub(super) fn prepare_store(&mut self, key: &[u8], id: &[u8], skipped: Option<&[u8]>) -> Answer {
        if skipped.map_or(Ok(0), |skipped| {
            request::whole(skipped, |decoder| decoder.array("skipped_chunks"))
        })? > 0
        {
            return Ok(Outcome::Silence);
        }
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
        // Servers of envelopes take chunks inside of messages in the place of slots that were not asked for.
        let inline = self.config.generation.inline == Inline::Envelope && !data.is_empty();
        if self.cache.pool_bytes().is_some() && !inline {
            let pending = self.prepared.remove(&id).unwrap_or_default();
            let (ours, others): (Vec<ChunkId>, Vec<ChunkId>) =
                pending.into_iter().partition(|chunk| chunks.contains(chunk));
            ours.iter().for_each(|chunk| self.cache.publish(*chunk));
            self.prepared.insert(id, others);
            return Ok(boolean(!ours.is_empty()));
        }
        self.commit_inline(data, &chunks, &layout)
    }

    /// Stores the chunks of a message that are not there yet.
    fn commit_inline(&mut self, data: &[u8], chunks: &[ChunkId], layout: &ChunkLayout) -> Answer {
        let form = match self.config.generation.inline {
            Inline::Pickle => Form::TorchOrBare,
            Inline::Envelope => Form::Envelope,
        };
        let read = |sink: &mut ChunkSink| {
            let mut from = data;
            inline::read_chunks(&mut from, data.len() as u64, layout, form, sink)
        };
        if form == Form::Envelope {
            // Such servers check all of it before they reserve anything.
            read(&mut |_, _, _| {})?;
        }
        let bytes = layout.chunk_bytes();
        let fresh: Vec<bool> = chunks.iter().map(|chunk| self.cache.reserve(*chunk, bytes)).collect();
        let cache = &mut self.cache;
        let read = read(&mut |number, at, piece| {
            if fresh[number] {
                cache.write(chunks[number], at, piece);
            }
        });
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
            data = chunk_data(self.config.generation.inline, &layout, &mut |number, to| {
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

/// Chunks as they travel inside of an answer.
pub(crate) fn chunk_data(form: Inline, layout: &ChunkLayout, chunk: &mut dyn FnMut(usize, &mut [u8])) -> Vec<u8> {
    if form == Inline::Pickle {
        return chunk_pickle::chunk_list(layout, chunk);
    }
    let frame = ChunkFrame::new(form, layout);
    let mut out = Vec::with_capacity(usize::try_from(frame.bytes()).unwrap_or(0));
    let mut buffer = vec![0; layout.chunk_bytes() as usize];
    let mut source = |number: usize, visit: &mut dyn FnMut(&[u8])| {
        chunk(number, &mut buffer);
        visit(&buffer);
    };
    let Ok(()) = frame.write::<Infallible>(&mut source, &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    });
    out
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
