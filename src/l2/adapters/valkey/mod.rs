//! The `valkey` adapter: the objects of `resp`, with an optional key prefix, time to live, TLS, database and cluster.

pub mod config;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::config::ValkeyConfig;
use super::field::common::without_effect;
use super::registry::AdapterConfig;
use super::resp::cluster::Cluster;
use super::resp::session::Setup;
use super::resp::{Shape, half_credentials, start};
use super::service::connections;
use super::service::link::{Address, ConnectOptions};
use super::service::tally::Tally;
use super::service::tls::TlsSetup;
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::warning::Warning;

impl AdapterConfig for ValkeyConfig {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        let address = |(host, port): &(String, u64)| Address::new(host, *port, "startup_nodes: port").map(Arc::new);
        let nodes: Vec<Arc<Address>> = self.startup_nodes.iter().map(address).collect::<Result<_, _>>()?;
        let tls = self
            .tls_enable
            .then(|| TlsSetup::new(self.tls_ca_file.as_deref()))
            .transpose()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let protocol = match (self.cluster_mode, self.tls_enable) {
            (false, false) => "RESP2",
            (false, true) => "RESP2 over TLS",
            (true, false) => "RESP2 cluster",
            (true, true) => "RESP2 cluster over TLS",
        };
        let shape = Shape {
            class_name: "ValkeyL2Adapter",
            protocol,
            workers: connections(environment.io_depth, self.num_workers, "num_workers")?,
            // A pipeline would have to be split by node, and a redirection would reorder it.
            pipeline: if self.cluster_mode { 1 } else { self.pipeline },
        };
        let setup = Setup {
            connect: ConnectOptions {
                connect_timeout: self.connection_timeout,
                request_timeout: self.request_timeout,
                tls,
                cancelled: Arc::clone(&cancelled),
            },
            username: self.username.clone(),
            password: self.password.clone(),
            database: self.database_id.filter(|_| !self.cluster_mode),
            key_prefix: match self.key_prefix.as_str() {
                "" => String::new(),
                prefix => format!("{prefix}@"),
            },
            ttl_seconds: self.ttl_seconds,
            home: Arc::clone(&nodes[0]),
            cluster: self.cluster_mode.then(|| Cluster::new(nodes)),
            tally: Arc::new(Tally::default()),
        };
        let mut warnings = fields_without_effect(self);
        warnings.extend(half_credentials("username", "password", &self.username, &self.password));
        start(setup, &shape, environment.object_bytes, cancelled, warnings)
    }
}

/// Fields that have no effect in this mode; LMCache logs the first two.
fn fields_without_effect(config: &ValkeyConfig) -> Vec<Warning> {
    let fields = [
        (
            !config.cluster_mode && config.startup_nodes.len() > 1,
            "startup_nodes",
            "without cluster_mode only the first node is used",
        ),
        (
            config.cluster_mode && config.database_id.is_some(),
            "database_id",
            "a cluster has one database",
        ),
        (
            config.cluster_mode && config.pipeline > 1,
            "pipeline",
            "requests to a cluster are sent one by one",
        ),
        (
            !config.tls_enable && config.tls_ca_file.is_some(),
            "tls_ca_file",
            "tls_enable is off",
        ),
    ];
    let given = fields.iter().filter(|(applies, ..)| *applies);
    given.map(|(_, field, why)| without_effect(field, why)).collect()
}
