//! The passes over each sequence number and the verdict on it. What counts as passed is decided here and nowhere else. Must
//! never print: whoever wants progress is told by events.

use std::thread;
use std::time::{Duration, Instant};

use super::case::{Pass, Request};
use super::checksum::Digest;
use super::config::RunConfig;
use super::memory::Source;
use super::rpc::RpcError;
use super::samples::{Failure, Measured, RunSamples};
use super::session::{Session, is_gone};
use crate::sys::{counters, signal};

/// How long a pause goes on after a signal at most.
const NAP: Duration = Duration::from_millis(20);

/// What happens, for progress lines.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Lookup {
        pass: Pass,
        hits: usize,
        chunks: usize,
        latency: Duration,
    },
    Store {
        chunks: usize,
        accepted: bool,
        latency: Duration,
    },
    Retrieve {
        chunks: usize,
        accepted: bool,
        latency: Duration,
    },
    /// A chunk whose bytes came back changed.
    Mismatch {
        rank: u32,
        chunk: usize,
        stored: Digest,
        retrieved: Digest,
    },
    /// All of the sequence was right.
    Passed,
    /// A sentence about something else that was wrong.
    Failed(String),
}

/// The server's own digests of some blocks, if it offers them.
pub trait ServerChecksums {
    /// One hex digest per chunk. `Err` says why there is none; then nothing is asked again.
    fn digests(&mut self, instance_id: u64, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<String>, String>;
}

/// Why no further sequence is run.
enum Stop {
    Signal,
    Fatal(String),
}

type Failures = Vec<(Failure, String)>;

pub struct Runner<'a> {
    pub session: &'a mut Session,
    pub config: &'a RunConfig,
    pub checksums: Option<&'a mut dyn ServerChecksums>,
    pub on_event: &'a mut dyn FnMut(u64, Event),
    samples: RunSamples,
    /// When the last pass had its last reply: pauses count from there, so that checking falls into them.
    pass_ended: Instant,
    /// Why the server's digests are not compared (any more).
    pub no_checksums: Option<String>,
}

impl<'a> Runner<'a> {
    pub fn new(
        session: &'a mut Session,
        config: &'a RunConfig,
        checksums: Option<&'a mut dyn ServerChecksums>,
        on_event: &'a mut dyn FnMut(u64, Event),
    ) -> Runner<'a> {
        Runner {
            session,
            config,
            checksums,
            on_event,
            samples: RunSamples::default(),
            pass_ended: Instant::now(),
            no_checksums: None,
        }
    }

    /// Runs to the last sequence number, to a signal, or to a server that is gone.
    pub fn run(&mut self) -> RunSamples {
        let end = self.config.end.unwrap_or(1 << 32);
        for sequence in self.config.start..end {
            let mut failures = Vec::new();
            match self.sequence(sequence, &mut failures) {
                Ok(()) => {
                    self.samples.tally.record(&failures);
                    if failures.is_empty() {
                        (self.on_event)(sequence, Event::Passed);
                    }
                }
                Err(Stop::Signal) => {
                    if !failures.is_empty() {
                        self.samples.tally.record(&failures);
                    }
                    break;
                }
                Err(Stop::Fatal(sentence)) => {
                    self.fail(sequence, &mut failures, Failure::Rpc, sentence.clone());
                    self.samples.tally.record(&failures);
                    self.samples.aborted = Some(sentence);
                    break;
                }
            }
        }
        self.take_samples()
    }

    /// What was measured so far; all there is after a panic.
    pub fn take_samples(&mut self) -> RunSamples {
        std::mem::take(&mut self.samples)
    }

    /// Everything but the requests themselves (making, overwriting and digesting bytes) happens in the pauses.
    fn sequence(&mut self, sequence: u64, failures: &mut Failures) -> Result<(), Stop> {
        let request = self.session.plan.request(sequence);
        let chunks = self.session.plan.chunks;
        self.fill(&request).map_err(Stop::Fatal)?;
        if sequence > self.config.start {
            self.pause()?;
        }
        let cold = self.cold(&request, failures);
        if self.ended(sequence, cold, failures)?.is_none() {
            return Ok(());
        }
        let stored = self.digests(&request, chunks)?;
        self.compare_with_server(&request, &stored, true, failures);
        self.poison(&request, chunks).map_err(Stop::Fatal)?;
        self.pause()?;
        let warm = self.warm(&request, failures);
        if self.ended(sequence, warm, failures)? == Some(true) {
            let retrieved = self.digests(&request, chunks)?;
            self.compare(sequence, &stored, &retrieved, failures);
            self.compare_with_server(&request, &retrieved, false, failures);
        }
        Ok(())
    }

    /// Ends the request of a pass and sorts its error into one of the sequence or of the run.
    fn ended<T>(
        &mut self,
        sequence: u64,
        pass: Result<T, RpcError>,
        failures: &mut Failures,
    ) -> Result<Option<T>, Stop> {
        let ended = pass.and_then(|value| self.session.end_request().map(|()| value));
        self.pass_ended = Instant::now();
        let error = match ended {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        match error {
            RpcError::Interrupted => Err(Stop::Signal),
            error if is_gone(&error) => Err(Stop::Fatal(error.to_string())),
            error => {
                self.fail(sequence, failures, Failure::Rpc, error.to_string());
                match self.session.end_request() {
                    Err(error) if is_gone(&error) => Err(Stop::Fatal(error.to_string())),
                    _ => Ok(None),
                }
            }
        }
    }

    fn fail(&mut self, sequence: u64, failures: &mut Failures, failure: Failure, sentence: String) {
        (self.on_event)(sequence, Event::Failed(sentence.clone()));
        failures.push((failure, format!("sequence {sequence}: {sentence}")));
    }

    /// Looks up, retrieves what was there already and stores the rest.
    fn cold(&mut self, request: &Request, failures: &mut Failures) -> Result<(), RpcError> {
        let (sequence, chunks) = (request.sequence, self.session.plan.chunks);
        let lookup = self.session.lookup(request, Pass::Cold)?;
        self.samples.of_mut(Measured::ColdLookup).record_lookup(lookup.latency);
        self.lookup_event(sequence, Pass::Cold, lookup.hits, lookup.latency);
        if lookup.hits > 0 {
            let sentence = format!(
                "{} of {chunks} chunks were there before they were stored: entries of an earlier run",
                lookup.hits
            );
            self.fail(sequence, failures, Failure::EarlierEntries, sentence);
            self.poison(request, lookup.hits).map_err(RpcError::Local)?;
            self.retrieve(request, lookup.hits, Pass::Cold, failures)?;
        }
        if lookup.hits < chunks {
            self.store(request, (lookup.hits, chunks), failures)?;
        }
        if self.session.commits_late() {
            self.session.end_request()?;
            if let Some((time, true)) = self.session.settle(request)? {
                self.samples.late_commits += 1;
                self.samples.longest_commit = self.samples.longest_commit.max(time);
            }
        }
        Ok(())
    }

    /// Looks up, which must find all, and retrieves; whether there is something to compare.
    fn warm(&mut self, request: &Request, failures: &mut Failures) -> Result<bool, RpcError> {
        let (sequence, chunks) = (request.sequence, self.session.plan.chunks);
        let lookup = self.session.lookup(request, Pass::Warm)?;
        self.samples.of_mut(Measured::WarmLookup).record_lookup(lookup.latency);
        self.lookup_event(sequence, Pass::Warm, lookup.hits, lookup.latency);
        if lookup.hits < chunks {
            let sentence = format!("only {} of {chunks} stored chunks were found", lookup.hits);
            self.fail(sequence, failures, Failure::Missed, sentence);
            return Ok(false);
        }
        self.retrieve(request, chunks, Pass::Warm, failures)
    }

    fn store(&mut self, request: &Request, chunks: (usize, usize), failures: &mut Failures) -> Result<(), RpcError> {
        let (cpu, begun) = (counters::process_cpu(), Instant::now());
        let transfer = self.session.store(request, chunks)?;
        let (latency, cpu) = (begun.elapsed(), counters::process_cpu().saturating_sub(cpu));
        self.samples
            .of_mut(Measured::ColdStore)
            .record_transfer(latency, cpu, &transfer);
        let event = Event::Store {
            chunks: chunks.1 - chunks.0,
            accepted: transfer.accepted,
            latency,
        };
        (self.on_event)(request.sequence, event);
        if !transfer.accepted {
            let sentence = "the server did not take all chunks of a store: is its memory full?".to_owned();
            self.fail(request.sequence, failures, Failure::Refused, sentence);
        }
        Ok(())
    }

    fn lookup_event(&mut self, sequence: u64, pass: Pass, hits: usize, latency: Duration) {
        let event = Event::Lookup {
            pass,
            hits,
            chunks: self.session.plan.chunks,
            latency,
        };
        (self.on_event)(sequence, event);
    }

    /// Overwrites the leading chunks of all ranks.
    fn poison(&mut self, request: &Request, chunks: usize) -> Result<(), String> {
        let blocks = self.session.plan.blocks_of(request, 0, chunks);
        let mut workers = self.session.workers.iter_mut();
        workers.try_for_each(|worker| worker.tensors.poison(blocks))
    }

    /// Retrieves the leading chunks, which have been overwritten; whether they were accepted.
    fn retrieve(
        &mut self,
        request: &Request,
        chunks: usize,
        pass: Pass,
        failures: &mut Failures,
    ) -> Result<bool, RpcError> {
        let (cpu, begun) = (counters::process_cpu(), Instant::now());
        let transfer = self.session.retrieve(request, chunks, pass)?;
        let (latency, cpu) = (begun.elapsed(), counters::process_cpu().saturating_sub(cpu));
        if pass == Pass::Warm {
            self.samples
                .of_mut(Measured::WarmRetrieve)
                .record_transfer(latency, cpu, &transfer);
        }
        let event = Event::Retrieve {
            chunks,
            accepted: transfer.accepted,
            latency,
        };
        (self.on_event)(request.sequence, event);
        if !transfer.accepted {
            let sentence = "the server refused a retrieve of chunks that a lookup had found".to_owned();
            self.fail(request.sequence, failures, Failure::Refused, sentence);
        }
        Ok(transfer.accepted)
    }

    /// Ranks that hold the same are filled the same.
    fn fill(&mut self, request: &Request) -> Result<(), String> {
        for worker in &mut self.session.workers {
            let source = Source {
                seed: self.config.seed,
                rank: u64::from(worker.worker_id),
                sequence: request.sequence,
            };
            worker
                .tensors
                .fill(request.blocks, source)
                .map_err(|sentence| format!("rank {}: {sentence}", worker.rank))?;
        }
        Ok(())
    }

    fn digests(&self, request: &Request, chunks: usize) -> Result<Vec<Vec<Digest>>, Stop> {
        let plan = &self.session.plan;
        let blocks = plan.blocks_of(request, 0, chunks);
        let (kind, widen) = (self.config.checksum, self.session.commits_late());
        let workers = self.session.workers.iter();
        workers
            .map(|worker| worker.tensors.digests(blocks, plan.chunk_blocks, kind, widen))
            .collect::<Result<_, String>>()
            .map_err(Stop::Fatal)
    }

    fn compare(&mut self, sequence: u64, stored: &[Vec<Digest>], retrieved: &[Vec<Digest>], failures: &mut Failures) {
        for (rank, (stored, retrieved)) in (0u32..).zip(stored.iter().zip(retrieved)) {
            self.samples.tally.chunks_compared += stored.len() as u64;
            for (chunk, (stored, retrieved)) in stored.iter().zip(retrieved).enumerate() {
                if stored == retrieved {
                    continue;
                }
                let event = Event::Mismatch {
                    rank,
                    chunk,
                    stored: *stored,
                    retrieved: *retrieved,
                };
                (self.on_event)(sequence, event);
                let sentence = format!(
                    "sequence {sequence}: CHECKSUM MISMATCH in chunk {chunk} of rank {rank}: stored {stored}, retrieved \
                     {retrieved}"
                );
                failures.push((Failure::Mismatch, sentence));
            }
        }
    }

    /// Has the server digest the same memory. `storing`: only ranks that store hold anything of their own yet.
    fn compare_with_server(&mut self, request: &Request, ours: &[Vec<Digest>], storing: bool, failures: &mut Failures) {
        let blocks = request.blocks;
        let (chunk_blocks, sequence) = (self.session.plan.chunk_blocks, request.sequence);
        let ids: Vec<u64> = (blocks.first..blocks.first + blocks.count)
            .map(|id| id as u64)
            .collect();
        let mut wrong = Vec::new();
        for (worker, ours) in self.session.workers.iter().zip(ours) {
            let Some(checksums) = self.checksums.as_mut().filter(|_| worker.stores || !storing) else {
                continue;
            };
            match checksums.digests(worker.instance_id, &ids, chunk_blocks) {
                Ok(theirs) => {
                    self.samples.tally.server_chunks_compared += theirs.len() as u64;
                    let same = theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(a, b)| *a == b.to_string());
                    if !same {
                        wrong.push(format!(
                            "the server's checksums of rank {} are not those of the same memory here",
                            worker.rank
                        ));
                    }
                }
                Err(reason) => {
                    self.checksums = None;
                    self.no_checksums = Some(reason);
                }
            }
        }
        for sentence in wrong {
            self.fail(sequence, failures, Failure::ServerMismatch, sentence);
        }
    }

    /// Waits for the end of the pause that began with the last pass's last reply; a signal ends it.
    fn pause(&mut self) -> Result<(), Stop> {
        let until = self.pass_ended + self.config.interval;
        loop {
            if signal::received().is_some() {
                return Err(Stop::Signal);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(NAP));
        }
    }
}
