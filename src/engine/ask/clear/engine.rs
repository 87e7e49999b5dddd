//! The engine's own cache.

use serde_json::json;
use ureq::http::StatusCode;

use super::{ABSENT, Patience, failed};
use crate::engine::ask::discover::Engine;
use crate::engine::ask::http::{Asker, PATIENT};
use crate::engine::ask::root;
use crate::error::Error;
use crate::python::json as python_json;

const ENGINE: &str = "the engine's cache (--clear-cache)";

/// Returns the address that did it.
pub(super) fn clear(engine: Engine<'_>, patience: &Patience) -> Result<String, Error> {
    let asker = Asker::of_engine(engine.key, PATIENT);
    let root = root(engine.base_url);
    let vllm = format!("{root}/reset_prefix_cache");
    let sglang = format!("{root}/flush_cache");
    let taken = [ABSENT[0], ABSENT[1], StatusCode::BAD_REQUEST];
    let mut refused = Vec::new();
    for (url, query) in [(&vllm, "?reset_external=true"), (&sglang, "")] {
        loop {
            let answer = asker.post(&format!("{url}{query}"), &json!({}), &taken);
            let (status, body) = answer.map_err(|why| failed(ENGINE, format_args!("{url}: {why}")))?;
            if ABSENT.contains(&status) {
                refused.push(format!("{url} answers {status}"));
                break;
            }
            if status.is_success() && !says_it_failed(&body) {
                return Ok(url.clone());
            }
            if !patience.pause() {
                let held = "it still holds what requests or transfers use";
                return Err(failed(
                    ENGINE,
                    format_args!(
                        "{url}: {held} after {} s; wait until no other client uses the engine",
                        patience.whole.as_secs_f64()
                    ),
                ));
            }
        }
    }
    Err(failed(
        ENGINE,
        format_args!(
            "{}; start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment, or restart the engine instead",
            refused.join(" and ")
        ),
    ))
}

/// Whether the body is `{"success": false}`. Releases that do not say it have no body.
fn says_it_failed(body: &[u8]) -> bool {
    python_json::loads(body).is_ok_and(|answer| answer["success"] == false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ask::clear::testing::{clear, server};

    const RESET: &str = "POST /reset_prefix_cache?reset_external=true";

    #[test]
    fn a_busy_engine_is_asked_again_until_it_is_idle_or_the_time_is_over() {
        let (url, asked) = server(|_, before| ("200 OK", format!("{{\"success\": {}}}", before == 2)));
        assert!(clear(&url, None, 60_000).is_ok());
        assert_eq!(*asked.lock().unwrap(), [RESET; 3]);
        let (url, _) = server(|_, _| ("200 OK", r#"{"success": false}"#.into()));
        let refused = clear(&url, None, 0).unwrap_err();
        let held = "/reset_prefix_cache: it still holds what requests or transfers use after 0 s; wait until";
        assert!(refused.contains(held), "{refused}");
        let (url, asked) = server(|target, before| match (target, before) {
            (RESET, _) => ("404 Not Found", String::new()),
            (_, 0) => ("400 Bad Request", "Flush cache failed.\n".into()),
            _ => ("200 OK", "Cache flushed.\n".into()),
        });
        assert!(clear(&url, None, 60_000).is_ok());
        assert_eq!(
            *asked.lock().unwrap(),
            [RESET, "POST /flush_cache", "POST /flush_cache"]
        );
    }

    #[test]
    fn what_else_goes_wrong_is_told_without_the_key() {
        let (url, _) = server(|_, _| ("500 Internal Server Error", "sk-secret is no pool".into()));
        let refused = clear(&url, None, 5000).unwrap_err();
        assert!(
            refused.contains("it answered 500 Internal Server Error (*** is no pool); look into the log of the engine"),
            "{refused}"
        );
    }

    #[test]
    fn only_a_clear_no_is_a_failure() {
        assert!(says_it_failed(br#"{"success": false}"#));
        assert!(!says_it_failed(b"") && !says_it_failed(br#"{"success": true}"#) && !says_it_failed(b"<html>"));
    }
}
