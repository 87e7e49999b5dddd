//! The lookups of the mock: which chunks are there, and their read locks.

use super::cache::{ChunkId, chunk_prefixes};
use super::config::FaultKind;
use super::request::{self, ChunkGroup};
use super::service::{Answer, ENTRIES_MAX, Outcome, Service, number};
use super::worker::Worker;
use crate::server::rpc::{Key, Operation};

impl Service {
    /// How often a lookup locks each chunk that it hits; nothing for a key that a real server does not answer.
    fn readers(&self, key: &Key, tp_size: u64) -> Option<u32> {
        if self.config.generation.key_counts_readers {
            return (key.num_kv_readers > 0).then_some(key.num_kv_readers);
        }
        let tp_size = u32::try_from(tp_size).ok()?;
        Some(if tp_size > key.world_size { tp_size } else { 1 })
    }

    pub(super) fn lookup(&mut self, key: &[u8], tp_size: &[u8]) -> Answer {
        let key = request::key(key, self.config.generation)?;
        let Some(readers) = self.readers(&key, request::number(tp_size)?) else {
            return Ok(Outcome::Silence);
        };
        self.remember(&key);
        let end = match self.config.generation.lookup_honours_end {
            true => key.end,
            false => key.token_ids.len() as u64,
        };
        let prefixes = chunk_prefixes(&key, end, self.chunk_size);
        let windows = self.windows(&key);
        // The chunks before `start` are taken for held by the engine.
        let first = match self.config.generation.lookup_honours_start && windows.is_some() {
            true => prefixes.len().min((key.start / self.chunk_size) as usize),
            false => 0,
        };
        let windows = windows.unwrap_or_default();
        let mut hits = self.hits(&key, &prefixes, first, &windows);
        if self.config.fault(FaultKind::PartialHit, Operation::Lookup) {
            hits = hits.saturating_sub(1).max(first);
        }
        for (group, window) in (0..).zip(&windows) {
            for &prefix in &prefixes[first.max(window.first_of(hits)).min(hits)..hits] {
                let chunk = |rank| ChunkId { prefix, rank, group };
                (0..key.world_size).for_each(|rank| self.cache.lock(chunk(rank), readers));
            }
        }
        if self.jobs.len() < ENTRIES_MAX {
            self.jobs.insert(key.request_id, hits as u64);
        }
        Ok(Outcome::Reply(None))
    }

    /// The layer groups of the key's model, of which a worker must be registered. Workers that the server copies for have one.
    fn windows(&self, key: &Key) -> Option<Vec<ChunkGroup>> {
        let mut workers = self.workers.values();
        let worker = workers.find(|worker| worker.model() == (&key.model_name, key.world_size))?;
        Some(match worker {
            Worker::EngineDriven(engine) => engine.groups.clone(),
            Worker::LmcacheDriven(_) => vec![ChunkGroup::default()],
        })
    }

    /// The largest number of leading chunks of which every group and rank has what it needs.
    fn hits(&self, key: &Key, prefixes: &[u64], first: usize, windows: &[ChunkGroup]) -> usize {
        let is_there = |prefix: u64, group| {
            let ready = |rank| self.cache.is_ready(ChunkId { prefix, rank, group });
            (0..key.world_size).all(ready)
        };
        let suffices = |hits: &usize| {
            (0..).zip(windows).all(|(group, window)| {
                let needed = first.max(window.first_of(*hits)).min(*hits)..*hits;
                prefixes[needed].iter().all(|prefix| is_there(*prefix, group))
            })
        };
        match windows {
            [] => first,
            [only] if only.window_chunks == 0 => {
                first
                    + prefixes[first..]
                        .iter()
                        .take_while(|prefix| is_there(**prefix, 0))
                        .count()
            }
            _ => (first..=prefixes.len()).rev().find(suffices).unwrap_or(first),
        }
    }

    pub(super) fn job(&mut self, request_id: &str) -> Outcome {
        number(self.jobs.remove(request_id).unwrap_or(0))
    }

    /// `extra`: further ranges, where the release has them.
    pub(super) fn free_lookup_locks(&mut self, key: &[u8], tp_size: &[u8], extra: Option<&[u8]>) -> Answer {
        let key = request::key(key, self.config.generation)?;
        let Some(readers) = self.readers(&key, request::number(tp_size)?) else {
            return Ok(Outcome::Silence);
        };
        let mut freed = self.range(&key).unwrap_or_default();
        for (start, end) in extra.map_or(Ok(Vec::new()), request::ranges)? {
            if start < end && end <= key.token_ids.len() as u64 {
                freed.extend(self.range(&key.range(start, end)).unwrap_or_default());
            }
        }
        let groups = self.windows(&key).map_or(1, |windows| windows.len() as u32);
        for prefix in freed {
            for group in 0..groups {
                let chunk = |rank| ChunkId { prefix, rank, group };
                (0..key.world_size).for_each(|rank| self.cache.unlock(chunk(rank), readers));
            }
        }
        Ok(Outcome::Reply(None))
    }
}
