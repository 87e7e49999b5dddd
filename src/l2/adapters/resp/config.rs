//! Fields of the `resp` type: LMCache's, and three of our own (`pipeline` and two timeouts).

use std::sync::Arc;
use std::time::Duration;

use crate::l2::adapters::field::secret::Secret;
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::AdapterType;
use crate::python::value::str_text;

/// LMCache waits forever; a benchmark must not.
const CONNECTION_TIMEOUT_S: f64 = 10.0;
const REQUEST_TIMEOUT_S: f64 = 30.0;

pub const TYPE: AdapterType = AdapterType::new(
    "resp",
    &[
        "host",
        "port",
        "num_workers",
        "username",
        "password",
        "max_capacity_gb",
        "pipeline",
        "connection_timeout",
        "request_timeout",
    ],
    |fields| Ok(Arc::new(parse(fields)?)),
);

#[derive(Clone, Debug, PartialEq)]
pub struct RespConfig {
    pub host: String,
    pub port: u64,
    pub num_workers: u64,
    /// Empty: the environment may name one.
    pub username: String,
    pub password: Secret,
    /// Commands sent on one connection before the first reply is awaited.
    pub pipeline: u64,
    pub connection_timeout: Duration,
    pub request_timeout: Duration,
}

fn parse(fields: &Fields) -> Result<RespConfig, String> {
    let text = |name: &str| fields.get(name).map(str_text).unwrap_or_default();
    let config = RespConfig {
        host: field::non_empty_string(fields, "host")?,
        port: field::positive_int(fields, "port", None)?,
        num_workers: field::positive_int(fields, "num_workers", Some(8))?,
        username: text("username"),
        password: Secret::new(text("password")),
        pipeline: field::positive_int(fields, "pipeline", Some(1))?,
        connection_timeout: field::seconds(fields, "connection_timeout", CONNECTION_TIMEOUT_S)?,
        request_timeout: field::seconds(fields, "request_timeout", REQUEST_TIMEOUT_S)?,
    };
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<RespConfig, String> {
        let fields: Fields = serde_json::from_str(json).unwrap();
        parse(&fields)
    }

    #[test]
    fn defaults_are_lmcaches() {
        let config = parsed(r#"{"host": "h", "port": 6379}"#).unwrap();
        assert_eq!(
            (config.num_workers, config.username.as_str(), config.pipeline),
            (8, "", 1)
        );
        assert!(config.password.is_empty());
        let odd = parsed(r#"{"host": "h", "port": true, "username": 5, "password": null}"#).unwrap();
        assert_eq!(
            (odd.port, odd.username.as_str(), odd.password.expose()),
            (1, "5", "None")
        );
    }

    #[test]
    fn messages_are_lmcaches() {
        let cases = [
            (r#"{"port": 1}"#, "host must be a non-empty string"),
            (r#"{"host": "", "port": 1}"#, "host must be a non-empty string"),
            (r#"{"host": "h"}"#, "port must be a positive integer"),
            (r#"{"host": "h", "port": 6379.0}"#, "port must be a positive integer"),
            (
                r#"{"host": "h", "port": 1, "num_workers": 0}"#,
                "num_workers must be a positive integer",
            ),
            (
                r#"{"host": "h", "port": 1, "max_capacity_gb": -1}"#,
                "max_capacity_gb must be a non-negative number",
            ),
            (
                r#"{"host": "h", "port": 1, "pipeline": 0}"#,
                "pipeline must be a positive integer",
            ),
            (
                r#"{"host": "h", "port": 1, "request_timeout": 0}"#,
                "request_timeout must be a positive number",
            ),
        ];
        for (json, message) in cases {
            assert_eq!(parsed(json).unwrap_err(), message, "{json}");
        }
    }
}
