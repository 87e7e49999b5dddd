//! The `s3` adapter: one object per key under its form W name, signed requests over HTTP/1.1, one connection per worker.
//! Virtual-host style as in LMCache, path style where the endpoint has a path.

pub(crate) mod answer;
pub mod config;
mod connections;
pub(crate) mod credentials;
pub(crate) mod http;
pub(crate) mod refusal;
mod requester;
mod session;
mod sign;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::config::S3Config;
use self::connections::Connections;
use self::requester::Setup;
use self::session::{PART_BYTES, S3Session};
use super::field::common::without_effect;
use super::registry::AdapterConfig;
use super::service::link::{Address, ConnectOptions};
use super::service::session::Session;
use super::service::tally::Tally;
use super::service::tls::TlsSetup;
use super::service::{Service, ServiceAdapter, connections};
use crate::l2::adapter::{Adapter, Environment, StepLabels};
use crate::l2::warning::Warning;
use crate::units::{GIB, bytes_text};

/// S3's own limit.
const SINGLE_PUT_BYTES_MAX: u64 = 5 * GIB;
const STEPS: [StepLabels; 2] = [["Connect", "Send", "Answer"], ["First byte", "Body", ""]];

impl AdapterConfig for S3Config {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String> {
        if self.enable_s3express {
            let why = "s3_enable_s3express needs the session tokens of S3 Express, which are not offered here";
            return Err(format!("{why}; set it to false or measure LMCache's own adapter"));
        }
        let endpoint = Endpoint::parse(&self.endpoint, self.disable_tls)?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let tls = if self.disable_tls {
            None
        } else {
            Some(TlsSetup::new(self.tls_ca_file.as_deref())?)
        };
        let (scheme, protocol) = if self.disable_tls {
            ("http", "HTTP/1.1")
        } else {
            ("https", "HTTP/1.1 with TLS")
        };
        let style = if endpoint.root == "/" {
            "virtual host"
        } else {
            "path style"
        };
        let (credentials, warning) = credentials::find(self)?;
        let setup = Arc::new(Setup {
            connect: ConnectOptions {
                connect_timeout: self.connection_timeout,
                request_timeout: self.request_timeout,
                tls,
                cancelled: Arc::clone(&cancelled),
            },
            address: endpoint.address,
            host: endpoint.host,
            root: endpoint.root,
            shown: format!("{}://{}", scheme, self.endpoint),
            region: self.region.clone(),
            credentials,
            put_bytes_max: put_bytes_max(self, environment.object_bytes)?,
            tally: Arc::new(Tally::default()),
        });
        let count = connections(environment.io_depth, self.num_io_threads, "s3_num_io_threads")?;
        let connections = Connections::new(&setup, count);
        // A wrong endpoint fails before the run.
        connections.take().connect()?;
        let parts = match environment.object_bytes > PART_BYTES {
            true if self.disable_multipart => "one PUT each, ranges of 8 MiB, ",
            true => "parts of 8 MiB, ",
            false => "",
        };
        let session = |_| Box::new(S3Session::new(&connections)) as Box<dyn Session>;
        ServiceAdapter::start(Service {
            class_name: "S3L2Adapter",
            io_path: format!("S3 over {protocol}, {style}, {parts}{count} connections"),
            sessions: (0..count).map(session).collect(),
            batch: 1,
            object_bytes: environment.object_bytes,
            steps: STEPS,
            cancelled,
            tally: Arc::clone(&setup.tally),
            warnings: fields_without_effect(self).into_iter().chain(warning).collect(),
        })
    }
}

/// How much goes into one PUT.
fn put_bytes_max(config: &S3Config, object_bytes: usize) -> Result<usize, String> {
    match (config.disable_multipart, object_bytes) {
        (false, _) => Ok(PART_BYTES),
        (true, bytes) if bytes as u64 > SINGLE_PUT_BYTES_MAX => Err(format!(
            "disable_multipart: S3 takes at most 5 GiB in one PUT but an object has {}; lower --data-size-kb or leave \
             disable_multipart out",
            bytes_text(bytes as u64)
        )),
        (true, bytes) => Ok(bytes),
    }
}

fn fields_without_effect(config: &S3Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |field: &str, why: &str| warnings.push(without_effect(field, why));
    if config.prefer_http2 == Some(true) {
        warn(
            "s3_prefer_http2",
            "requests go over HTTP/1.1, one at a time on each connection",
        );
    }
    if config.disable_tls && config.tls_ca_file.is_some() {
        warn("tls_ca_file", "disable_tls is on");
    }
    warnings
}

/// Where requests go.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    address: Address,
    host: String,
    root: String,
}

impl Endpoint {
    /// `bucket.host[:port]`, or `host[:port]/bucket` for path style.
    fn parse(text: &str, disable_tls: bool) -> Result<Endpoint, String> {
        if text.contains("://") {
            return Err(format!(
                "s3_endpoint {text} must not name a scheme: disable_tls chooses between http and https"
            ));
        }
        let (host, bucket) = text.split_once('/').unwrap_or((text, ""));
        let sound = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#');
        if host.is_empty() || !text.chars().all(sound) {
            return Err(format!(
                "s3_endpoint {text:?} is not bucket.host[:port] or host[:port]/bucket"
            ));
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                let number = port
                    .parse()
                    .map_err(|_| format!("s3_endpoint {text}: {port} is not a port"))?;
                (name, number)
            }
            _ => (host, if disable_tls { 80 } else { 443 }),
        };
        let bucket = bucket.trim_end_matches('/');
        Ok(Endpoint {
            address: Address::new(name, port, "s3_endpoint: port")?,
            host: host.to_owned(),
            root: if bucket.is_empty() {
                "/".to_owned()
            } else {
                format!("/{}/", sign::encode_path(bucket))
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_virtual_hosts_or_paths() {
        let parts = |text: &str, plain: bool| {
            let endpoint = Endpoint::parse(text, plain).unwrap();
            (endpoint.address.to_string(), endpoint.host, endpoint.root)
        };
        let expect = |address: &str, host: &str, root: &str| (address.to_owned(), host.to_owned(), root.to_owned());
        assert_eq!(
            parts("kv.s3.eu-west-1.amazonaws.com", false),
            expect(
                "kv.s3.eu-west-1.amazonaws.com:443",
                "kv.s3.eu-west-1.amazonaws.com",
                "/"
            )
        );
        assert_eq!(
            parts("kv.localhost:9000", true),
            expect("kv.localhost:9000", "kv.localhost:9000", "/")
        );
        assert_eq!(
            parts("127.0.0.1:9000/kv/", true),
            expect("127.0.0.1:9000", "127.0.0.1:9000", "/kv/")
        );
        assert_eq!(parts("[::1]/kv", true), expect("[::1]:80", "[::1]", "/kv/"));
        for bad in ["http://h", "", "/kv", "h:x", "h:0", "h:99999", "us er", "u@h", "h?x"] {
            assert!(Endpoint::parse(bad, true).is_err(), "{bad}");
        }
    }
}
