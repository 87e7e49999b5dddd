//! Settings that a run can find out by itself: the model that the engine serves, and the tokens per GB of KV cache from a
//! running LMCache server, and what else a workload needs to know of that. Nothing is guessed: what a server does not say is an
//! error.

use serde_json::Value;

use super::http::{Asker, BRIEF, PATIENT, Reached, Unanswered};
use crate::engine::config::{CacheFacts, L1Memory};
use crate::http::api_key::ApiKey;
use crate::http::error_body::{error_message_in, one_line};
use crate::ledger::tiers::layout;
use crate::url::with_scheme;

/// The reference's GB.
const GIB: u64 = 1 << 30;

/// The engine's address, with `/v1`, and its key.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    pub base_url: &'a str,
    pub key: &'a ApiKey,
}

/// The LMCache server's address as given, and its key.
#[derive(Clone, Copy)]
pub struct CacheServer<'a> {
    pub url: &'a str,
    pub key: Option<&'a ApiKey>,
}

impl Engine<'_> {
    /// The address of the list of models, and the list.
    fn models(&self) -> (String, Result<Value, Unanswered>) {
        let url = format!("{}/models", self.base_url);
        let answer = Asker::of_engine(self.key, PATIENT).get_json(&url);
        (url, answer)
    }

    /// The first model that the engine lists.
    pub fn first_model(&self) -> Result<String, String> {
        let (url, answer) = self.models();
        let answer = answer.map_err(|cause| {
            // The name of a model is no help where every request fails.
            let instead = match cause.reached {
                Reached::Server => ", or pass --model",
                Reached::Nobody | Reached::Gateway => "",
            };
            format!("Failed to fetch models from {url}: {cause}{instead}")
        })?;
        first_id(&answer).map_err(|why| format!("No models returned by {url}{why}; pass --model explicitly"))
    }

    /// The most tokens that prompt and answer may have together, where the engine says it of this model.
    pub fn max_model_len(&self, model: &str) -> Option<u64> {
        most_tokens(&self.models().1.ok()?, model)
    }

    /// Other names of what the engine serves as `model`: the path it was loaded from, and the model below an adapter. An
    /// error is a clause behind the model's name.
    pub fn other_names(&self, model: &str) -> Result<Vec<String>, String> {
        let (url, answer) = self.models();
        let answer = answer.map_err(|cause| format!(", whose other names could not be asked for ({url}: {cause})"))?;
        names_beside(&answer, model)
    }
}

/// An error says why the answer is not a list of models; it is empty for an empty list.
pub(crate) fn first_id(answer: &Value) -> Result<String, String> {
    let Some(entries) = answer["data"].as_array() else {
        let said = error_message_in(answer).unwrap_or_default();
        return Err(match answer.get("data") {
            Some(Value::Null) => String::new(),
            _ => format!(", whose answer has no list \"data\" ({said})"),
        });
    };
    match entries.first().map(|entry| entry["id"].as_str()) {
        None => Err(String::new()),
        Some(Some(id)) if !id.is_empty() => Ok(id.to_owned()),
        Some(_) => Err(", whose first entry has no \"id\"".to_owned()),
    }
}

pub(crate) fn most_tokens(answer: &Value, model: &str) -> Option<u64> {
    let entry = answer["data"].as_array()?.iter().find(|entry| entry["id"] == model)?;
    entry["max_model_len"].as_u64()
}

pub(crate) fn names_beside(answer: &Value, model: &str) -> Result<Vec<String>, String> {
    let listed = answer["data"].as_array().into_iter().flatten();
    let listed: Vec<&str> = listed.filter_map(|entry| entry["id"].as_str()).collect();
    if !listed.is_empty() && !listed.contains(&model) {
        return Err(format!(
            ", and the engine lists {} instead",
            one_line(&listed.join(", "))
        ));
    }
    let entry = |id: &str| answer["data"].as_array()?.iter().find(|entry| entry["id"] == id);
    let member = |id: &str, key: &str| entry(id).and_then(|entry| entry[key].as_str()).map(str::to_owned);
    let parent = member(model, "parent");
    let of_parent = parent.as_deref().and_then(|parent| member(parent, "root"));
    let names = [member(model, "root"), parent, of_parent].into_iter().flatten();
    Ok(names.filter(|name| !name.is_empty() && name != model).collect())
}

impl CacheServer<'_> {
    /// Its `/status`.
    pub fn status(&self) -> Result<Value, String> {
        let url = status_url(self.url);
        let answer = Asker::of_lmcache(self.key, PATIENT).get_json(&url);
        answer.map_err(|cause| {
            let what = match cause.reached {
                Reached::Nobody => "Cannot connect to LMCache server",
                Reached::Gateway | Reached::Server => "Cannot use the LMCache server",
            };
            format!("{what} at {url}: {cause}")
        })
    }

    /// Its `/config`.
    pub fn config(&self) -> Result<Value, Unanswered> {
        let url = format!("{}/config", with_scheme(self.url.trim_end_matches('/')));
        Asker::of_lmcache(self.key, BRIEF).get_json(&url)
    }

    /// Tokens per GB of KV cache for `model`, from its layout in a status of this server. Engines serve a model under any
    /// name, and LMCache knows the one that it was loaded from; so the engine is asked for other names if that server does
    /// not know this one.
    pub fn tokens_per_gb(&self, status: &Value, model: &str, engine: Engine) -> Result<i64, String> {
        let tokens = from_status(status, model, || engine.other_names(model));
        // The error lists names out of the status.
        tokens.map_err(|text| match self.key {
            Some(key) => key.hidden_in(text),
            None => text,
        })
    }
}

/// What a status says besides the layouts of models: `storage_manager.l1_manager.memory_total_bytes`, in older servers without
/// the inner object, and the key that only the module for blending adds.
pub fn cache_facts(status: &Value) -> CacheFacts {
    let storage = &status["storage_manager"];
    let total = match &storage["l1_manager"]["memory_total_bytes"] {
        Value::Null => &storage["memory_total_bytes"],
        total => total,
    };
    let l1 = match total.as_f64().filter(|&bytes| bytes > 0.0) {
        Some(bytes) => L1Memory::Gb(bytes / GIB as f64),
        None => L1Memory::Unknown(
            "the /status of the LMCache server does not say how much memory its L1 has \
             (storage_manager.l1_manager.memory_total_bytes)"
                .to_owned(),
        ),
    };
    CacheFacts {
        l1,
        blends: Some(status.get("active_cb_lookups").is_some()),
    }
}

fn status_url(lmcache_url: &str) -> String {
    format!("{}/status", with_scheme(lmcache_url.trim_end_matches('/')))
}

/// `other_names` is asked for what the status does not have under `model`.
pub(crate) fn from_status(
    status: &Value,
    model: &str,
    other_names: impl FnOnce() -> Result<Vec<String>, String>,
) -> Result<i64, String> {
    let entries = layout::models(status).ok_or_else(|| {
        let question = match status.get("cache_context_meta") {
            Some(_) => "is the server running with a model loaded?",
            None => "is --lmcache-url its HTTP address? What answers there says nothing of a cache.",
        };
        format!("No model info returned by LMCache server; {question} Give --tokens-per-gb-kvcache otherwise")
    })?;
    let entry_of = |name: &str| layout::of_model(entries, name);
    if let Some(entry) = entry_of(model) {
        return tokens_of(entry, model);
    }
    let others = other_names();
    let known = others.iter().flatten().find_map(|name| Some((entry_of(name)?, name)));
    if let Some((entry, name)) = known {
        return tokens_of(entry, name);
    }
    let tried = match others {
        Ok(names) if names.is_empty() => String::new(),
        Ok(names) => format!(", nor is {}, which the engine names beside it", names.join(" or ")),
        Err(clause) => clause,
    };
    Err(format!(
        "Model {model:?} not found in the LMCache server{tried}. Available: {}; give --tokens-per-gb-kvcache, which needs no \
         name",
        layout::names(entries)
    ))
}

fn tokens_of(entry: &Value, model: &str) -> Result<i64, String> {
    if !entry["kv_cache_layout"].is_object() {
        return Err(format!(
            "No kv_cache_layout for model {model:?} in the LMCache server; give --tokens-per-gb-kvcache instead"
        ));
    }
    let bytes = layout::rank_bytes(entry).ok_or_else(|| {
        format!("cache_size_per_token not available for model {model:?}; give --tokens-per-gb-kvcache instead")
    })?;
    // The size is per rank.
    let ranks = layout::ranks(entry);
    match GIB / bytes.saturating_mul(ranks) {
        0 => Err(format!(
            "The LMCache server says {bytes} bytes per token for model {model:?} and {ranks} ranks, of which none fits a GB; \
             give --tokens-per-gb-kvcache instead"
        )),
        tokens => Ok(i64::try_from(tokens).expect("at most 2^30")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(model: &str, layout: Value) -> Value {
        json!({"model_name": model, "world_size": 1, "kv_cache_layout": layout})
    }

    fn status(entries: Value) -> Value {
        json!({"cache_context_meta": entries})
    }

    /// The tokens of "m", which the status knows.
    fn known(status: &Value) -> Result<i64, String> {
        from_status(status, "m", || panic!("the engine is not asked"))
    }

    #[test]
    fn a_name_that_only_the_engine_knows_is_followed_to_where_it_was_loaded_from() {
        let status = status(json!({"0": entry("/models/m", json!({"cache_size_per_token": 131_072}))}));
        let models = json!({"data": [
            {"id": "alias", "root": "/models/m"},
            {"id": "adapter", "root": "/adapters/a", "parent": "alias"},
            {"id": "stranger", "root": "/models/z", "parent": null},
            {"id": "bare"},
        ]});
        let ask = |name: &str| from_status(&status, name, || names_beside(&models, name));
        assert_eq!((ask("alias"), ask("adapter")), (Ok(8192), Ok(8192)));
        let text = ask("stranger").unwrap_err();
        assert!(text.contains("nor is /models/z, which"), "{text}");
        assert!(
            text.contains("Available: /models/m; give --tokens-per-gb-kvcache"),
            "{text}"
        );
        assert!(
            ask("bare")
                .unwrap_err()
                .starts_with("Model \"bare\" not found in the LMCache server. Available")
        );
        let text = ask("typo").unwrap_err();
        let listed =
            "not found in the LMCache server, and the engine lists alias, adapter, stranger, bare instead. Available";
        assert!(text.contains(listed), "{text}");
    }

    #[test]
    fn the_length_limit_is_that_of_the_model() {
        let answer =
            json!({"data": [{"id": "a", "max_model_len": 9}, {"id": "m", "max_model_len": 8192}, {"id": "z"}]});
        let limit = |model| most_tokens(&answer, model);
        assert_eq!((limit("m"), limit("z"), limit("other")), (Some(8192), None, None));
        assert_eq!(most_tokens(&json!([]), "m"), None);
    }

    #[test]
    fn what_is_no_list_of_models_is_told() {
        for (answer, why) in [
            (json!({"data": []}), ""),
            (json!({"data": null}), ""),
            (json!({"data": [{"name": "m"}]}), ", whose first entry has no \"id\""),
            (json!({"data": [{"id": ""}]}), ", whose first entry has no \"id\""),
            (
                json!([{"id": "m"}]),
                ", whose answer has no list \"data\" ([{\"id\":\"m\"}])",
            ),
            (json!({"error": "off"}), ", whose answer has no list \"data\" (off)"),
            (
                json!({"data": "m"}),
                ", whose answer has no list \"data\" ({\"data\":\"m\"})",
            ),
        ] {
            assert_eq!(first_id(&answer), Err(why.to_owned()), "{answer}");
        }
        assert_eq!(first_id(&json!({"data": [{"id": "a"}, {"id": "b"}]})), Ok("a".into()));
    }

    #[test]
    fn tokens_come_from_the_bytes_of_all_ranks() {
        let one = status(json!({"0": entry("m", json!({"cache_size_per_token": 131_072}))}));
        assert_eq!(known(&one), Ok(8192));
        let mut two = one.clone();
        two["cache_context_meta"]["0"]["world_size"] = json!(3);
        assert_eq!(known(&two), Ok(2730));
        let blended = json!({"cache_context_meta": {}, "cb_gpu_context_meta": one["cache_context_meta"]});
        assert_eq!(known(&blended), Ok(8192));
        let huge = status(json!({"0": entry("m", json!({"cache_size_per_token": u64::MAX}))}));
        assert!(known(&huge).unwrap_err().contains("none fits a GB"));
    }

    #[test]
    fn the_memory_of_l1_and_the_module_for_blending_are_found() {
        for (status, gb, blends) in [
            (
                json!({"storage_manager": {"l1_manager": {"memory_total_bytes": 3_489_660_928_u64}}, "active_cb_lookups": 0}),
                Some(3.25),
                true,
            ),
            (
                json!({"storage_manager": {"memory_total_bytes": 1_610_612_736.0}}),
                Some(1.5),
                false,
            ),
            (
                json!({"storage_manager": {"l1_manager": {"memory_total_bytes": null}, "memory_total_bytes": 1 << 30}}),
                Some(1.0),
                false,
            ),
            (
                json!({"storage_manager": {"l1_manager": {"memory_total_bytes": 0}, "memory_total_bytes": 1 << 30}}),
                None,
                false,
            ),
            (
                json!({"storage_manager": {"l1_manager": {"memory_total_bytes": "8"}}}),
                None,
                false,
            ),
            (json!({"storage_manager": [], "active_cb_lookups": null}), None, true),
            (json!([1]), None, false),
        ] {
            let facts = cache_facts(&status);
            assert_eq!(facts.blends, Some(blends), "{status}");
            match (facts.l1, gb) {
                (L1Memory::Gb(found), Some(gb)) => assert_eq!(found, gb, "{status}"),
                (L1Memory::Unknown(why), None) => assert!(why.contains("memory_total_bytes"), "{why}"),
                (found, _) => panic!("{status}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_the_server_does_not_say_is_named() {
        let refusal = |status: &Value| from_status(status, "m", || Ok(Vec::new())).expect_err("a refusal");
        assert!(refusal(&json!({"ok": true})).contains("is --lmcache-url its HTTP address?"));
        assert!(refusal(&status(json!({}))).contains("running with a model loaded?"));
        let others = status(json!({"0": entry("z", json!({})), "1": {"world_size": 1}, "2": entry("a", json!({}))}));
        assert!(
            refusal(&others).contains("Model \"m\" not found"),
            "{}",
            refusal(&others)
        );
        assert!(refusal(&others).contains("Available: ?, a, z;"), "{}", refusal(&others));
        assert!(refusal(&status(json!({"0": entry("m", Value::Null)}))).contains("No kv_cache_layout"));
        for unusable in [
            json!({}),
            json!({"cache_size_per_token": 0}),
            json!({"cache_size_per_token": "x"}),
        ] {
            assert!(refusal(&status(json!({"0": entry("m", unusable)}))).contains("cache_size_per_token"));
        }
    }

    #[test]
    fn addresses_of_servers_may_be_short() {
        assert_eq!(status_url("h:8080/"), "http://h:8080/status");
        assert_eq!(status_url("HTTPS://h//"), "https://h/status");
    }
}
