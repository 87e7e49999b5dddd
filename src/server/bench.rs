//! One `server` run from config to exit code: connection, registration, passes, report, clean-up. When a step fails, what was
//! measured before it is still reported.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::http::lmcache_key;
use crate::report::progress::Progress;
use crate::run;
use crate::run::output::Output;
use crate::server::checksum::Kind;
use crate::server::config::{Driver, Machine, RunConfig};
use crate::server::device::Gpu;
use crate::server::flags::{Mode, ServerArgs};
use crate::server::http::{ChecksumRequest, HttpApi};
use crate::server::plan::{Identity, Plan};
use crate::server::progress;
use crate::server::result;
use crate::server::rpc::{Client, Generation};
use crate::server::runner::{Runner, ServerChecksums};
use crate::server::samples::RunSamples;
use crate::server::session::Session;
use crate::server::summary::{self, RunFacts, ServerFacts};
use crate::server::transport::lmcache_driven::NAME_PREFIX;
use crate::server::warning::Warning;
use crate::status::Status;
use crate::sys::{counters, panic, shm, signal};

/// Long enough for a server to digest the chunks of a whole request in one reply.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

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
    let mut client = Client::recognise(&config.rpc_url, config.connect_timeout)?;
    let start_to_first_reply = started.elapsed();
    let http = Http::new(&config, key, &mut client, &mut warnings)?;
    settle_chunk_size(&mut client, &http, &mut warnings)?;
    let server = client.server().clone();
    if let Some(gpu) = &gpu {
        let facts = gpu.context.facts();
        let (name, major, minor) = (&facts.name, facts.capability.0, facts.capability.1);
        progress.line(&format!(
            "CUDA device {}: {name}, compute {major}.{minor}",
            config.device
        ));
    }
    progress.line(&format!("Server chunk_size = {}", server.chunk_size));
    progress.line(&format!("Resolved KV shape spec: {}", config.shape));
    let chunk_tokens = usize::try_from(server.chunk_size).unwrap_or(usize::MAX);
    let plan = Plan::new(&config, chunk_tokens, server.generation).map_err(Error::Usage)?;
    let identity = Identity::new(config.salted);
    let mut session = Session::open(client, &config, plan, identity, gpu.clone())?;
    let transport = session.transport_label();
    progress.line(&format!(
        "Registered {} rank(s), LMCache {}, {transport}",
        config.ranks, server.generation.label
    ));
    let samples = passes(&mut session, &config, &http, &mut warnings, &mut progress);
    let problems = session.close();
    warnings.extend(problems.into_iter().map(|what| Warning::LeftBehind { what }));
    // Read once: a later signal does not make the report partial.
    let interrupted = signal::received();
    let facts = RunFacts {
        config: &config,
        server: ServerFacts {
            generation: server.generation.label,
            release: http.release.as_deref(),
            chunk_tokens,
            chunk_bytes: config.shape.chunk_bytes(chunk_tokens),
            chunks_per_request: session.plan.chunks,
            transport,
        },
        seed: config.seed,
        cache_salt: &session.identity.cache_salt,
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

/// The server's HTTP API and the release that it reports; both `None` when it does not answer.
struct Http {
    api: Option<HttpApi>,
    release: Option<String>,
}

impl Http {
    fn new(
        config: &RunConfig,
        key: Option<ApiKey>,
        client: &mut Client,
        warnings: &mut Vec<Warning>,
    ) -> Result<Http, Error> {
        let none = Http {
            api: None,
            release: None,
        };
        let Some(url) = &config.http_url else { return Ok(none) };
        let api = HttpApi::new(url, HTTP_TIMEOUT).map_err(Error::Usage)?;
        let api = api.with_key(key).avoiding(config.rpc_url.addresses());
        match api.release() {
            Ok(release) => {
                client.set_release_is_0_5_0(release == "0.5.0");
                if Generation::is_newer(&release) {
                    let spoken = client.server().generation.label;
                    warnings.push(Warning::NewerRelease {
                        release: release.clone(),
                        spoken,
                    });
                }
                Ok(Http {
                    api: Some(api),
                    release: Some(release),
                })
            }
            Err(reason) => {
                warnings.push(Warning::NoHttp { reason });
                Ok(none)
            }
        }
    }
}

/// The server's own digests of its memory, by HTTP.
struct Digests<'a>(&'a HttpApi);

impl ServerChecksums for Digests<'_> {
    fn digests(&mut self, instance_id: u64, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<String>, String> {
        let request = ChecksumRequest {
            instance_id,
            block_ids: blocks.to_vec(),
            chunk_blocks: chunk_blocks as u64,
        };
        self.0.checksums(&request).map_err(|error| error.to_string())
    }
}

fn passes(
    session: &mut Session,
    config: &RunConfig,
    http: &Http,
    warnings: &mut Vec<Warning>,
    progress: &mut Progress,
) -> RunSamples {
    let mut digests = http.api.as_ref().map(Digests);
    // The server can digest only memory that it has mapped, and only with MD5.
    let comparable = config.driver == Driver::Lmcache && config.checksum == Kind::Md5;
    let checksums = digests.as_mut().filter(|_| comparable);
    let checksums = checksums.map(|digests| digests as &mut dyn ServerChecksums);
    let offered = checksums.is_some();
    let mut on_event = |sequence, event| {
        progress.line(&progress::line(sequence, &event));
        // Without this, a run without --end would go on forever after its reader has closed the pipe.
        if config.end.is_none() && progress.error().is_some() {
            signal::reader_left();
        }
    };
    let mut runner = Runner::new(session, config, checksums, &mut on_event);
    let samples = panic::caught(|| runner.run()).unwrap_or_else(|| runner.take_samples());
    let reason = match (config.driver, offered, runner.no_checksums.take()) {
        (Driver::Engine, ..) => None,
        (Driver::Lmcache, _, Some(reason)) => Some(reason),
        (Driver::Lmcache, true, None) => None,
        (Driver::Lmcache, false, None) if config.checksum == Kind::Fast => Some("--checksum is fast".to_owned()),
        (Driver::Lmcache, false, None) => Some("its HTTP API could not be used".to_owned()),
    };
    warnings.extend(reason.map(|reason| Warning::NoServerChecksums { reason }));
    samples
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
