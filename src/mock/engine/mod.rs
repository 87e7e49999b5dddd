//! `mock engine`: an OpenAI-compatible engine with exact delays and a log of what happened. One thread, one epoll, one heap
//! of due times; `start` runs the same inside this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::error::Error;
use crate::mock::engine::flags::MockEngineArgs;
use crate::report::output;
use crate::status::Status;
use crate::sys::signal;

mod answer;
mod arrived;
pub(crate) mod ask;
pub mod config;
mod connection;
mod events;
mod fault;
pub mod flags;
pub(crate) mod http;
pub(crate) mod metrics;
mod queue;
pub mod record;
mod reset;
mod schedule;
mod server;
mod service;
mod stall;
mod status;
pub(crate) mod tokens;

use config::Config;
use record::{Log, Served};
use server::Server;

/// Serves until a termination signal, which is the normal end of a server.
pub fn run(args: &MockEngineArgs, _started: Instant) -> Result<Status, Error> {
    let config = Config::from_args(args)?;
    let log = match &config.log {
        Some(path) => Log::to_file(path)?,
        None => Log::default(),
    };
    let server = match (Server::bind(config, log), signal::received()) {
        // A failure after a signal is due to the signal.
        (Err(_), Some(signal)) => return Ok(Status::interrupted(signal)),
        (server, _) => server?,
    };
    output::write_stdout(format!("listening on http://{}\n", server.address()))?;
    server.serve(&AtomicBool::new(false))?;
    Ok(Status::Done)
}

/// A mock engine on a thread of this process.
#[derive(Debug)]
pub struct Running {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Served>, Error>>>,
}

/// Starts serving; `Running::stop` ends it.
pub fn start(config: Config) -> Result<Running, Error> {
    let server = Server::bind(config, Log::in_memory())?;
    let address = server.address();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("mock-engine".into())
        .spawn(move || server.serve(&seen))
        .map_err(|cause| Error::Environment(format!("could not start the mock engine's thread: {cause}")))?;
    Ok(Running {
        address,
        stop,
        thread: Some(thread),
    })
}

impl Running {
    /// Stops the engine; returns the records in the order in which the answers ended.
    pub fn stop(mut self) -> Result<Vec<Served>, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("taken only here and in drop");
        match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Internal("the mock engine's thread panicked".into())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}
