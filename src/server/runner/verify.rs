//! What a client does to its tensors outside of every latency: filling, overwriting, digests, and their comparison.

use super::{Event, Failures, Runner};
use crate::server::checksum::Digest;
use crate::server::memory::Source;
use crate::server::plan::Request;
use crate::server::samples::Failure;

impl Runner<'_> {
    /// Overwrites the leading chunks of all ranks.
    pub(super) fn poison(&mut self, request: &Request, chunks: usize) -> Result<(), String> {
        let blocks = self.session.plan.blocks_of(request, 0..chunks);
        let mut workers = self.session.workers.iter_mut();
        workers.try_for_each(|worker| worker.tensors.poison(blocks))
    }

    /// Fills the blocks of all ranks. With MLA all ranks get the same bytes.
    pub(super) fn fill(&mut self, request: &Request) -> Result<(), String> {
        for worker in &mut self.session.workers {
            let source = Source {
                seed: self.config.seed,
                rank: u64::from(worker.worker_id),
                sequence: request.sequence,
            };
            worker
                .tensors
                .fill(&request.blocks, source)
                .map_err(|sentence| format!("rank {}: {sentence}", worker.rank))?;
        }
        Ok(())
    }

    pub(super) fn digests(&self, request: &Request, chunks: usize) -> Result<Vec<Vec<Digest>>, String> {
        let plan = &self.session.plan;
        let blocks = plan.blocks_of(request, 0..chunks);
        let (kind, widen) = (self.config.checksum, self.session.commits_late());
        let workers = self.session.workers.iter();
        workers
            .map(|worker| worker.tensors.digests(blocks, plan.chunk_blocks, kind, widen))
            .collect()
    }

    pub(super) fn compare(
        &mut self,
        sequence: u64,
        stored: &[Vec<Digest>],
        retrieved: &[Vec<Digest>],
        failures: &mut Failures,
    ) {
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

    /// Compares our digests with the server's digests of the same memory. `storing`: only for ranks that store.
    pub(super) fn compare_with_server(
        &mut self,
        request: &Request,
        ours: &[Vec<Digest>],
        storing: bool,
        failures: &mut Failures,
    ) {
        let (chunk_blocks, sequence) = (self.session.plan.chunk_blocks, request.sequence);
        let mut wrong = Vec::new();
        for (worker, ours) in self.session.workers.iter().zip(ours) {
            let Some(checksums) = self.checksums.as_mut().filter(|_| worker.stores || !storing) else {
                continue;
            };
            match checksums.digests(worker.instance_id, &request.blocks, chunk_blocks) {
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
}
