//! The `resp` adapter (Redis, Valkey): form W keys, raw values, RESP2 over plain TCP, one blocking connection per worker. The
//! protocol is here too; `valkey` uses it.

mod answer;
pub mod cluster;
pub mod config;
mod exchange;
pub mod session;
pub mod wire;

use std::env;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::config::RespConfig;
use self::session::{RespSession, Setup};
use super::field::secret::Secret;
use super::registry::AdapterConfig;
use super::service::link::{Address, ConnectOptions};
use super::service::session::Session;
use super::service::tally::Tally;
use super::service::{Service, ServiceAdapter, connections};
use crate::l2::adapter::{Adapter, Environment, StepLabels};
use crate::l2::warning::{SpecWarning, Warning};

/// A longer pipeline only fills the server's buffers.
const PIPELINE_MAX: u64 = 1024;
const USERNAME: &str = "LMCACHE_RESP_USERNAME";
const PASSWORD: &str = "LMCACHE_RESP_PASSWORD";
pub const STEPS: [StepLabels; 2] = [["Connect", "Send", "Reply"], ["Request", "Value", ""]];

impl AdapterConfig for RespConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        let or_environment = |value: &str, name: &str| {
            if value.is_empty() {
                env::var(name).unwrap_or_default()
            } else {
                value.to_owned()
            }
        };
        let username = or_environment(&self.username, USERNAME);
        let password = Secret::new(or_environment(self.password.expose(), PASSWORD));
        let given = if self.username.is_empty() { USERNAME } else { "username" };
        let warning = half_credentials(given, &format!("password ({PASSWORD})"), &username, &password);
        let cancelled = Arc::new(AtomicBool::new(false));
        let setup = Setup {
            connect: ConnectOptions {
                connect_timeout: self.connection_timeout,
                request_timeout: self.request_timeout,
                tls: None,
                cancelled: Arc::clone(&cancelled),
            },
            username,
            password,
            database: None,
            key_prefix: String::new(),
            ttl_seconds: None,
            home: Arc::new(Address::new(&self.host, self.port, "port")?),
            cluster: None,
            tally: Arc::new(Tally::default()),
        };
        let workers = connections(environment.io_depth, self.num_workers, "num_workers")?;
        let shape = Shape {
            class_name: "NativeConnectorL2Adapter",
            protocol: "RESP2",
            workers,
            pipeline: self.pipeline,
        };
        start(
            setup,
            &shape,
            environment.object_bytes,
            cancelled,
            warning.into_iter().collect(),
        )
    }
}

/// The warning about a user name without a password: no login is sent then, as in LMCache. A password alone is that of the default
/// user.
pub fn half_credentials(given: &str, missing: &str, username: &str, password: &Secret) -> Option<Warning> {
    let half = !username.is_empty() && password.is_empty();
    half.then(|| {
        Warning::Spec(SpecWarning::HalfCredentials {
            given: given.to_owned(),
            missing: missing.to_owned(),
            instead: "nobody logs in and the server's default user is measured".to_owned(),
        })
    })
}

/// The names and sizes of a RESP adapter.
pub struct Shape {
    pub class_name: &'static str,
    pub protocol: &'static str,
    pub workers: usize,
    pub pipeline: u64,
}

/// Connects every worker, or says why that is impossible.
pub fn start(
    setup: Setup,
    shape: &Shape,
    object_bytes: usize,
    cancelled: Arc<AtomicBool>,
    warnings: Vec<Warning>,
) -> Result<Box<dyn Adapter>, String> {
    let batch = match usize::try_from(shape.pipeline) {
        Ok(batch) if shape.pipeline <= PIPELINE_MAX => batch,
        _ => {
            return Err(format!(
                "pipeline is {} but must be at most {PIPELINE_MAX}",
                shape.pipeline
            ));
        }
    };
    let setup = Arc::new(setup);
    let sessions =
        (0..shape.workers).map(|_| RespSession::open(&setup).map(|session| Box::new(session) as Box<dyn Session>));
    let sessions: Vec<Box<dyn Session>> = sessions.collect::<Result<_, _>>()?;
    let pipelining = if batch > 1 {
        format!("pipeline of {batch}")
    } else {
        "no pipelining".to_owned()
    };
    ServiceAdapter::start(Service {
        class_name: shape.class_name,
        io_path: format!("{}, {} connections, {pipelining}", shape.protocol, shape.workers),
        sessions,
        batch,
        object_bytes,
        steps: STEPS,
        cancelled,
        tally: Arc::clone(&setup.tally),
        warnings,
    })
}
