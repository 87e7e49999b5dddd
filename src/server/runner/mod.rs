//! One client: runs both passes of each of its sequence numbers and decides whether it passed. Reports progress as events.

use std::time::{Duration, Instant};

use super::blocks::Allocator;
use super::checksum::Digest;
use super::config::RunConfig;
use super::plan::{Pass, Request};
use super::rpc::RpcError;
use super::samples::{Failure, Measured, RunSamples};
use super::session::{Session, is_gone};
use super::share::Share;
use crate::sys::signal;

mod verify;

/// A progress event.
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
    /// A chunk whose retrieved bytes differ from the stored ones.
    Mismatch {
        rank: u32,
        chunk: usize,
        stored: Digest,
        retrieved: Digest,
    },
    /// The sequence passed.
    Passed,
    /// Another failure, as a sentence.
    Failed(String),
}

/// Digests that the server computes of registered memory.
pub trait ServerChecksums {
    /// One hex digest for each chunk of `chunk_blocks` blocks. The error says why there are none; it ends the comparisons.
    fn digests(&mut self, instance_id: u64, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<String>, String>;
}

/// Why no further sequence is run.
enum Stop {
    /// A signal, or the end of another client.
    Asked,
    Fatal(String),
}

type Failures = Vec<(Failure, String)>;

pub struct Runner<'a> {
    pub session: &'a mut Session,
    pub config: &'a RunConfig,
    share: Share<'a>,
    pub checksums: Option<&'a mut dyn ServerChecksums>,
    pub on_event: &'a mut dyn FnMut(u64, Event),
    allocator: Allocator,
    samples: RunSamples,
    /// When the last pass had its last reply. Pauses begin there, so that checking is part of them.
    pass_ended: Instant,
    /// Why the server's digests are no longer compared.
    pub no_checksums: Option<String>,
}

impl<'a> Runner<'a> {
    pub fn new(
        session: &'a mut Session,
        config: &'a RunConfig,
        share: Share<'a>,
        checksums: Option<&'a mut dyn ServerChecksums>,
        on_event: &'a mut dyn FnMut(u64, Event),
    ) -> Runner<'a> {
        let allocator = session.plan.allocator(config.block_allocation);
        Runner {
            session,
            config,
            share,
            checksums,
            on_event,
            allocator,
            samples: RunSamples::of_one_of(share.common.clients()),
            pass_ended: Instant::now(),
            no_checksums: None,
        }
    }

    /// Runs until this client's last sequence number, a signal, the loss of the server, or the end of another client.
    pub fn run(&mut self) -> RunSamples {
        for (number, sequence) in self.share.sequences(self.config).enumerate() {
            let mut failures = Vec::new();
            match self.sequence(sequence, number == 0, &mut failures) {
                Ok(()) => {
                    self.samples.tally.record(&failures);
                    if failures.is_empty() {
                        (self.on_event)(sequence, Event::Passed);
                    }
                }
                Err(Stop::Asked) => {
                    if !failures.is_empty() {
                        self.samples.tally.record(&failures);
                    }
                    break;
                }
                Err(Stop::Fatal(sentence)) => {
                    self.fail(sequence, &mut failures, Failure::Rpc, sentence.clone());
                    self.samples.tally.record(&failures);
                    self.share.stop(sentence);
                    break;
                }
            }
        }
        self.take_samples()
    }

    /// Takes the samples measured so far, such as after a panic.
    pub fn take_samples(&mut self) -> RunSamples {
        let mut samples = std::mem::take(&mut self.samples);
        samples.elapsed = self.share.common.begun.elapsed();
        samples.client_time = samples.elapsed;
        samples
    }

    /// Both passes of one sequence number. Everything but the requests (filling, overwriting and digesting) is done in the
    /// pauses.
    fn sequence(&mut self, sequence: u64, is_first: bool, failures: &mut Failures) -> Result<(), Stop> {
        let mut request = self.session.plan.request(sequence, self.allocator.next_blocks());
        let chunks = self.session.plan.chunks;
        self.own_work(|this| this.fill(&request)).map_err(Stop::Fatal)?;
        if !is_first {
            self.pause()?;
        }
        let cold = self.cold_pass(&request, failures);
        if self.finish_pass(sequence, cold, failures)?.is_none() {
            return Ok(());
        }
        let stored = self.own_work(|this| {
            let stored = this.digests(&request, chunks)?;
            this.compare_with_server(&request, &stored, true, failures);
            request.blocks = this.allocator.next_blocks();
            this.poison(&request, chunks).map(|()| stored)
        });
        let stored = stored.map_err(Stop::Fatal)?;
        self.pause()?;
        let warm = self.warm_pass(&request, failures);
        if self.finish_pass(sequence, warm, failures)? == Some(true) {
            let compared = self.own_work(|this| {
                let retrieved = this.digests(&request, chunks)?;
                this.compare(sequence, &stored, &retrieved, failures);
                this.compare_with_server(&request, &retrieved, false, failures);
                Ok(())
            });
            compared.map_err(Stop::Fatal)?;
        }
        Ok(())
    }

    /// Does what no latency contains, and counts its time.
    fn own_work<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        let begun = Instant::now();
        let done = work(self);
        self.samples.own_work += begun.elapsed();
        done
    }

    /// Ends the request of a pass. An error either fails the sequence (`None`) or stops the run.
    fn finish_pass<T>(
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
            RpcError::Interrupted => Err(Stop::Asked),
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

    /// Looks up the request, retrieves the hits, which an earlier run stored, and stores the rest.
    fn cold_pass(&mut self, request: &Request, failures: &mut Failures) -> Result<(), RpcError> {
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
            self.own_work(|this| this.poison(request, lookup.hits))
                .map_err(RpcError::Local)?;
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

    /// Looks up the request, which must hit all chunks, and retrieves it. Returns whether there is something to compare.
    fn warm_pass(&mut self, request: &Request, failures: &mut Failures) -> Result<bool, RpcError> {
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
        let (cpu, begun) = (self.share.cpu(), Instant::now());
        let transfer = self.session.store(request, chunks)?;
        let ended = Instant::now();
        let (latency, cpu) = (ended - begun, self.share.cpu().saturating_sub(cpu));
        self.samples.first_store.get_or_insert(ended);
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

    /// Retrieves the leading chunks, whose blocks have been overwritten. Returns whether the server accepted it.
    fn retrieve(
        &mut self,
        request: &Request,
        chunks: usize,
        pass: Pass,
        failures: &mut Failures,
    ) -> Result<bool, RpcError> {
        let (cpu, begun) = (self.share.cpu(), Instant::now());
        let transfer = self.session.retrieve(request, chunks, pass)?;
        let (latency, cpu) = (begun.elapsed(), self.share.cpu().saturating_sub(cpu));
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

    /// Waits until `interval` has passed since the last reply of the last pass. A signal or the end of another client ends the
    /// wait.
    fn pause(&mut self) -> Result<(), Stop> {
        let until = self.pass_ended + self.config.interval;
        let left = until.saturating_duration_since(Instant::now());
        match signal::wait(left, || self.share.common.error().is_some()) {
            true => Ok(()),
            false => Err(Stop::Asked),
        }
    }
}
