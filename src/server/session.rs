//! The state of a run at the server: its registrations and the request in progress. Releases all of it, however the run ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::RunConfig;
use super::device::Gpu;
use super::memory::Layout;
use super::plan::{Identity, Pass, Plan, Ranks, Request};
use super::rpc::{Client, Key, Operation, RpcError};
use super::transport::{self, Registration, Transfer, TransferResult, Transport, Worker};
use crate::error::Error;
use crate::sys::deadline::{CLOSE_GRACE, Deadline, Limits, OnSignal, WORK_GRACE, closing_time};
use crate::sys::{limits, signal};
use crate::units::bytes_text;

/// The first and the longest pause between two queries for the result of a lookup.
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_MAX: Duration = Duration::from_millis(5);
/// How long to wait for a late commit, and the pause between two lookups.
const SETTLE_MAX: Duration = Duration::from_millis(200);
const SETTLE_PAUSE: Duration = Duration::from_millis(1);
/// Timeout of each request while the session closes.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);

/// What the server holds for the request in progress.
#[derive(Default)]
struct OpenRequest {
    request_id: Option<String>,
    /// A lookup whose result has not been received.
    pending_lookup: Option<Key>,
    /// The range of hits that are locked and have not been retrieved.
    locked_hits: Option<Key>,
}

pub struct Session {
    client: Client,
    transport: Box<dyn Transport>,
    pub workers: Vec<Worker>,
    /// How many of them are registered.
    registered: usize,
    pub plan: Plan,
    pub identity: Identity,
    pub ranks: Ranks,
    rpc_timeout: Duration,
    open: OpenRequest,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Number of leading chunks that every rank has.
    pub hits: usize,
    pub latency: Duration,
}

impl Session {
    /// Allocates and registers the tensors of all ranks. After an error nothing is registered.
    pub fn open(
        mut client: Client,
        config: &RunConfig,
        plan: Plan,
        identity: Identity,
        gpu: Option<Arc<Gpu>>,
    ) -> Result<Session, Error> {
        client.set_reply_timeout(config.rpc_timeout);
        let ranks = Ranks {
            count: config.ranks,
            mla: config.shape.is_mla(),
        };
        let transport = transport::create(config, &identity.run_id, gpu);
        let mut session = Session {
            client,
            transport,
            workers: Vec::new(),
            registered: 0,
            plan,
            identity,
            ranks,
            rpc_timeout: config.rpc_timeout,
            open: OpenRequest::default(),
        };
        for rank in 0..ranks.count {
            session.add_worker(config, rank)?;
        }
        Ok(session)
    }

    fn add_worker(&mut self, config: &RunConfig, rank: u32) -> Result<(), Error> {
        let layout = Layout::new(&config.shape);
        let bytes = layout.bytes as u64;
        let instance_id = self.identity.first_instance_id + u64::from(rank);
        let tensors = self.transport.allocate(layout, instance_id).map_err(|error| {
            let advice = match limits::has_advice(&error) {
                true => "",
                false => "; use a smaller --kvcache-shape-spec",
            };
            Error::Environment(format!(
                "could not allocate {} of KV tensors for rank {rank}: {error}{advice}",
                bytes_text(bytes)
            ))
        })?;
        let mut worker = Worker {
            rank,
            instance_id,
            worker_id: if self.ranks.mla { 0 } else { rank },
            stores: rank == 0 || !self.ranks.mla,
            tensors,
        };
        let registration = Registration {
            model_name: self.identity.model_name.clone(),
            world_size: if self.ranks.mla { 1 } else { self.ranks.count },
            chunk_tokens: self.plan.chunk_tokens,
        };
        // Counted even if this fails: the server may complete a registration after the timeout, so it is unregistered too.
        let registered = self.transport.register(&mut self.client, &mut worker, &registration);
        self.workers.push(worker);
        self.registered += 1;
        registered
    }

    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub fn transport_label(&self) -> &'static str {
        self.transport.label()
    }

    pub fn commits_late(&self) -> bool {
        self.transport.commits_late()
    }

    /// Looks up the whole request and waits for the result.
    pub fn lookup(&mut self, request: &Request, pass: Pass) -> Result<Lookup, RpcError> {
        let request_id = self.identity.request_id(request.sequence, pass);
        self.lookup_as(request, &request_id)
    }

    fn lookup_as(&mut self, request: &Request, request_id: &str) -> Result<Lookup, RpcError> {
        let chunks = (0, self.plan.chunks);
        let key = self.identity.key(&self.plan, request, self.ranks, request_id, chunks);
        self.open = OpenRequest {
            request_id: Some(request_id.to_owned()),
            pending_lookup: Some(key.clone()),
            locked_hits: None,
        };
        let begun = Instant::now();
        // If a signal ends the wait, `end_request` gets the result and frees the locks.
        self.client.set_on_signal(OnSignal::End);
        let sent = self.client.lookup(&key, self.ranks.count);
        self.client.set_on_signal(OnSignal::Grace(WORK_GRACE));
        let found = sent.and_then(|()| self.await_status(request_id));
        let (hits, latency) = (found?, begun.elapsed());
        self.open.pending_lookup = None;
        let hits = usize::try_from(hits).ok().filter(|hits| *hits <= self.plan.chunks);
        let hits = hits.ok_or_else(|| RpcError::Malformed {
            operation: Operation::QueryPrefetchStatus,
            detail: format!("more hits than the {} chunks of the request", self.plan.chunks),
        })?;
        let locked = if self.may_lock_partial_chunk() {
            (hits + 1).min(self.plan.chunks)
        } else {
            hits
        };
        self.open.locked_hits = (locked > 0).then(|| key.range(0, (locked * self.plan.chunk_tokens) as u64));
        Ok(Lookup { hits, latency })
    }

    fn await_status(&mut self, request_id: &str) -> Result<u64, RpcError> {
        let wait = Deadline::after(self.rpc_timeout);
        match self.status_within(request_id, wait)? {
            Some(hits) => Ok(hits),
            None if signal::received().is_some() => Err(RpcError::Interrupted),
            None => Err(RpcError::TimedOut {
                operation: Operation::QueryPrefetchStatus,
                waited: self.rpc_timeout,
                answers: true,
            }),
        }
    }

    /// The result of a lookup, or `None` if there is none within `wait`. A server returns the result once, so each query waits
    /// for its reply; `wait` is checked between two queries.
    fn status_within(&mut self, request_id: &str, wait: Deadline) -> Result<Option<u64>, RpcError> {
        let mut pause = POLL_FIRST;
        loop {
            let found = self.client.query_prefetch_status(request_id)?;
            if found.is_some() || wait.check().is_err() {
                return Ok(found);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Stores the chunks `chunks.0..chunks.1` from all ranks that store, one after another.
    pub fn store(&mut self, request: &Request, chunks: (usize, usize)) -> TransferResult {
        self.transfer(request, chunks, Pass::Cold, Direction::Store)
    }

    /// Retrieves leading chunks, which the last lookup hit, into all ranks, one after another.
    pub fn retrieve(&mut self, request: &Request, chunks: usize, pass: Pass) -> TransferResult {
        // A transfer releases its locks, in most cases also when it fails, and locks must not be freed twice.
        self.open.locked_hits = None;
        self.transfer(request, (0, chunks), pass, Direction::Retrieve)
    }

    fn transfer(
        &mut self,
        request: &Request,
        chunks: (usize, usize),
        pass: Pass,
        direction: Direction,
    ) -> TransferResult {
        let request_id = self.identity.request_id(request.sequence, pass);
        let key = self.identity.key(&self.plan, request, self.ranks, &request_id, chunks);
        let blocks = self.plan.blocks_of(request, chunks.0..chunks.1);
        let mut all = Transfer {
            accepted: true,
            ..Transfer::default()
        };
        for worker in &mut self.workers {
            if direction == Direction::Store && !worker.stores {
                continue;
            }
            let key = key.of_worker(Some(worker.worker_id));
            let (transport, client) = (&mut self.transport, &mut self.client);
            let one = match direction {
                Direction::Store => transport.store(client, worker, &key, blocks)?,
                Direction::Retrieve => transport.retrieve(client, worker, &key, blocks)?,
            };
            all.add(&one);
        }
        Ok(all)
    }

    /// Waits until a lookup hits all stored chunks: the server publishes them a little after its reply. Returns the time that
    /// took and whether the first lookup missed, or `None` if they are not published within `SETTLE_MAX`.
    pub fn settle(&mut self, request: &Request) -> Result<Option<(Duration, bool)>, RpcError> {
        let begun = Instant::now();
        for attempt in 0.. {
            let request_id = format!(
                "settle-{attempt}-{}",
                self.identity.request_id(request.sequence, Pass::Cold)
            );
            let lookup = self.lookup_as(request, &request_id)?;
            let time = begun.elapsed();
            if lookup.hits < self.plan.chunks && self.may_lock_partial_chunk() {
                let chunks = (0, lookup.hits + 1);
                let key = self.identity.key(&self.plan, request, self.ranks, &request_id, chunks);
                self.open.locked_hits = Some(key);
            }
            self.end_request()?;
            if lookup.hits == self.plan.chunks {
                return Ok(Some((time, attempt > 0)));
            }
            if time > SETTLE_MAX {
                break;
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
        Ok(None)
    }

    /// Whether a lookup may lock one chunk more than its hits. Servers before 0.5.5 lock a chunk that only some ranks have
    /// published, without counting it as a hit. Before 0.5.4 its locks can be freed nevertheless; 0.5.4 ignores that. Only done
    /// with a salt, where no other run can hold locks on the chunk.
    fn may_lock_partial_chunk(&self) -> bool {
        let has_own_keys = !self.identity.cache_salt.is_empty();
        has_own_keys && self.ranks.count > 1 && !self.ranks.mla && self.client.server().generation.locks_partial_chunks
    }

    /// Releases what the server holds for the request in progress: the locks of hits that were not retrieved, and its state.
    pub fn end_request(&mut self) -> Result<(), RpcError> {
        let OpenRequest {
            request_id,
            pending_lookup,
            locked_hits,
        } = std::mem::take(&mut self.open);
        let Some(request_id) = request_id else { return Ok(()) };
        let locked = match pending_lookup {
            None => locked_hits,
            Some(key) => {
                let wait = Deadline {
                    // Half of the time is left for the other requests of `close`.
                    at: Instant::now() + closing_time(CLOSING_TIMEOUT) / 2,
                    on_signal: OnSignal::Grace(CLOSE_GRACE),
                };
                let hits = self.status_within(&request_id, wait)?.unwrap_or(0);
                let tokens = hits.saturating_mul(self.plan.chunk_tokens as u64).min(key.end);
                (tokens > 0).then(|| key.range(0, tokens))
            }
        };
        let freed = locked.map_or(Ok(()), |key| self.client.free_lookup_locks(&key, self.ranks.count));
        self.client.end_session(&request_id)?;
        freed
    }

    /// Ends the request in progress and unregisters the workers. Returns a sentence for each thing that could not be released.
    /// Stops as soon as the server does not answer. A second call does nothing.
    pub fn close(&mut self) -> Vec<String> {
        self.client.set_on_signal(OnSignal::Grace(CLOSE_GRACE));
        self.client.set_reply_timeout(self.rpc_timeout.min(CLOSING_TIMEOUT));
        let mut problems = Vec::new();
        if let Err(error) = self.end_request() {
            let gone = is_gone(&error);
            problems.push(format!("the last request could not be ended: {error}"));
            if gone {
                self.registered = 0;
                return problems;
            }
        }
        while self.registered > 0 {
            self.registered -= 1;
            let worker = &self.workers[self.registered];
            if let Err(error) = self.transport.unregister(&mut self.client, worker) {
                problems.push(format!("rank {} could not be unregistered: {error}", worker.rank));
                if is_gone(&error) {
                    self.registered = 0;
                }
            }
        }
        problems
    }
}

/// Releases everything after a panic, too.
impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Store,
    Retrieve,
}

/// Whether the server is lost, so that further requests would fail as well.
pub fn is_gone(error: &RpcError) -> bool {
    matches!(
        error,
        RpcError::TimedOut { answers: false, .. } | RpcError::Disconnected { .. } | RpcError::Unreachable(_)
    )
}
