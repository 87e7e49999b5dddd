//! The HTTP endpoints that clients of the cache server use, one request per connection. Requests are limited in size and
//! time.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::api_keys::ApiKeys;
use super::config::FaultKind;
use super::service::Service;
use super::worker::{KvMemory, Worker};
use crate::http::head::{self, RequestHead};
use crate::python;
use crate::server::rpc::Operation;
use crate::units::decimal;

const REQUEST_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 16 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);
const COMMIT: &str = "gmock0000";

pub(crate) struct Request {
    method: String,
    path: String,
    /// Whether it has a key, or needs none.
    is_admitted: bool,
    pub query: String,
    pub body: Vec<u8>,
}

/// Answers each connection in a thread of its own.
pub fn serve(listener: &TcpListener, keys: ApiKeys, service: &Arc<Mutex<Service>>) {
    let keys = Arc::new(keys);
    for stream in listener.incoming().flatten() {
        let (keys, service) = (Arc::clone(&keys), Arc::clone(service));
        // A connection that cannot be served is closed.
        let spawned = thread::Builder::new().spawn(move || {
            let _ = answer(stream, &keys, &service);
        });
        drop(spawned);
    }
}

fn answer(mut stream: TcpStream, keys: &ApiKeys, service: &Mutex<Service>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (status, body) = match read_request(&mut stream, keys)? {
        Some(request) if !request.is_admitted => (401, json!({"detail": "Invalid or missing API key"})),
        Some(request) => respond(&request, &mut service.lock().unwrap_or_else(PoisonError::into_inner)),
        None => (400, json!({"detail": "Bad Request"})),
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        if status == 200 { "OK" } else { "Error" },
        body.len(),
        if status == 401 {
            "WWW-Authenticate: Bearer\r\n"
        } else {
            ""
        }
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

pub(crate) fn read_request(stream: &mut impl Read, keys: &ApiKeys) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let (mut request, length, head_bytes) = loop {
        let mut piece = [0; 4096];
        let read = match stream.read(&mut piece) {
            // A stopped process that goes on.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        bytes.extend_from_slice(&piece[..read]);
        match head::request(&bytes, HEAD_BYTES_MAX) {
            Ok(Some(head)) => break (Request::new(&head, keys), body_bytes(&head), head.bytes),
            Ok(None) if read > 0 => {}
            _ => return Ok(None),
        }
    };
    if length > REQUEST_BYTES_MAX {
        return Ok(None);
    }
    request.body = bytes.split_off(head_bytes);
    let missing = length.saturating_sub(request.body.len());
    stream.take(missing as u64).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

impl Request {
    fn new(head: &RequestHead, keys: &ApiKeys) -> Request {
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        Request {
            method: head.method.into(),
            path: path.into(),
            is_admitted: keys.admit(path, &head.headers),
            query: query.into(),
            body: Vec::new(),
        }
    }
}

fn body_bytes(head: &RequestHead) -> usize {
    let mut lengths = head
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.find_map(|(_, value)| decimal(value)).unwrap_or(0)
}

fn respond(request: &Request, service: &mut Service) -> (u16, Value) {
    let is_first = service.config.release.starts_with("0.5.0");
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => (200, json!({"status": "ok", "service": "LMCache HTTP API"})),
        ("GET", "/healthcheck") => (200, json!({"status": "healthy"})),
        ("GET", "/version") => (200, json!(format!("{}-{COMMIT}", service.config.release))),
        ("GET", "/lmc_version") => (200, json!(service.config.release)),
        ("GET", "/commit_id") => (200, json!(COMMIT)),
        ("GET", "/status") => (200, status(service)),
        ("POST", "/cache/checksums") if !is_first => checksums(&request.body, service),
        ("GET", "/kvcache/check") if is_first => match check_query(&request.query) {
            Some(body) => match checksums(body.to_string().as_bytes(), service) {
                (200, answer) => (200, answer),
                (_, answer) => (200, json!({"error": answer["detail"]})),
            },
            None => (200, json!({"error": "block_ids is required"})),
        },
        ("POST", "/cache/clear") if !is_first => cleared(service),
        ("POST", "/clear-cache") if is_first => cleared(service),
        _ => (404, json!({"detail": "Not Found"})),
    }
}

fn cleared(service: &mut Service) -> (u16, Value) {
    service.cache.clear(true);
    (200, json!({"status": "success"}))
}

fn status(service: &Service) -> Value {
    let counts = service.counts();
    let mut lmcache_driven: Vec<(u64, &KvMemory)> = Vec::new();
    let mut engine_driven = Vec::new();
    for (id, worker) in &service.workers {
        match worker {
            Worker::LmcacheDriven(memory) => lmcache_driven.push((*id, memory)),
            Worker::EngineDriven(engine) => engine_driven.push((*id, engine)),
        }
    }
    lmcache_driven.sort_unstable_by_key(|(id, _)| *id);
    engine_driven.sort_unstable_by_key(|(id, _)| *id);
    let mut answer = json!({
        "is_healthy": true,
        "engine_type": "MPCacheServer",
        "chunk_size": service.chunk_size,
        "active_sessions": service.sessions.len(),
        "active_prefetch_jobs": service.jobs.len(),
        "storage_manager": {"l1_manager": {
            "total_object_count": counts.objects,
            "write_locked_count": counts.write_locked,
            "read_locked_count": counts.read_locked,
            "memory_used_bytes": counts.used_bytes,
            "memory_total_bytes": counts.limit_bytes,
        }},
    });
    if service.config.lmcache_driven {
        answer["registered_gpu_ids"] = lmcache_driven.iter().map(|(id, _)| *id).collect();
        answer["cache_context_meta"] = lmcache_driven
            .iter()
            .map(|(id, memory)| (id.to_string(), meta(memory)))
            .collect();
    }
    if service.config.engine_driven {
        answer["registered_non_cuda_instance_ids"] = engine_driven.iter().map(|(id, _)| *id).collect();
        let metas = engine_driven.iter().map(|(id, engine)| {
            let meta = json!({
                "model_name": engine.model_name,
                "world_size": engine.world_size,
                "block_size": engine.block_size,
                "use_mla": engine.use_mla,
            });
            (id.to_string(), meta)
        });
        answer["non_cuda_context_meta"] = metas.collect();
    }
    answer
}

fn meta(memory: &KvMemory) -> Value {
    let layers: Vec<Value> = memory
        .layers
        .iter()
        .map(|layer| json!({"dtype": format!("torch.{}", layer.dtype.name()), "shape": layer.shape, "is_mla": layer.planes == 1}))
        .collect();
    json!({
        "model_name": memory.model_name,
        "world_size": memory.world_size,
        "kv_cache_layout": {
            "num_layers": memory.layers.len(),
            "num_blocks": memory.layers.iter().map(|layer| layer.blocks).min(),
            "cache_size_per_token": memory.token_bytes(),
            "layers": layers,
        },
    })
}

/// The body that corresponds to a query of 0.5.0. `[a,b]` is a range.
pub(crate) fn check_query(query: &str) -> Option<Value> {
    let mut body = json!({"instance_id": 0, "chunk_size": 1});
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "block_ids" => {
                let ids: Option<Vec<u64>> = value.split(',').map(decimal).collect();
                body["block_ids"] = json!(ids?);
            }
            "chunk_size" | "instance_id" => body[name] = json!(decimal::<u64>(value)?),
            _ => {}
        }
    }
    Some(body)
}

fn checksums(body: &[u8], service: &Service) -> (u16, Value) {
    let detail = |status: u16, text: String| (status, json!({"detail": text}));
    let Ok(body) = python::json::strict(body) else {
        return detail(422, "malformed body".into());
    };
    let ids: Option<Vec<u64>> = body["block_ids"]
        .as_array()
        .map(|ids| ids.iter().filter_map(Value::as_u64).collect());
    let (Some(ids), Some(chunk), Some(instance)) = (ids, body["chunk_size"].as_i64(), body["instance_id"].as_u64())
    else {
        return detail(422, "malformed body".into());
    };
    if !service.config.lmcache_driven {
        return detail(501, "not supported".into());
    }
    let Some(Worker::LmcacheDriven(memory)) = service.workers.get(&instance) else {
        return detail(404, format!("instance_id {instance} not registered"));
    };
    if ids.is_empty() {
        return detail(400, "block_ids is required".into());
    }
    let Ok(chunk @ 1..) = usize::try_from(chunk) else {
        return detail(400, "chunk_size must be positive".into());
    };
    let digests: Option<Vec<String>> = ids.chunks(chunk).map(|ids| memory.checksum(ids)).collect();
    let Some(mut digests) = digests else {
        return detail(500, "Internal Server Error".into());
    };
    if service.config.fault(FaultKind::WrongChecksum, Operation::Noop) {
        digests
            .iter_mut()
            .for_each(|digest| *digest = digest.chars().rev().collect());
    }
    let answer = json!({
        "status": "success",
        "chunk_size": chunk,
        "num_chunks": digests.len(),
        "chunk_checksums": digests,
        "layerwise": false,
        "block_id_ranges": ids,
    });
    (200, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Is interrupted before every byte.
    struct Stopped(Vec<u8>, bool);

    impl Read for Stopped {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.0.is_empty() {
                return Ok(0);
            }
            to[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn a_request_is_read_on_after_an_interruption() {
        let sent = b"POST /cache/checksums HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
        let keys = ApiKeys::read(&[]).unwrap();
        let request = read_request(&mut Stopped(sent.to_vec(), false), &keys);
        let request = request.unwrap().unwrap();
        assert_eq!((&*request.path, &*request.body), ("/cache/checksums", &b"body"[..]));
    }
}
