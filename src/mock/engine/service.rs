//! The engine without its sockets: checks of a request, its cost, its answer and when that is due.

use super::answer::{Answer, Delivery};
use super::ask::{Body, Ids};
use super::cache::PrefixCache;
use super::config::Config;
use super::counters::Counters;
use super::events::Shape;
use super::fault::{Faults, Usage};
use super::http::{Framing, Head, Refusal, reply_head};
use super::queue::Servers;
use super::record::{Served, Sources};
use super::stall::Stall;
use super::tokens::Tokenizer;
use crate::error::Error;

/// When a request arrived, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub ns: u64,
    pub wall_ns: u64,
    /// `kernel` or `read`.
    pub source: &'static str,
    pub read_ns: u64,
}

#[derive(Debug)]
pub struct Service {
    pub config: Config,
    tokenizer: Tokenizer,
    cache: PrefixCache,
    pub counters: Counters,
    servers: Servers,
    /// Known from the first request on that is answered with tokens.
    stall: Option<Stall>,
    requests: u64,
}

const JSON: &str = "application/json";

impl Service {
    pub fn new(config: Config) -> Result<Service, Error> {
        let tokenizer = match &config.tokenizer {
            Some(path) => Tokenizer::from_path(path)?,
            None => Tokenizer::Words,
        };
        Ok(Service {
            cache: PrefixCache::new(config.cache),
            tokenizer,
            counters: Counters::default(),
            stall: None,
            servers: Servers::new(config.servers),
            requests: 0,
            config,
        })
    }

    /// The answer to one request.
    pub fn answer(&mut self, head: &Head, body: &[u8], connection: u64, arrival: Arrival) -> Answer {
        self.requests += 1;
        let served = Served {
            n: self.requests,
            id: format!("mock-{}", self.requests),
            request_id: head.request_id.clone(),
            connection,
            path: head.path.clone(),
            status: 200,
            arrival_ns: arrival.ns,
            arrival_wall_ns: arrival.wall_ns,
            arrival_source: arrival.source,
            read_ns: arrival.read_ns,
            ..Served::default()
        };
        match self.route(head, body, served.clone()) {
            Ok(answer) => answer,
            Err(refusal) => refuse(served, head.keep_alive, &refusal, &Faults::default()),
        }
    }

    fn route(&mut self, head: &Head, body: &[u8], served: Served) -> Result<Answer, Refusal> {
        let open = matches!(head.path.as_str(), "/health" | "/metrics" | "/status" | "/version");
        if let Some(key) = &self.config.api_key
            && !open
            && head
                .authorization
                .as_deref()
                .and_then(|value| value.strip_prefix("Bearer "))
                != Some(key)
        {
            return Err(Refusal(401, "Unauthorized".into()));
        }
        let fixed = |content_type: &str, text: String| {
            let framing = Framing::Length(text.len());
            let delivery = Delivery::plain(
                reply_head(200, content_type, framing, head.keep_alive, ""),
                head.keep_alive,
            );
            Ok(Answer::whole(served.clone(), delivery, text.into_bytes(), 0))
        };
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/v1/models") => fixed(JSON, self.models()),
            ("GET", "/health") => fixed("text/plain", String::new()),
            ("GET", "/version") => fixed(
                JSON,
                concat!("{\"version\": \"mock-", env!("CARGO_PKG_VERSION"), "\"}").into(),
            ),
            ("GET", "/metrics") => fixed("text/plain; version=0.0.4", self.metrics()),
            ("GET", "/status") => match self.status() {
                Some(text) => fixed(JSON, text),
                None => Err(Refusal(
                    404,
                    "start the mock with --tokens-per-gb to have a /status".into(),
                )),
            },
            ("POST", "/tokenize") => fixed(JSON, self.tokenize(body)?),
            ("POST", "/detokenize") => fixed(JSON, self.detokenize(body)?),
            ("POST", "/v1/chat/completions") => self.complete(head, body, served, true),
            ("POST", "/v1/completions") => self.complete(head, body, served, false),
            (_, "/v1/models" | "/health" | "/metrics" | "/status" | "/version" | "/tokenize" | "/detokenize") => {
                Err(Refusal(405, "Method Not Allowed".into()))
            }
            (_, "/v1/chat/completions" | "/v1/completions") => Err(Refusal(405, "Method Not Allowed".into())),
            _ => Err(Refusal(404, "Not Found".into())),
        }
    }

    fn models(&self) -> String {
        let model = serde_json::Value::from(self.config.model.as_str());
        let length = self.config.max_model_len;
        format!(
            "{{\"object\":\"list\",\"data\":[{{\"id\":{model},\"object\":\"model\",\"created\":0,\"owned_by\":\"mock\",\
             \"root\":{model},\"parent\":null,\"max_model_len\":{length}}}]}}"
        )
    }

    fn metrics(&self) -> String {
        self.counters.render(&self.config.model, self.config.cache.blend)
    }

    /// What an LMCache server says about the size of a token, its L1 (DRAM here) and its module for blending, so that
    /// `--lmcache-url` can be tried out.
    fn status(&self) -> Option<String> {
        let bytes = (1_u64 << 30) / self.config.tokens_per_gb?;
        let layout = serde_json::json!({
            "model_name": self.config.model, "world_size": 1, "kv_cache_layout": {"cache_size_per_token": bytes},
        });
        let mut status = serde_json::json!({"cache_context_meta": {"0": layout}});
        let l1_tokens = self.config.cache.dram_tokens;
        if l1_tokens > 0 {
            let memory = serde_json::json!({"memory_total_bytes": l1_tokens.saturating_mul(bytes)});
            status["storage_manager"] = serde_json::json!({"l1_manager": memory});
        }
        if self.config.cache.blend {
            status["active_cb_lookups"] = 0.into();
        }
        Some(status.to_string())
    }

    fn tokenize(&self, body: &[u8]) -> Result<String, Refusal> {
        let body = Body::parse(body)?;
        self.check_model(body.model.as_deref())?;
        let tokens = body.counted_tokens(&self.tokenizer)?;
        let (count, length) = (tokens.len(), self.config.max_model_len);
        let tokens = serde_json::to_string(&tokens).expect("numbers are always JSON");
        Ok(format!(
            "{{\"count\":{count},\"max_model_len\":{length},\"tokens\":{tokens},\"token_strs\":null}}"
        ))
    }

    fn detokenize(&self, body: &[u8]) -> Result<String, Refusal> {
        let body = Ids::parse(body)?;
        self.check_model(body.model.as_deref())?;
        let text = self.tokenizer.text(&body.tokens).ok_or_else(|| {
            let advice = "start the mock with --tokenizer to have a /detokenize";
            Refusal(404, advice.into())
        })?;
        let text = serde_json::Value::from(text.map_err(|cause| Refusal(400, cause))?);
        Ok(format!("{{\"prompt\":{text}}}"))
    }

    fn check_model(&self, model: Option<&str>) -> Result<(), Refusal> {
        match model {
            Some(model) if model != self.config.model => {
                let shown: String = model.chars().take(100).collect();
                Err(Refusal(404, format!("The model `{shown}` does not exist.")))
            }
            _ => Ok(()),
        }
    }

    /// The faults of this request, with their text for the log.
    fn faults(&self, head: &Head, body: &Body) -> Result<(Faults, Option<String>), Refusal> {
        let in_prompt = body.texts().into_iter().find_map(Faults::in_prompt);
        if let Some(list) = head.fault.as_deref().or(in_prompt) {
            let faults = Faults::parse(list).map_err(|cause| Refusal(400, cause))?;
            return Ok((faults, Some(list.to_owned())));
        }
        let hit = self.requests.is_multiple_of(self.config.fault_every) && self.config.faults != Faults::default();
        Ok(match hit {
            true => (self.config.faults.clone(), Some("--fault".to_owned())),
            false => (Faults::default(), None),
        })
    }

    fn complete(&mut self, head: &Head, body: &[u8], mut served: Served, chat: bool) -> Result<Answer, Refusal> {
        let body = Body::parse(body)?;
        self.check_model(body.model.as_deref())?;
        let (faults, list) = self.faults(head, &body)?;
        served.fault = list;
        if let Some(status) = faults.status {
            let refusal = Refusal(status, "a fault that was asked for".into());
            return Ok(refuse(served, head.keep_alive, &refusal, &faults));
        }
        let answer_tokens = body.answer_tokens(self.config.default_tokens, self.config.eos_after)?;
        let prompt = body.prompt_tokens(chat, &self.tokenizer)?;
        let length = prompt.len() as u64;
        if length + answer_tokens > self.config.max_model_len {
            let most = self.config.max_model_len;
            return Err(Refusal(
                400,
                format!(
                    "This model's maximum context length is {most} tokens. However, your prompt has {length} and the answer \
                     would have {answer_tokens}."
                ),
            ));
        }
        let sources = self.cache.serve(&prompt);
        self.counters.add(&sources, answer_tokens);
        served.id = match chat {
            true => format!("chatcmpl-mock-{}", served.n),
            false => format!("cmpl-mock-{}", served.n),
        };
        served.stream = body.streams();
        served.prompt_tokens = length;
        served.prompt_sources = sources;
        served.completion_tokens = answer_tokens;
        Ok(self.deliver(head, &body, served, faults, chat))
    }

    fn deliver(&mut self, head: &Head, body: &Body, mut served: Served, mut faults: Faults, chat: bool) -> Answer {
        if body.wants_running_usage() && faults.usage == Usage::Own {
            faults.usage = Usage::Every;
        }
        let sources: Sources = served.prompt_sources;
        let per_event = self.config.tokens_per_event;
        served.service_ns = self.servers.begins_ns(served.arrival_ns);
        let schedule = self
            .config
            .pace
            .schedule(served.n, served.service_ns, &sources, per_event);
        let shape = Shape {
            chat,
            id: served.id.clone(),
            created_s: served.arrival_wall_ns / 1_000_000_000,
            model: self.config.model.clone(),
            tokens: served.completion_tokens,
            tokens_per_event: per_event,
            usage: body.wants_usage() && faults.usage != Usage::Absent,
            sources,
            faults,
        };
        let last_due_ns = schedule.due_ns(shape.events() - 1);
        let configured = self.config.stall;
        let stall = *(self.stall).get_or_insert_with(|| configured.counted_from(served.arrival_ns));
        self.servers.occupy(stall.release_ns(last_due_ns));
        let faults = &shape.faults;
        let mut delivery = Delivery {
            split: faults.split,
            slow_headers_ms: faults.slow_headers_ms,
            breaks: faults.breaks,
            events_per_write: self.config.events_per_write,
            keep_events: self.config.log_events,
            stall,
            ..Delivery::plain(String::new(), head.keep_alive)
        };
        if served.stream {
            let framing = if faults.until_close {
                Framing::Close
            } else {
                Framing::Chunked
            };
            delivery.head = reply_head(200, "text/event-stream; charset=utf-8", framing, head.keep_alive, "");
            return Answer::stream(served, delivery, shape, schedule);
        }
        let text = shape.whole();
        delivery.head = reply_head(200, JSON, Framing::Length(text.len()), head.keep_alive, "");
        Answer::whole(served, delivery, text.into_bytes(), last_due_ns)
    }
}

/// An error in the form that vLLM gives it.
pub fn refuse(mut served: Served, keep_alive: bool, refusal: &Refusal, faults: &Faults) -> Answer {
    let Refusal(status, sentence) = refusal;
    served.status = *status;
    let kind = match status {
        401 => "AuthenticationError",
        404 => "NotFoundError",
        429 => "RateLimitError",
        400..=499 => "BadRequestError",
        _ => "InternalServerError",
    };
    let text = match (faults.plain_body, faults.empty_body) {
        (_, true) => String::new(),
        (true, false) => sentence.clone(),
        (false, false) => {
            let message = serde_json::Value::from(sentence.as_str());
            format!("{{\"error\":{{\"message\":{message},\"type\":\"{kind}\",\"param\":null,\"code\":{status}}}}}")
        }
    };
    let retry = faults
        .retry_after_s
        .map(|seconds| format!("retry-after: {seconds}\r\n"));
    let content_type = if faults.plain_body { "text/plain" } else { JSON };
    let framing = Framing::Length(text.len());
    let head = reply_head(
        *status,
        content_type,
        framing,
        keep_alive,
        retry.as_deref().unwrap_or_default(),
    );
    let delivery = Delivery {
        split: faults.split,
        slow_headers_ms: faults.slow_headers_ms,
        breaks: faults.breaks,
        ..Delivery::plain(head, keep_alive)
    };
    Answer::whole(served, delivery, text.into_bytes(), 0)
}
