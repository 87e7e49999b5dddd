//! Fields of the `s3` type: LMCache's, and four of our own (`tls_ca_file`, `disable_multipart` and two timeouts). An
//! endpoint with a path, `host/bucket`, selects path-style requests, which LMCache does not have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::l2::adapters::field::secret::Secret;
use crate::l2::adapters::field::{self, Fields};
use crate::l2::adapters::registry::AdapterType;

const CONNECTION_TIMEOUT_S: f64 = 10.0;
const REQUEST_TIMEOUT_S: f64 = 30.0;

pub const TYPE: AdapterType = AdapterType::new(
    "s3",
    &[
        "s3_endpoint",
        "s3_region",
        "s3_num_io_threads",
        "s3_prefer_http2",
        "s3_enable_s3express",
        "disable_tls",
        "aws_access_key_id",
        "aws_secret_access_key",
        "max_capacity_gb",
        "tls_ca_file",
        "disable_multipart",
        "connection_timeout",
        "request_timeout",
    ],
    |fields| Ok(Arc::new(parse(fields)?)),
);

#[derive(Clone, Debug, PartialEq)]
pub struct S3Config {
    /// As given, less a leading `s3://`.
    pub endpoint: String,
    pub region: String,
    pub num_io_threads: u64,
    /// `None` when the spec does not say.
    pub prefer_http2: Option<bool>,
    pub enable_s3express: bool,
    pub disable_tls: bool,
    /// Used only when both are given, as in LMCache.
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    /// Trusted instead of the public authorities.
    pub tls_ca_file: Option<PathBuf>,
    /// Every object in one PUT, for services that have no multipart upload.
    pub disable_multipart: bool,
    pub connection_timeout: Duration,
    pub request_timeout: Duration,
}

fn parse(fields: &Fields) -> Result<S3Config, String> {
    let endpoint = field::non_empty_string(fields, "s3_endpoint")?;
    let region = field::non_empty_string(fields, "s3_region")?;
    if !matches!(fields.get("max_capacity_gb"), None | Some(Value::Number(_))) {
        return Err("max_capacity_gb must be a number".to_owned());
    }
    let num_io_threads = field::strict_positive_int(fields, "s3_num_io_threads", Some(64))?;
    let prefer_http2 = field::boolean(fields, "s3_prefer_http2", true)?;
    Ok(S3Config {
        endpoint: endpoint.strip_prefix("s3://").unwrap_or(&endpoint).to_owned(),
        region,
        num_io_threads,
        prefer_http2: fields.contains_key("s3_prefer_http2").then_some(prefer_http2),
        enable_s3express: field::boolean(fields, "s3_enable_s3express", false)?,
        disable_tls: field::boolean(fields, "disable_tls", false)?,
        access_key_id: secret(fields, "aws_access_key_id")?,
        secret_access_key: secret(fields, "aws_secret_access_key")?,
        tls_ca_file: field::optional_string(fields, "tls_ca_file")?.map(PathBuf::from),
        disable_multipart: field::boolean(fields, "disable_multipart", false)?,
        connection_timeout: field::seconds(fields, "connection_timeout", CONNECTION_TIMEOUT_S)?,
        request_timeout: field::seconds(fields, "request_timeout", REQUEST_TIMEOUT_S)?,
    })
}

/// A config without keys.
#[cfg(test)]
pub fn config_for_test() -> S3Config {
    let fields = serde_json::json!({"s3_endpoint": "kv.host", "s3_region": "r"});
    match parse(fields.as_object().expect("an object")) {
        Ok(config) => config,
        other => panic!("{other:?}"),
    }
}

fn secret(fields: &Fields, name: &str) -> Result<Option<Secret>, String> {
    Ok(field::optional_string(fields, name)?.map(Secret::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(more: &str) -> Result<S3Config, String> {
        let json = format!(r#"{{"s3_endpoint": "s3://kv.host", "s3_region": "r"{more}}}"#);
        parse(&serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn defaults_are_lmcaches() {
        let config = parsed("").unwrap();
        assert_eq!((config.endpoint.as_str(), config.num_io_threads), ("kv.host", 64));
        let switches = (config.prefer_http2, config.enable_s3express, config.disable_tls);
        assert_eq!((switches, config.access_key_id), ((None, false, false), None));
    }

    #[test]
    fn messages_are_lmcaches() {
        let cases = [
            (r#", "s3_endpoint": """#, "s3_endpoint must be a non-empty string"),
            (r#", "s3_region": null"#, "s3_region must be a non-empty string"),
            (
                r#", "s3_num_io_threads": true"#,
                "s3_num_io_threads must be a positive integer",
            ),
            (
                r#", "s3_num_io_threads": 0, "max_capacity_gb": true"#,
                "max_capacity_gb must be a number",
            ),
            (r#", "s3_prefer_http2": 1"#, "s3_prefer_http2 must be a boolean"),
            (r#", "disable_tls": null"#, "disable_tls must be a boolean"),
            (r#", "aws_access_key_id": 5"#, "aws_access_key_id must be a string"),
        ];
        for (more, message) in cases {
            assert_eq!(parsed(more).unwrap_err(), message, "{more}");
        }
    }
}
