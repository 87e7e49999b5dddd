//! The memory of the mock server: chunks by key and rank, with read locks, reservations and least-recently-used eviction,
//! which spares locked and reserved chunks.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::io;

use crate::server::rpc::Key;
use crate::sys::mapping::Mapping;
use crate::sys::shm::Segment;

/// The default of real servers.
const SLOT_ALIGN: u64 = 4096;

/// A chunk of one rank and layer group: a digest of model, world size, salt and all tokens up to the chunk's end, the rank, and the
/// number of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkId {
    pub prefix: u64,
    pub rank: u32,
    pub group: u32,
}

impl ChunkId {
    /// Of the first group.
    pub fn new(prefix: u64, rank: u32) -> ChunkId {
        ChunkId { prefix, rank, group: 0 }
    }

    /// The same chunk of another group.
    pub fn of_group(self, group: u32) -> ChunkId {
        ChunkId { group, ..self }
    }
}

/// Where a chunk's bytes are.
enum Place {
    Heap(Vec<u8>),
    Pool { offset: u64 },
}

struct Chunk {
    place: Place,
    bytes: u64,
    /// Published; before, it is a reservation.
    ready: bool,
    readers: u32,
    used_at: u64,
}

pub struct Cache {
    chunks: HashMap<ChunkId, Chunk>,
    /// Chunks by when they were used last.
    by_age: BTreeMap<u64, ChunkId>,
    clock: u64,
    used_bytes: u64,
    limit_bytes: u64,
    pool: Option<Pool>,
}

/// Shared memory cut into slots, with its free ranges by offset.
struct Pool {
    segment: Segment,
    free: BTreeMap<u64, u64>,
}

/// The counts in `/status`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub objects: usize,
    pub write_locked: usize,
    pub read_locked: usize,
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

/// Ids of the chunks that end at or before `tokens`.
pub fn chunk_prefixes(key: &Key, tokens: u64, chunk_size: u64) -> Vec<u64> {
    // The hasher has no random keys: equal input gives equal digests while this process runs.
    let mut hasher = DefaultHasher::new();
    hasher.write(key.model_name.as_bytes());
    hasher.write_u8(0);
    hasher.write_u32(key.world_size);
    hasher.write(key.cache_salt.as_bytes());
    hasher.write_u8(0);
    let tokens = key.token_ids.len().min(usize::try_from(tokens).unwrap_or(usize::MAX));
    let chunks = key.token_ids[..tokens].chunks_exact(chunk_size as usize);
    let digest = |chunk: &[u32]| {
        chunk.iter().for_each(|token| hasher.write_u32(*token));
        hasher.finish()
    };
    chunks.map(digest).collect()
}

impl Cache {
    pub fn new(limit_bytes: u64, shm_name: Option<&str>) -> io::Result<Cache> {
        let pool = match shm_name {
            None => None,
            Some(name) => Some(Pool {
                segment: Segment::create(name, usize::try_from(limit_bytes).map_err(io::Error::other)?)?,
                free: BTreeMap::from([(0, limit_bytes)]),
            }),
        };
        Ok(Cache {
            chunks: HashMap::new(),
            by_age: BTreeMap::new(),
            clock: 0,
            used_bytes: 0,
            limit_bytes,
            pool,
        })
    }

    /// Removes the name of the shared memory.
    pub fn close(&mut self) {
        if let Some(pool) = &mut self.pool {
            // Nothing can be done about a name that cannot be removed.
            let _ = pool.segment.unlink();
        }
    }

    pub fn pool_bytes(&self) -> Option<u64> {
        self.pool.is_some().then_some(self.limit_bytes)
    }

    pub fn is_ready(&self, id: ChunkId) -> bool {
        self.chunks.get(&id).is_some_and(|chunk| chunk.ready)
    }

    /// Length of a chunk that is locked for reading.
    pub fn readable(&self, id: ChunkId) -> Option<u64> {
        let chunk = self.chunks.get(&id)?;
        (chunk.ready && chunk.readers > 0).then_some(chunk.bytes)
    }

    pub fn lock(&mut self, id: ChunkId, readers: u32) {
        self.touch(id);
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.readers = chunk.readers.saturating_add(readers);
        }
    }

    pub fn unlock(&mut self, id: ChunkId, readers: u32) {
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.readers = chunk.readers.saturating_sub(readers);
        }
    }

    /// Reserves memory for a chunk. False when the chunk exists, in any state, or does not fit.
    pub fn reserve(&mut self, id: ChunkId, bytes: u64) -> bool {
        if self.chunks.contains_key(&id) || bytes == 0 {
            return false;
        }
        let place = loop {
            match self.place(bytes) {
                Some(place) => break place,
                None if self.evict_one() => {}
                None => return false,
            }
        };
        self.used_bytes += bytes;
        self.clock += 1;
        self.by_age.insert(self.clock, id);
        let chunk = Chunk {
            place,
            bytes,
            ready: false,
            readers: 0,
            used_at: self.clock,
        };
        self.chunks.insert(id, chunk);
        true
    }

    /// Publishes a reservation.
    pub fn publish(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.ready = true;
        }
    }

    /// Gives up a reservation.
    pub fn abandon(&mut self, id: ChunkId) {
        if self.chunks.get(&id).is_some_and(|chunk| !chunk.ready) {
            self.remove(id);
        }
    }

    /// Offset of the chunk in shared memory.
    pub fn offset(&self, id: ChunkId) -> Option<u64> {
        match self.chunks.get(&id)?.place {
            Place::Pool { offset } => Some(offset),
            Place::Heap(_) => None,
        }
    }

    /// Copies into a reservation.
    pub fn write(&mut self, id: ChunkId, at: u64, piece: &[u8]) {
        let Some(chunk) = self.chunks.get_mut(&id) else { return };
        assert!(at + piece.len() as u64 <= chunk.bytes, "checked by the caller");
        match (&mut chunk.place, &mut self.pool) {
            (Place::Heap(bytes), _) => bytes[at as usize..at as usize + piece.len()].copy_from_slice(piece),
            (Place::Pool { offset }, Some(pool)) => pool.segment.mapping_mut().write((*offset + at) as usize, piece),
            (Place::Pool { .. }, None) => unreachable!("slots come from a pool"),
        }
    }

    /// Copies from a client's memory into a reservation.
    pub fn write_from(&mut self, id: ChunkId, at: u64, from: &Mapping, offset: usize, bytes: usize) {
        let mut at = at;
        from.visit(offset, bytes, &mut |piece| {
            self.write(id, at, piece);
            at += piece.len() as u64;
        });
    }

    /// Copies a part of a chunk out.
    pub fn read(&self, id: ChunkId, at: u64, to: &mut [u8]) {
        let Some(chunk) = self.chunks.get(&id) else { return };
        match (&chunk.place, &self.pool) {
            (Place::Heap(bytes), _) => to.copy_from_slice(&bytes[at as usize..at as usize + to.len()]),
            (Place::Pool { offset }, Some(pool)) => pool.segment.mapping().read((*offset + at) as usize, to),
            (Place::Pool { .. }, None) => unreachable!("slots come from a pool"),
        }
    }

    /// Removes chunks; locked and reserved ones only if `force`.
    pub fn clear(&mut self, force: bool) {
        let ids: Vec<ChunkId> = self.chunks.keys().copied().collect();
        for id in ids {
            let free = self
                .chunks
                .get(&id)
                .is_some_and(|chunk| chunk.ready && chunk.readers == 0);
            if force || free {
                self.remove(id);
            }
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            objects: self.chunks.len(),
            write_locked: self.chunks.values().filter(|chunk| !chunk.ready).count(),
            read_locked: self.chunks.values().filter(|chunk| chunk.readers > 0).count(),
            used_bytes: self.used_bytes,
            limit_bytes: self.limit_bytes,
        }
    }

    fn touch(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunks.get_mut(&id) {
            self.by_age.remove(&chunk.used_at);
            self.clock += 1;
            chunk.used_at = self.clock;
            self.by_age.insert(self.clock, id);
        }
    }

    fn place(&mut self, bytes: u64) -> Option<Place> {
        if self.used_bytes.checked_add(bytes)? > self.limit_bytes {
            return None;
        }
        let Some(pool) = &mut self.pool else {
            return Some(Place::Heap(vec![0; usize::try_from(bytes).ok()?]));
        };
        let slot = bytes.next_multiple_of(SLOT_ALIGN);
        let (&offset, &length) = pool.free.iter().find(|(_, length)| **length >= slot)?;
        // A full /dev/shm is then an error, not a SIGBUS.
        pool.segment.reserve(offset as usize, slot as usize).ok()?;
        pool.free.remove(&offset);
        if length > slot {
            pool.free.insert(offset + slot, length - slot);
        }
        Some(Place::Pool { offset })
    }

    fn evict_one(&mut self) -> bool {
        let idle = |id: &ChunkId| {
            self.chunks
                .get(id)
                .is_some_and(|chunk| chunk.ready && chunk.readers == 0)
        };
        match self.by_age.values().copied().find(idle) {
            Some(id) => {
                self.remove(id);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, id: ChunkId) {
        let Some(chunk) = self.chunks.remove(&id) else { return };
        self.by_age.remove(&chunk.used_at);
        self.used_bytes -= chunk.bytes;
        if let (Place::Pool { offset }, Some(pool)) = (chunk.place, &mut self.pool) {
            pool.give_back(offset, chunk.bytes.next_multiple_of(SLOT_ALIGN));
        }
    }
}

impl Pool {
    /// Joins the range with free neighbours.
    fn give_back(&mut self, mut offset: u64, mut length: u64) {
        if let Some((&before, &bytes)) = self.free.range(..offset).next_back()
            && before + bytes == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, bytes + length);
        }
        if let Some(bytes) = self.free.remove(&(offset + length)) {
            length += bytes;
        }
        self.free.insert(offset, length);
    }
}
