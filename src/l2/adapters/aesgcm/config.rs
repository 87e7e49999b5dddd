//! The `serde` block of a spec: what LMCache puts between its memory and a store. `lmcache bench l2` leaves it out; here
//! `aesgcm` can be applied. Messages are LMCache's, which it gives when a server starts.

use std::path::PathBuf;

use serde_json::Value;

use crate::l2::adapters::field::{self, Fields};
use crate::python::{quote, value};

const REGISTERED: &str = "aesgcm, fp8, turboquant";
const FP8_TYPES: [&str; 5] = [
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
];
/// LMCache does not bound them.
const WORKERS_MAX: i64 = 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum SerdeConfig {
    AesGcm(AesGcmConfig),
    /// A serializer that this program does not have.
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct AesGcmConfig {
    pub master_key_path: PathBuf,
    /// 16 or 32.
    pub key_bytes: usize,
    pub workers: usize,
}

/// Reads the block, if there is one; its form was checked before.
pub fn parse(fields: &Fields) -> Option<Result<SerdeConfig, String>> {
    let serde = field::given(fields, "serde")?.as_object()?;
    Some(match serde.get("type").and_then(Value::as_str) {
        Some("aesgcm") => aesgcm(serde).map(SerdeConfig::AesGcm),
        Some("fp8") => fp8(serde),
        Some("turboquant") => Ok(SerdeConfig::Other("turboquant".to_owned())),
        other => {
            let name = value::repr(&other.map_or(Value::Null, Value::from));
            Err(format!("Unknown serde type {name}. Registered: {REGISTERED}"))
        }
    })
}

fn aesgcm(serde: &Fields) -> Result<AesGcmConfig, String> {
    let provider = serde.get("key_provider").map_or("hkdf".to_owned(), value::str_text);
    let aes_bits = serde.get("aes_bits").map_or(Ok(128), value::int)?;
    let key_bytes = match aes_bits {
        128 => 16,
        256 => 32,
        other => return Err(format!("aes_bits must be one of (128, 256), got {other}")),
    };
    if provider != "hkdf" {
        let provider = quote::repr(&provider);
        return Err(format!(
            "unsupported key_provider {provider} (only 'hkdf' is implemented)"
        ));
    }
    let path = serde.get("master_key_path").map(value::str_text);
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or("aesgcm serde 'hkdf' requires 'master_key_path'")?;
    Ok(AesGcmConfig {
        master_key_path: PathBuf::from(path),
        key_bytes,
        workers: workers(serde)?,
    })
}

fn fp8(serde: &Fields) -> Result<SerdeConfig, String> {
    let name = serde
        .get("fp8_dtype")
        .map_or("float8_e4m3fn".to_owned(), value::str_text);
    if !FP8_TYPES.contains(&name.as_str()) {
        return Err(format!("Unknown torch dtype: {}", quote::repr(&name)));
    }
    workers(serde)?;
    Ok(SerdeConfig::Other("fp8".to_owned()))
}

fn workers(serde: &Fields) -> Result<usize, String> {
    let workers = serde.get("max_workers").map_or(Ok(1), value::int)?;
    if workers <= 0 {
        return Err("max_workers must be greater than 0".to_owned());
    }
    let bounded = usize::try_from(workers).ok().filter(|_| workers <= WORKERS_MAX);
    bounded.ok_or_else(|| format!("max_workers is {workers} but at most {WORKERS_MAX} threads are started"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(serde: Value) -> Result<SerdeConfig, String> {
        parse(json!({ "serde": serde }).as_object().unwrap()).unwrap()
    }

    #[test]
    fn aesgcm_has_lmcaches_defaults() {
        let expected = AesGcmConfig {
            master_key_path: PathBuf::from("/k"),
            key_bytes: 16,
            workers: 1,
        };
        assert_eq!(
            parsed(json!({"type": "aesgcm", "master_key_path": "/k"})),
            Ok(SerdeConfig::AesGcm(expected))
        );
        let long = parsed(json!({"type": "aesgcm", "master_key_path": "/k", "aes_bits": "256", "max_workers": 3}));
        let SerdeConfig::AesGcm(long) = long.unwrap() else {
            panic!("aesgcm")
        };
        assert_eq!((long.key_bytes, long.workers), (32, 3));
        assert_eq!(parse(&Fields::new()), None);
    }

    #[test]
    fn messages_are_lmcaches() {
        let cases = [
            (
                json!({"type": "x"}),
                "Unknown serde type 'x'. Registered: aesgcm, fp8, turboquant",
            ),
            (
                json!({"type": "aesgcm"}),
                "aesgcm serde 'hkdf' requires 'master_key_path'",
            ),
            (
                json!({"type": "aesgcm", "aes_bits": 192}),
                "aes_bits must be one of (128, 256), got 192",
            ),
            (
                json!({"type": "aesgcm", "aes_bits": "x"}),
                "invalid literal for int() with base 10: 'x'",
            ),
            (
                json!({"type": "aesgcm", "key_provider": "k"}),
                "unsupported key_provider 'k' (only 'hkdf' is implemented)",
            ),
            (
                json!({"type": "aesgcm", "master_key_path": "/k", "max_workers": 0}),
                "max_workers must be greater than 0",
            ),
            (json!({"type": "fp8", "fp8_dtype": 3}), "Unknown torch dtype: '3'"),
        ];
        for (serde, message) in cases {
            assert_eq!(parsed(serde), Err(message.to_owned()));
        }
        assert_eq!(parsed(json!({"type": "fp8"})), Ok(SerdeConfig::Other("fp8".to_owned())));
    }
}
