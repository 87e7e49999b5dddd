//! The engine without its sockets: checks of a request, its cost, its answer and when that is due.

use serde_json::Value;

use super::answer::{Answer, Delivery};
use super::ask::{Body, Ids};
use super::config::Config;
use super::events::Shape;
use super::fault::{Faults, Usage};
use super::http::{Framing, Head, Refusal, reply_head};
use super::metrics::Counters;
use super::queue::Servers;
use super::record::Served;
use super::reset::{self, Reply};
use super::stall::Stall;
use super::status;
use super::tokens::Tokenizer;
use crate::error::Error;
use crate::ledger::simulate::{Lookup, PrefixCache, Sources};

/// When a request arrived, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub ns: u64,
    pub wall_ns: u64,
    /// `kernel` or `read`.
    pub source: &'static str,
    pub read_ns: u64,
}

impl Arrival {
    /// The record of a request that arrived then.
    pub fn served(&self, connection: u64) -> Served {
        Served {
            connection,
            arrival_ns: self.ns,
            arrival_wall_ns: self.wall_ns,
            arrival_source: self.source,
            read_ns: self.read_ns,
            ..Served::default()
        }
    }
}

#[derive(Debug)]
pub struct Service {
    pub config: Config,
    tokenizer: Tokenizer,
    cache: PrefixCache,
    counters: Counters,
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

    /// The answer to one request. `is_busy` says whether answers with tokens are being sent.
    pub fn answer(
        &mut self,
        (head, body): (&Head, &[u8]),
        connection: u64,
        arrival: Arrival,
        is_busy: &dyn Fn() -> bool,
    ) -> Answer {
        self.requests += 1;
        let served = Served {
            n: self.requests,
            id: format!("mock-{}", self.requests),
            request_id: head.request_id.clone(),
            path: head.path.clone(),
            status: 200,
            ..arrival.served(connection)
        };
        match self.route(head, body, served.clone(), is_busy) {
            Ok(answer) => answer,
            Err(refusal) => refuse(served, head.keep_alive, &refusal, &Faults::default()),
        }
    }

    fn route(
        &mut self,
        head: &Head,
        body: &[u8],
        served: Served,
        is_busy: &dyn Fn() -> bool,
    ) -> Result<Answer, Refusal> {
        if let Some(reset) = self.reset(head, body, is_busy) {
            return reset.map(|(status, content_type, text)| whole(head, served, status, content_type, text));
        }
        let open = matches!(
            head.path.as_str(),
            "/health" | "/metrics" | "/status" | "/config" | "/version"
        );
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
        let fixed = |content_type: &str, text: String| Ok(whole(head, served.clone(), 200, content_type, text));
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/v1/models") => fixed(JSON, self.models()),
            ("GET", "/health") => fixed("text/plain", String::new()),
            ("GET", "/version") => fixed(
                JSON,
                concat!("{\"version\": \"mock-", env!("CARGO_PKG_VERSION"), "\"}").into(),
            ),
            ("GET", "/metrics") => match self.counters.render(&self.config) {
                Some(page) => fixed("text/plain; version=0.0.4", page),
                None => Err(Refusal(404, "Not Found".into())),
            },
            ("GET", "/status") => fixed(JSON, self.of_cache_server(status::status)?),
            ("GET", "/config") => fixed(JSON, self.of_cache_server(status::config)?),
            ("POST", "/tokenize") => fixed(JSON, self.tokenize(body)?),
            ("POST", "/detokenize") => fixed(JSON, self.detokenize(body)?),
            ("POST", "/v1/chat/completions") => self.complete(head, body, served, true),
            ("POST", "/v1/completions") => self.complete(head, body, served, false),
            (
                _,
                "/v1/models" | "/health" | "/metrics" | "/status" | "/config" | "/version" | "/tokenize"
                | "/detokenize",
            ) => Err(Refusal(405, "Method Not Allowed".into())),
            (_, "/v1/chat/completions" | "/v1/completions") => Err(Refusal(405, "Method Not Allowed".into())),
            _ => Err(Refusal(404, "Not Found".into())),
        }
    }

    fn models(&self) -> String {
        let model = Value::from(self.config.model.as_str());
        let length = self.config.max_model_len;
        format!(
            "{{\"object\":\"list\",\"data\":[{{\"id\":{model},\"object\":\"model\",\"created\":0,\"owned_by\":\"mock\",\
             \"root\":{model},\"parent\":null,\"max_model_len\":{length}}}]}}"
        )
    }

    /// Clears caches if `head` asks for that, and if it is allowed. No key is needed, as at the real servers.
    fn reset(&mut self, head: &Head, body: &[u8], is_busy: &dyn Fn() -> bool) -> Option<Result<Reply, Refusal>> {
        if !self.config.resets {
            return None;
        }
        let (cache, counters) = (&mut self.cache, &mut self.counters);
        reset::reply(self.config.metrics, (head, body), cache, counters, is_busy)
    }

    /// Counts a completion, and begins anew where a restart is to be imitated.
    fn count(&mut self, sources: &Sources, lookup: &Lookup, answer_tokens: u64) {
        self.counters.add(sources, lookup, answer_tokens);
        let is_over = |after: &mut u64| *after == self.counters.requests();
        if self.config.metrics_restart_after.take_if(is_over).is_some() {
            self.counters = Counters::default();
        }
    }

    /// A page of the LMCache server that the mock also is where the size of a token is known.
    fn of_cache_server(&self, page: fn(&Config, &PrefixCache, u64) -> Value) -> Result<String, Refusal> {
        let Some(tokens_per_gb) = self.config.tokens_per_gb else {
            let advice = "start the mock with --tokens-per-gb to have the pages of an LMCache server";
            return Err(Refusal(404, advice.into()));
        };
        let token_bytes = (1_u64 << 30) / tokens_per_gb;
        Ok(page(&self.config, &self.cache, token_bytes).to_string())
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
        let text = Value::from(text.map_err(|cause| Refusal(400, cause))?);
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
        let (sources, lookup) = self.cache.serve(&prompt);
        self.count(&sources, &lookup, answer_tokens);
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

/// A text that goes out at once.
fn whole(head: &Head, served: Served, status: u16, content_type: &str, text: String) -> Answer {
    let framing = Framing::Length(text.len());
    let reply = reply_head(status, content_type, framing, head.keep_alive, "");
    let delivery = Delivery::plain(reply, head.keep_alive);
    Answer::whole(Served { status, ..served }, delivery, text.into_bytes(), 0)
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
            let message = Value::from(sentence.as_str());
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
