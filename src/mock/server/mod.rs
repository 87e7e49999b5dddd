//! `mock server`: a multiprocess cache server in memory, for trying things out and for tests; its speed says nothing about the
//! real one. One thread per connection, and one lock around the shared state.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::api_keys::ApiKeys;
use self::config::Config;
use self::service::Service;
use crate::error::Error;
use crate::mock::server::flags::MockServerArgs;
use crate::report::output::write_stdout;
use crate::status::Status;
use crate::sys::signal;

pub(crate) mod api_keys;
mod cache;
mod chunk_pickle;
mod config;
mod connection;
pub(crate) mod descriptor;
pub(crate) mod engine;
pub mod flags;
pub(crate) mod http;
mod lookup;
mod memory;
mod pickle;
pub(crate) mod request;
mod service;
mod worker;

/// Clients at a time; further connections are closed.
const CONNECTIONS_MAX: usize = 256;
/// Interval of checks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

/// A running mock server.
pub struct Running {
    pub rpc: SocketAddr,
    pub http: SocketAddr,
    service: Arc<Mutex<Service>>,
}

/// Serves until a signal asks for the end.
pub fn run(args: &MockServerArgs, _started: Instant) -> Result<Status, Error> {
    let config = Config::resolve(args)?;
    let running = start(config)?;
    let (rpc, http) = (running.rpc, running.http);
    write_stdout(format!("listening on tcp://{rpc} http://{http}\n"))?;
    while signal::received().is_none() {
        thread::sleep(SIGNAL_POLL);
    }
    Ok(Status::Done)
}

/// Binds both ports and serves them from threads that live as long as the process.
fn start(config: Config) -> Result<Running, Error> {
    let rpc_listener = bind(&config.host, config.port, "--port")?;
    let http_listener = bind(&config.host, config.http_port, "--http-port")?;
    let keys = ApiKeys::read(&config.api_key_files)?;
    let name = config.shm_name.clone().unwrap_or_default();
    let service = Service::new(config).map_err(|error| {
        Error::Environment(format!(
            "could not make the shared memory '{name}': {error}; choose another --shm-name or a smaller --l1-size-mb"
        ))
    })?;
    let service = Arc::new(Mutex::new(service));
    let address = |listener: &TcpListener| {
        let address = listener.local_addr();
        address.map_err(|error| Error::Internal(format!("no address of a listening socket: {error}")))
    };
    let running = Running {
        rpc: address(&rpc_listener)?,
        http: address(&http_listener)?,
        service: Arc::clone(&service),
    };
    let of_http = Arc::clone(&service);
    thread::spawn(move || http::serve(&http_listener, keys, &of_http));
    thread::spawn(move || accept(&rpc_listener, &service));
    Ok(running)
}

fn bind(host: &str, port: u16, flag: &str) -> Result<TcpListener, Error> {
    let bound = || -> io::Result<TcpListener> {
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        TcpListener::bind(addresses.as_slice())
    };
    bound().map_err(|error| {
        Error::Environment(format!(
            "could not listen on {host}:{port}: {error}; choose another {flag}, or 0 for any free one"
        ))
    })
}

fn accept(listener: &TcpListener, service: &Arc<Mutex<Service>>) {
    let dead = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if served.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            served.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (service, dead, count) = (Arc::clone(service), Arc::clone(&dead), Arc::clone(&served));
        let spawned = thread::Builder::new().spawn(move || {
            connection::serve(stream, &service, &dead);
            count.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            // The connection is closed when the stream is dropped.
            served.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Running {
    /// Removes the name of the shared memory; the threads end with the process.
    fn drop(&mut self) {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        service.cache.close();
    }
}
