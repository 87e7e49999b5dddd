//! One `server` run from config to exit code: connection, registration, passes, report, clean-up. When a step fails, what was
//! measured before it is still reported.

use std::time::Instant;

use crate::error::Error;
use crate::http::lmcache_key;
use crate::report::progress::Progress;
use crate::run;
use crate::run::output::Output;
use crate::server::checksum::Kind;
use crate::server::clients::http::Http;
use crate::server::clients::{Clients, Outcome, Setup};
use crate::server::config::{Driver, Machine, RunConfig};
use crate::server::device::Gpu;
use crate::server::flags::{Mode, ServerArgs};
use crate::server::http::HttpApi;
use crate::server::plan::{Identity, Plan};
use crate::server::result;
use crate::server::rpc::{Client, ServerInfo};
use crate::server::samples::RunSamples;
use crate::server::summary::{self, RunFacts, ServerFacts};
use crate::server::transport::lmcache_driven::NAME_PREFIX;
use crate::server::warning::Warning;
use crate::status::Status;
use crate::sys::{counters, shm, signal};

/// Runs `server`. `started` is the start of the process.
pub fn run(args: &ServerArgs, started: Instant) -> Result<Status, Error> {
    let config = RunConfig::resolve(args, machine())?;
    let key = lmcache_key::for_url(config.http_url.as_deref())?;
    let output = Output::check(&args.output)?;
    let gpu = match config.mode {
        Mode::Cpu => None,
        Mode::Gpu => Some(Gpu::open(config.device).map_err(Error::Environment)?),
    };
    let mut progress = output.progress();
    let mut warnings = config.warnings.clone();
    warnings.extend(remove_abandoned());
    let notes = output.path_notes.iter().cloned();
    warnings.extend(notes.map(|note| Warning::LiteralPath { note }));
    progress.line(&format!(
        "Connecting to LMCache MP Server at {} (mode={}) ...",
        config.rpc_url,
        config.mode.text()
    ));
    let start_to_first_rpc = started.elapsed();
    let mut client = Client::recognise(config.wire, &config.rpc_url, config.connect_timeout)?;
    let start_to_first_reply = started.elapsed();
    let mut http = Http::new(&config, key, &mut client, &mut warnings)?;
    settle_chunk_size(&mut client, &http, &mut warnings)?;
    let server = client.server().clone();
    announce(&config, gpu.as_deref(), &server, &mut progress);
    let chunk_tokens = usize::try_from(server.chunk_size).unwrap_or(usize::MAX);
    let plan = Plan::new(&config, chunk_tokens, server.generation).map_err(Error::Usage)?;
    let setup = Setup {
        config: &config,
        plan,
        identity: Identity::new(config.salted),
        gpu,
    };
    let offered = http.api.is_some() && config.compares_with_server();
    let mut clients = Clients::open(client, &setup, &mut http)?;
    let transport = clients.transport_label();
    let of_clients = match config.clients {
        1 => String::new(),
        count => format!(" for each of {count} clients"),
    };
    progress.line(&format!(
        "Registered {} rank(s){of_clients}, LMCache {}, {transport}",
        config.ranks, server.generation.label
    ));
    let mut outcome = clients.run(&config, &mut progress);
    warnings.extend(no_server_checksums(&config, offered, &mut outcome));
    let Outcome { samples, problems, .. } = outcome;
    warnings.extend(problems.into_iter().map(|what| Warning::LeftBehind { what }));
    // Read once: a later signal does not make the report partial.
    let interrupted = signal::received();
    let facts = RunFacts {
        config: &config,
        server: ServerFacts {
            generation: server.generation,
            release: http.release.as_deref(),
            chunk_tokens,
            chunk_bytes: config.shape.chunk_bytes(chunk_tokens),
            chunks_per_request: setup.plan.chunks,
            transport,
        },
        seed: config.seed,
        cache_salt: &setup.identity.cache_salt,
        start_to_first_rpc,
        start_to_first_reply,
        started,
        interrupted: interrupted.map(signal::name),
    };
    let mut result = summary::result(&facts, &samples, warnings);
    output.complete(&mut result, || result::samples(&samples));
    let unwritten = output.write(&result);
    Ok(status(&samples, interrupted, unwritten))
}

/// Progress lines about the device and the server.
fn announce(config: &RunConfig, gpu: Option<&Gpu>, server: &ServerInfo, progress: &mut Progress) {
    if let Some(gpu) = gpu {
        let facts = gpu.context.facts();
        let (name, major, minor) = (&facts.name, facts.capability.0, facts.capability.1);
        progress.line(&format!(
            "CUDA device {}: {name}, compute {major}.{minor}",
            config.device
        ));
    }
    progress.line(&format!("Server chunk_size = {}", server.chunk_size));
    progress.line(&format!("Resolved KV shape spec: {}", config.shape));
}

fn machine() -> Machine {
    Machine {
        available_bytes: counters::available_memory_bytes(),
        shared_memory_bytes: shm::free_bytes().ok(),
    }
}

/// Removes shared memory of earlier runs that were killed before the server had mapped it.
fn remove_abandoned() -> Option<Warning> {
    let names = shm::remove_abandoned(NAME_PREFIX).unwrap_or_default();
    (!names.is_empty()).then_some(Warning::AbandonedMemory { names })
}

/// Takes the chunk size from the HTTP API where asking over ZeroMQ would fix it.
fn settle_chunk_size(client: &mut Client, http: &Http, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let asks_http = client.server().generation.asking_fixes_chunk_size;
    let status = http.api.as_ref().filter(|_| asks_http).map(HttpApi::status);
    let reported = status.and_then(Result::ok).and_then(|status| status.chunk_size);
    if client.settle_chunk_size(reported)? {
        let chunk_tokens = client.server().chunk_size;
        warnings.push(Warning::ChunkSizeFixed { chunk_tokens });
    }
    Ok(())
}

/// Why the server's digests were not compared, if they were not.
fn no_server_checksums(config: &RunConfig, offered: bool, outcome: &mut Outcome) -> Option<Warning> {
    let reason = match (config.driver, offered, outcome.no_checksums.take()) {
        (Driver::Engine, ..) => None,
        (Driver::Lmcache, _, Some(reason)) => Some(reason),
        (Driver::Lmcache, true, None) => None,
        (Driver::Lmcache, false, None) if config.checksum == Kind::Fast => Some("--checksum is fast".to_owned()),
        (Driver::Lmcache, false, None) => Some("its HTTP API could not be used".to_owned()),
    };
    reason.map(|reason| Warning::NoServerChecksums { reason })
}

/// The status of the run, with the messages for stderr. Ctrl-C is a clean end if at least one sequence was verified.
fn status(samples: &RunSamples, interrupted: Option<i32>, unwritten: Vec<String>) -> Status {
    let tally = &samples.tally;
    let mut sentences = unwritten;
    if tally.failed > 0 || samples.aborted.is_some() {
        sentences.extend(tally.sentences.iter().cloned());
        let (failed, all) = (tally.failed, tally.completed());
        sentences.push(format!(
            "lmcache-bench server: {failed} of {all} sequences did not pass"
        ));
        return Status::Failed(sentences);
    }
    let is_clean = |signal: &i32| tally.passed > 0 && signal::name(*signal) == "SIGINT";
    run::ended(interrupted.filter(|signal| !is_clean(signal)), sentences)
}
