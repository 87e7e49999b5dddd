//! Fields of the `valkey` type: LMCache's, checked in its order with its messages, and two of our own (`pipeline`,
//! `tls_ca_file`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::l2::adapters::field::secret::Secret;
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::AdapterType;
use crate::python::value::{float, int, repr, str_text};

pub const TYPE: AdapterType = AdapterType::new(
    "valkey",
    &[
        "startup_nodes",
        "cluster_mode",
        "username",
        "password",
        "key_prefix",
        "num_workers",
        "tls_enable",
        "database_id",
        "request_timeout",
        "connection_timeout",
        "max_capacity_gb",
        "ttl_seconds",
        "pipeline",
        "tls_ca_file",
    ],
    |fields| Ok(Arc::new(parse(fields)?)),
);

#[derive(Clone, Debug, PartialEq)]
pub struct ValkeyConfig {
    /// Host and port; never empty.
    pub startup_nodes: Vec<(String, u64)>,
    pub cluster_mode: bool,
    pub username: String,
    pub password: Secret,
    pub key_prefix: String,
    pub num_workers: u64,
    pub tls_enable: bool,
    /// Trusted instead of the public authorities.
    pub tls_ca_file: Option<PathBuf>,
    pub database_id: Option<i64>,
    pub request_timeout: Duration,
    pub connection_timeout: Duration,
    pub ttl_seconds: Option<u64>,
    pub pipeline: u64,
}

fn parse(fields: &Fields) -> Result<ValkeyConfig, String> {
    let text = |name: &str| fields.get(name).map(str_text).unwrap_or_default();
    let number = |name: &str, default: f64| fields.get(name).map_or(Ok(default), float);
    let startup_nodes = startup_nodes(fields.get("startup_nodes"))?;
    let key_prefix = text("key_prefix");
    let num_workers = match fields.get("num_workers") {
        None => 8,
        Some(Value::Number(workers)) if !workers.is_f64() => workers.as_i64().unwrap_or(i64::MAX),
        Some(_) => return Err("num_workers must be an integer".to_owned()),
    };
    let database_id = field::given(fields, "database_id").map(int).transpose()?;
    let request_timeout_s = number("request_timeout", 5.0)?;
    let connection_timeout_s = number("connection_timeout", 10.0)?;
    let max_capacity_gb = match fields.get("max_capacity_gb") {
        None => 0.0,
        Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::MAX),
        Some(_) => return Err("max_capacity_gb must be a number".to_owned()),
    };
    let ttl = match field::given(fields, "ttl_seconds") {
        None => None,
        Some(Value::Number(ttl)) if !ttl.is_f64() => Some(ttl.as_i64().unwrap_or(i64::MAX)),
        Some(_) => return Err("ttl_seconds must be a positive integer or omitted".to_owned()),
    };
    // What follows is checked after everything above, as in LMCache's constructor.
    let Some(num_workers) = u64::try_from(num_workers).ok().filter(|workers| *workers > 0) else {
        return Err("num_workers must be > 0".to_owned());
    };
    if key_prefix.contains('@') {
        let prefix = repr(&Value::String(key_prefix));
        return Err(format!("key_prefix must not contain '@': {prefix}"));
    }
    if max_capacity_gb < 0.0 {
        return Err("max_capacity_gb must be >= 0".to_owned());
    }
    let request_timeout = above_zero("request_timeout", request_timeout_s)?;
    let connection_timeout = above_zero("connection_timeout", connection_timeout_s)?;
    let ttl_seconds = match ttl {
        Some(ttl) if ttl <= 0 => return Err("ttl_seconds must be a positive integer or None".to_owned()),
        ttl => ttl.map(i64::unsigned_abs),
    };
    Ok(ValkeyConfig {
        startup_nodes,
        cluster_mode: field::truth(fields, "cluster_mode", false),
        username: text("username"),
        password: Secret::new(text("password")),
        key_prefix,
        num_workers,
        tls_enable: field::truth(fields, "tls_enable", false),
        tls_ca_file: field::optional_string(fields, "tls_ca_file")?.map(PathBuf::from),
        database_id,
        request_timeout,
        connection_timeout,
        ttl_seconds,
        pipeline: field::positive_int(fields, "pipeline", Some(1))?,
    })
}

fn above_zero(name: &str, seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 {
        Ok(field::duration(seconds))
    } else {
        Err(format!("{name} must be > 0"))
    }
}

/// `host:port[,host:port...]`, each split at its last colon.
fn startup_nodes(value: Option<&Value>) -> Result<Vec<(String, u64)>, String> {
    let Some(Value::String(text)) = value.filter(|value| value.as_str().is_some_and(|text| !text.trim().is_empty()))
    else {
        return Err("startup_nodes is required and must be a non-empty 'host:port[,host:port...]' string".to_owned());
    };
    let mut nodes = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let shown = repr(&Value::String(entry.to_owned()));
        let Some((host, port)) = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
            return Err(format!("startup_nodes entry must be 'host:port', got {shown}"));
        };
        match port.trim().parse::<i64>() {
            Err(_) => return Err(format!("startup_nodes entry has non-integer port: {shown}")),
            Ok(port) if port <= 0 => return Err(format!("startup_nodes port must be > 0, got {shown}")),
            Ok(port) => nodes.push((host.to_owned(), port.unsigned_abs())),
        }
    }
    if nodes.is_empty() {
        return Err("startup_nodes parsed to an empty list".to_owned());
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(more: &str) -> Result<ValkeyConfig, String> {
        let fields = serde_json::from_str(&format!(r#"{{"startup_nodes": "h:6379, [::1]:7000,"{more}}}"#)).unwrap();
        parse(&fields)
    }

    #[test]
    fn defaults_are_lmcaches() {
        let config = parsed("").unwrap();
        assert_eq!(
            config.startup_nodes,
            [("h".to_owned(), 6379), ("[::1]".to_owned(), 7000)]
        );
        assert_eq!(
            (config.num_workers, config.cluster_mode, config.tls_enable),
            (8, false, false)
        );
        let timeouts = (config.request_timeout.as_secs(), config.connection_timeout.as_secs());
        assert_eq!(
            (timeouts, config.ttl_seconds, config.database_id),
            ((5, 10), None, None)
        );
        let truths = parsed(r#", "cluster_mode": "no", "tls_enable": 1, "database_id": "2""#).unwrap();
        assert_eq!(
            (truths.cluster_mode, truths.tls_enable, truths.database_id),
            (true, true, Some(2))
        );
    }

    #[test]
    fn messages_are_lmcaches_in_its_order() {
        let cases = [
            (r#", "num_workers": true"#, "num_workers must be an integer"),
            (r#", "num_workers": 0, "key_prefix": "a@b""#, "num_workers must be > 0"),
            (
                r#", "num_workers": 0, "ttl_seconds": "x""#,
                "ttl_seconds must be a positive integer or omitted",
            ),
            (r#", "key_prefix": "a@b""#, "key_prefix must not contain '@': 'a@b'"),
            (r#", "request_timeout": 0"#, "request_timeout must be > 0"),
            (r#", "request_timeout": "x""#, "could not convert string to float: 'x'"),
            (r#", "connection_timeout": -1"#, "connection_timeout must be > 0"),
            (r#", "max_capacity_gb": true"#, "max_capacity_gb must be a number"),
            (r#", "max_capacity_gb": -1"#, "max_capacity_gb must be >= 0"),
            (
                r#", "ttl_seconds": 1.5"#,
                "ttl_seconds must be a positive integer or omitted",
            ),
            (
                r#", "ttl_seconds": 0"#,
                "ttl_seconds must be a positive integer or None",
            ),
            (r#", "database_id": "x""#, "invalid literal for int() with base 10: 'x'"),
        ];
        for (more, message) in cases {
            assert_eq!(parsed(more).unwrap_err(), message, "{more}");
        }
    }

    #[test]
    fn nodes_are_host_and_port() {
        let required = "startup_nodes is required and must be a non-empty 'host:port[,host:port...]' string";
        let cases = [
            ("null", required),
            ("5", required),
            (r#"" ""#, required),
            (r#"",""#, "startup_nodes parsed to an empty list"),
            (r#""h""#, "startup_nodes entry must be 'host:port', got 'h'"),
            (r#"":1""#, "startup_nodes entry must be 'host:port', got ':1'"),
            (r#""h:x""#, "startup_nodes entry has non-integer port: 'h:x'"),
            (r#""h:0""#, "startup_nodes port must be > 0, got 'h:0'"),
        ];
        for (value, message) in cases {
            let value: Value = serde_json::from_str(value).unwrap();
            assert_eq!(startup_nodes(Some(&value)).unwrap_err(), message, "{value}");
        }
    }
}
