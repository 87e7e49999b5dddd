//! Starts the helper and its adapter, or returns a sentence with the cause and the remedy.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cost::Facts;
use super::frame::{self, Reply};
use super::link::Link;
use super::{BridgeRequest, python};
use crate::error::Error;
use crate::l2::adapters::registry::AdapterSpec;
use crate::sys::arena::SharedParts;
use crate::sys::signal;

/// Importing torch and LMCache takes seconds on a busy machine, a minute on a cold network file system.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const SIGNAL_POLL: Duration = Duration::from_millis(100);

/// The helper, the name of LMCache's class, and what the report says of both.
pub fn start(
    spec: &AdapterSpec,
    memory: &SharedParts<'_>,
    request: &BridgeRequest,
) -> Result<(Link, String, Facts), Error> {
    let python = python::find(request.python.as_deref());
    let mut link = Link::start(&python, memory.file).map_err(not_created)?;
    link.send(&frame::hello(&spec.raw, memory, request.align_bytes))
        .map_err(not_created)?;
    let (class_name, facts) = greet(&mut link, spec, &python, request)?;
    Ok((link, class_name, facts))
}

/// Waits for the adapter, or returns the cause and the remedy.
fn greet(
    link: &mut Link,
    spec: &AdapterSpec,
    python: &Path,
    request: &BridgeRequest,
) -> Result<(String, Facts), Error> {
    match first_reply(link, request.create_timeout).map_err(not_created)? {
        Reply::Ready {
            class_name,
            python_version,
            lmcache_version,
        } => {
            let facts = Facts {
                python: python.display().to_string(),
                python_version,
                lmcache_version,
                keys_per_submit: request.keys_per_submit,
            };
            Ok((class_name, facts))
        }
        Reply::Failed { stage, message, module } => {
            let module = module.as_deref();
            Err(match stage.as_str() {
                "spec" => Error::Usage(format!("Error parsing L2 adapter config: {message}")),
                "import" => not_created(python::missing_lmcache(python, &message, module)),
                _ => not_created(python::no_adapter(spec.type_name, python, &message, module)),
            })
        }
        other => Err(not_created(format!("the Python helper answered {other:?} to a hello"))),
    }
}

pub fn not_created(sentence: String) -> Error {
    Error::Environment(format!("[Init] Failed to create adapter: {sentence}"))
}

/// The reply to the hello frame: the imports have their own time limit, the adapter has `create_timeout`.
fn first_reply(link: &mut Link, create_timeout: Duration) -> Result<Reply, String> {
    match next_reply(link, START_TIMEOUT)? {
        Some(Reply::Imported) => {}
        Some(other) => return Ok(other),
        None => {
            return Err(format!(
                "LMCache did not start within {} s; see whether `python -c 'import lmcache.v1.distributed.l2_adapters'` \
                 does",
                START_TIMEOUT.as_secs()
            ));
        }
    }
    next_reply(link, create_timeout)?.ok_or_else(|| {
        let seconds = create_timeout.as_secs_f64();
        link.log().wait_for_more(0);
        let last = link.log().last_after(0);
        let last = last.map_or_else(String::new, |line| format!("; the last line of its log is: {line}"));
        format!(
            "LMCache's adapter was not there after {seconds} s; look at the store behind it, or raise \
             --round-timeout-s{last}"
        )
    })
}

fn next_reply(link: &mut Link, timeout: Duration) -> Result<Option<Reply>, String> {
    let end = Instant::now() + timeout;
    loop {
        if signal::received().is_some() {
            return Err("interrupted".to_owned());
        }
        let left = end.saturating_duration_since(Instant::now());
        if let Some(reply) = link.receive(left.min(SIGNAL_POLL))? {
            return Ok(Some(reply));
        }
        if left.is_zero() {
            return Ok(None);
        }
    }
}
