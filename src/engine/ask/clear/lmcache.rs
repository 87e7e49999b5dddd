//! The L1 of an LMCache server, and what its status says of it.

use serde_json::{Value, json};

use super::{ABSENT, Patience, failed};
use crate::engine::ask::discover::CacheServer;
use crate::engine::ask::http::{Asker, PATIENT};
use crate::error::{Error, shortened};
use crate::http::error_body::one_line;
use crate::ledger::tiers::{l1_objects, stores_pending};
use crate::url::with_scheme;

const L1: &str = "the L1 of the LMCache server (--clear-cache)";
/// Of a text that a server sent.
const SHOWN_CHARS_MAX: usize = 100;

/// Returns the address that did it, and what the server has as L2.
pub(super) fn clear(server: CacheServer<'_>, patience: &Patience) -> Result<(String, Option<String>), Error> {
    let asker = Asker::of_lmcache(server.key, PATIENT);
    let root = with_scheme(server.url.trim_end_matches('/'));
    let mut urls = ["cache/clear", "clear-cache"]
        .map(|path| format!("{root}/{path}"))
        .into_iter();
    let first = urls.next().unwrap_or_default();
    let mut url = first.clone();
    loop {
        let status = server.status().map_err(|why| failed(L1, why))?;
        let on_the_way = stores_pending(&status).unwrap_or(0);
        if on_the_way == 0 {
            // Without `force`, which older servers do not need.
            let answer = asker.post(&url, &json!({"tier": "l1", "force": false}), &ABSENT);
            let (code, _) = answer.map_err(|why| failed(L1, format_args!("{url}: {why}")))?;
            if ABSENT.contains(&code) {
                url = urls.next().ok_or_else(|| {
                    let advice = "give the HTTP address of the server as --lmcache-url, or restart it instead";
                    failed(L1, format_args!("{first} answers {code}; {advice}"))
                })?;
                continue;
            }
            let status = server.status().map_err(|why| failed(L1, why))?;
            if l1_objects(&status).is_none_or(|objects| objects == 0) {
                return Ok((url, l2(&status)));
            }
        }
        if !patience.pause() {
            let what = match on_the_way {
                0 => format!("{} objects are in use", l1_objects(&status).unwrap_or(0)),
                count => format!("{count} stores are still on their way to L2"),
            };
            return Err(failed(
                L1,
                format_args!(
                    "{url}: {what} after {} s; wait until no engine uses the server, or restart it",
                    patience.whole.as_secs_f64()
                ),
            ));
        }
    }
}

pub(super) fn l2_stays(url: &str, l2: &str) -> String {
    format!(
        "The L2 of the LMCache server at {url} ({l2}) keeps what it has, because LMCache has no request that empties it; empty \
         its folder or store, or start the server without it"
    )
}

/// The types of the L2 adapters, each with its folder if it has one; `None` without L2.
pub(crate) fn l2(status: &Value) -> Option<String> {
    let adapters = status["storage_manager"]["l2_adapters"].as_array()?;
    let text = |value: &Value| {
        let text = one_line(value.as_str().unwrap_or_default());
        shortened(&text, SHOWN_CHARS_MAX).into_owned()
    };
    let names = adapters.iter().map(|adapter| {
        let (kind, folder) = (text(&adapter["type"]), text(&adapter["base_path"]));
        match (kind.as_str(), folder.as_str()) {
            ("", _) => "of unknown type".to_owned(),
            (_, "") => kind,
            (_, folder) => format!("{kind} in {folder}"),
        }
    });
    Some(names.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ask::clear::testing::{clear, server};

    fn status(objects: u64, on_the_way: u64) -> String {
        json!({"storage_manager": {
            "l1_managers": {"_default": {"total_object_count": objects}},
            "store_controllers": {"_default": {"pending_keys_count": on_the_way, "in_flight_task_count": 0}},
        }})
        .to_string()
    }

    #[test]
    fn l1_is_cleared_when_its_stores_have_ended_and_again_until_nothing_is_left() {
        let (engine, _) = server(|_, _| ("200 OK", String::new()));
        // Two stores on the way, none, five objects in use after the first clear, none, none.
        let statuses =
            [(9, 2), (9, 0), (5, 0), (5, 0), (0, 0)].map(|(objects, on_the_way)| status(objects, on_the_way));
        let (url, asked) = server(move |target, before| match target {
            "GET /status" => ("200 OK", statuses[before].clone()),
            _ => ("200 OK", r#"{"status":"ok"}"#.into()),
        });
        assert!(clear(&engine, Some(&url), 60_000).is_ok());
        let (get, post) = ("GET /status", "POST /cache/clear");
        assert_eq!(*asked.lock().unwrap(), [get, get, post, get, get, post, get]);
        for (objects, on_the_way, told) in [
            (7, 0, "/cache/clear: 7 objects are in use after 0 s"),
            (7, 3, "/cache/clear: 3 stores are still on their way to L2 after 0 s"),
        ] {
            let (url, _) = server(move |_, _| ("200 OK", status(objects, on_the_way)));
            let refused = clear(&engine, Some(&url), 0).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn the_first_release_has_another_address_for_it() {
        let (engine, _) = server(|_, _| ("200 OK", String::new()));
        let (url, _) = server(|target, _| match target {
            "POST /cache/clear" => ("404 Not Found", String::new()),
            _ => ("200 OK", "{}".into()),
        });
        let clearing = clear(&engine, Some(&url), 5000).unwrap();
        assert_eq!(clearing.cleared[1].url, format!("{url}/clear-cache"));
    }

    #[test]
    fn a_server_that_does_not_answer_is_named() {
        let (engine, _) = server(|_, _| ("200 OK", String::new()));
        let refused = clear(&engine, Some("http://127.0.0.1:1"), 5000).unwrap_err();
        let told = "Cannot connect to LMCache server at http://127.0.0.1:1/status";
        assert!(refused.contains(told), "{refused}");
    }

    #[test]
    fn a_status_is_read_in_both_forms_and_may_say_nothing() {
        let several = json!({"storage_manager": {
            "l1_managers": {"a": {"total_object_count": 2}, "b": {"total_object_count": 3}},
            "l1_manager": {"total_object_count": 9},
            "store_controllers": {"a": {"pending_keys_count": 4, "in_flight_task_count": 1}, "b": {"pending_keys_count": -1}},
            "l2_adapters": [{"type": "FSL2Adapter", "base_path": "/kv"}, {"type": "S3\nL2"}, 7],
        }});
        assert_eq!((l1_objects(&several), stores_pending(&several)), (Some(5), Some(5)));
        assert_eq!(
            l2(&several).as_deref(),
            Some("FSL2Adapter in /kv, S3 L2, of unknown type")
        );
        let one = json!({"storage_manager": {
            "l1_manager": {"total_object_count": 9}, "store_controller": {"in_flight_task_count": 2}, "l2_adapters": [],
        }});
        assert_eq!(
            (l1_objects(&one), stores_pending(&one), l2(&one)),
            (Some(9), Some(2), None)
        );
        for nothing in [
            json!({}),
            json!([1]),
            json!({"storage_manager": {"l1_managers": {"a": {"total_object_count": 1.5}}}}),
        ] {
            assert_eq!(
                (l1_objects(&nothing), stores_pending(&nothing), l2(&nothing)),
                (None, None, None)
            );
        }
    }
}
