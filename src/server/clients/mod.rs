//! The clients of a run. Each has a connection, a session with KV tensors of its own, and a thread. They are opened one after
//! another and then run together; one client alone runs in the calling thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};

use self::http::{Digests, Http};
use super::config::RunConfig;
use super::device::Gpu;
use super::http::HttpApi;
use super::plan::{Identity, Plan};
use super::progress;
use super::rpc::Client;
use super::runner::{Event, Runner, ServerChecksums};
use super::samples::RunSamples;
use super::session::Session;
use super::share::{Common, Share};
use crate::error::Error;
use crate::report::progress::Progress;
use crate::sys::{ending, limits, panic, signal};

pub mod http;

/// Sentences kept about what could not be released; further ones are only counted.
const PROBLEMS_MAX: usize = 8;

/// All clients of a run.
pub struct Clients {
    all: Vec<BenchClient>,
}

/// What the clients of a run have in common before they are opened.
pub struct Setup<'a> {
    pub config: &'a RunConfig,
    pub plan: Plan,
    pub identity: Identity,
    pub gpu: Option<Arc<Gpu>>,
}

struct BenchClient {
    session: Session,
    /// For the server's digests, where they are compared.
    http: Option<HttpApi>,
}

/// What a run of one client, or of all, has found.
#[derive(Default)]
pub struct Outcome {
    pub samples: RunSamples,
    /// A sentence for each thing that could not be released at the server.
    pub problems: Vec<String>,
    /// Why the server's digests were not compared to the end.
    pub no_checksums: Option<String>,
}

/// Takes a progress event of a sequence.
pub type Say<'a> = &'a (dyn Fn(u64, Event) + Sync);

impl Clients {
    /// Registers all clients, the first one with a connection that is open. After an error nothing is registered.
    pub fn open(first: Client, setup: &Setup<'_>, http: &mut Http) -> Result<Clients, Error> {
        let server = first.server().clone();
        let mut clients = Clients { all: Vec::new() };
        clients.add(first, setup, setup.gpu.clone(), http.api.take())?;
        for _ in 1..setup.config.clients {
            let (wire, timeout) = (setup.config.wire, setup.config.connect_timeout);
            let client = Client::join(wire, &setup.config.rpc_url, timeout, server.clone())?;
            let gpu = setup.gpu.as_ref().map(|gpu| gpu.another());
            let gpu = gpu.transpose().map_err(Error::Environment)?;
            clients.add(client, setup, gpu, http.another(setup.config)?)?;
        }
        Ok(clients)
    }

    fn add(
        &mut self,
        client: Client,
        setup: &Setup<'_>,
        gpu: Option<Arc<Gpu>>,
        http: Option<HttpApi>,
    ) -> Result<(), Error> {
        let identity = setup.identity.of_client(self.all.len() as u64, setup.config.ranks);
        let session = Session::open(client, setup.config, setup.plan.clone(), identity, gpu)?;
        self.all.push(BenchClient { session, http });
        Ok(())
    }

    /// A label for reports. All clients have the same.
    pub fn transport_label(&self) -> &'static str {
        self.all
            .first()
            .map_or("none", |client| client.session.transport_label())
    }

    /// Runs all clients to their last sequence number, a signal, or the first error that ends the run, and releases everything
    /// at the server.
    pub fn run(&mut self, config: &RunConfig, progress: &mut Progress) -> Outcome {
        let progress = Mutex::new(progress);
        self.run_with(config, &|sequence, event| {
            let line = progress::line(sequence, &event);
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.line(&line);
            // Without this, a run without --end would go on forever after its reader has closed the pipe.
            if config.end.is_none() && progress.error().is_some() {
                signal::reader_left();
            }
        })
    }

    /// As `run`; `say` takes the events, from the threads of all clients.
    pub fn run_with(&mut self, config: &RunConfig, say: Say<'_>) -> Outcome {
        let common = Common::new(config.clients);
        let mut outcome = match &mut self.all[..] {
            [client] => client.run(config, common.share(0), say),
            clients => together(clients, config, &common, say),
        };
        outcome.samples.aborted = common.error().map(|(_, sentence)| sentence.clone());
        outcome
    }
}

/// Runs each client in a thread of its own and pools what they found.
fn together(clients: &mut [BenchClient], config: &RunConfig, common: &Common, say: Say<'_>) -> Outcome {
    let parts = thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut unstarted = None;
        for (number, client) in (0..).zip(clients.iter_mut()) {
            let share = common.share(number);
            let thread = Builder::new().name(format!("client-{number}"));
            match thread.spawn_scoped(scope, move || client.run(config, share, say)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let cause = limits::with_advice(&error);
                    let sentence = format!(
                        "could not start a thread for client {number} of {}: {cause}; use a lower --concurrency",
                        common.clients()
                    );
                    share.stop(sentence.clone());
                    let mut part = Outcome::default();
                    part.samples.tally.sentences.push(sentence);
                    unstarted = Some(part);
                    break;
                }
            }
        }
        // A client catches its own panics.
        let parts = threads.into_iter().map(|thread| thread.join().unwrap_or_default());
        parts.chain(unstarted).collect()
    });
    // With many clients this takes a while, in which a signal that ended them must not end the program.
    let _saving = ending::saving();
    let mut pooled = pooled(parts, common.error().map(|(client, _)| *client));
    // Those whose thread could not be started are still registered.
    let left = clients.iter_mut().flat_map(|client| client.session.close());
    pooled.problems.extend(left);
    let left_out = pooled.problems.len().saturating_sub(PROBLEMS_MAX);
    if left_out > 0 {
        pooled.problems.truncate(PROBLEMS_MAX);
        let sentence = format!("{left_out} other things could not be released");
        pooled.problems.push(sentence);
    }
    pooled
}

/// What all clients have found. The sentences of the client that met the run's error come first: those of others are mostly
/// consequences, and not all are kept.
fn pooled(mut parts: Vec<Outcome>, failed: Option<u32>) -> Outcome {
    let first = failed.and_then(|client| parts.get_mut(client as usize));
    let mut pooled = first.map(std::mem::take).unwrap_or_default();
    for part in parts {
        pooled.samples.merge(part.samples);
        pooled.problems.extend(part.problems);
        pooled.no_checksums = pooled.no_checksums.or(part.no_checksums);
    }
    pooled
}

impl BenchClient {
    /// Runs this client's sequences and releases what it holds at the server.
    fn run(&mut self, config: &RunConfig, share: Share<'_>, say: Say<'_>) -> Outcome {
        let mut digests = self
            .http
            .as_ref()
            .filter(|_| config.compares_with_server())
            .map(Digests);
        let checksums = digests.as_mut().map(|digests| digests as &mut dyn ServerChecksums);
        let mut on_event = |sequence, event| say(sequence, event);
        let mut runner = Runner::new(&mut self.session, config, share, checksums, &mut on_event);
        let samples = panic::caught(|| runner.run()).unwrap_or_else(|| runner.take_samples());
        let no_checksums = runner.no_checksums.take();
        Outcome {
            samples,
            problems: panic::caught(|| self.session.close()).unwrap_or_default(),
            no_checksums,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::samples::Failure;

    #[test]
    fn the_sentences_of_the_client_that_ended_the_run_come_first() {
        let part = |name: &str| {
            let mut part = Outcome::default();
            let failures = (0..3).map(|n| (Failure::Rpc, format!("{name} {n}")));
            part.samples.tally.record(&failures.collect::<Vec<_>>());
            part.problems.push(name.to_owned());
            part.no_checksums = Some(name.to_owned());
            part
        };
        let parts = || ["a", "b", "c"].map(part).into_iter().collect();
        for (failed, order) in [(None, ["a", "b", "c"]), (Some(2), ["c", "a", "b"])] {
            let pooled = pooled(parts(), failed);
            assert_eq!(pooled.samples.tally.failed, 3);
            assert_eq!(pooled.samples.tally.sentences[0], format!("{} 0", order[0]));
            assert_eq!(pooled.problems, order);
            assert_eq!(pooled.no_checksums.as_deref(), Some(order[0]));
        }
    }
}
