//! Fields of the `resp` type: LMCache's, and three of our own (`pipeline` and two timeouts).

use std::time::Duration;

use serde_json::{Map, Value};

use super::python_value::str_text;
use super::{AdapterKind, Secret, SpecType, field};

/// LMCache waits forever; a benchmark must not.
const CONNECTION_TIMEOUT_S: f64 = 10.0;
const REQUEST_TIMEOUT_S: f64 = 30.0;

pub const TYPE: SpecType = SpecType {
    name: "resp",
    fields: Some(&[
        "host",
        "port",
        "num_workers",
        "username",
        "password",
        "max_capacity_gb",
        "pipeline",
        "connection_timeout",
        "request_timeout",
    ]),
    parse,
};

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

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
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
    Ok(AdapterKind::Resp(config))
}
