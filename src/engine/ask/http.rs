//! Small questions over HTTP before a run: which models, which cache layout, how many tokens. Answers are bounded. Must never
//! send a benchmark request.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::engine::api_key::ApiKey;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);
/// A list of tokens of a long text is the largest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Characters of a server's message that are repeated to the user.
const MESSAGE_CHARS_MAX: usize = 300;

type Answer = ureq::http::Response<ureq::Body>;

/// Asks with the API key, or without any.
#[derive(Debug)]
pub struct Asker {
    agent: Agent,
    key: Option<ApiKey>,
}

impl Asker {
    pub fn with_key(key: &ApiKey) -> Asker {
        Asker {
            key: Some(key.clone()),
            ..Asker::plain()
        }
    }

    pub fn plain() -> Asker {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(WHOLE))
            // Proxies of the environment would be another machine's latency; redirects would take the key elsewhere.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        Asker {
            agent: config.into(),
            key: None,
        }
    }

    pub fn get_json(&self, url: &str) -> Result<Value, String> {
        read(url, self.get(url, "application/json"))
    }

    pub fn get_text(&self, url: &str) -> Result<String, String> {
        read_text(url, self.get(url, "text/plain"))
    }

    fn get(&self, url: &str, accept: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(key) = &self.key {
            request = request.header("authorization", key.bearer());
        }
        request.call()
    }

    pub fn post_json(&self, url: &str, body: &Value) -> Result<Value, String> {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", key.bearer());
        }
        read(url, request.send(body.to_string()))
    }
}

fn read(url: &str, answer: Result<Answer, ureq::Error>) -> Result<Value, String> {
    let text = read_text(url, answer)?;
    serde_json::from_str(&text).map_err(|cause| format!("{url} did not answer with JSON: {cause}"))
}

fn read_text(url: &str, answer: Result<Answer, ureq::Error>) -> Result<String, String> {
    let mut response = answer.map_err(|cause| format!("could not ask {url}: {cause}"))?;
    let status = response.status();
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(|cause| format!("could not read the answer of {url}: {cause}"))?;
    match status.is_success() {
        true => Ok(text),
        false => Err(refusal(url, status, &text)),
    }
}

/// The status and the server's own words, if it has some.
fn refusal(url: &str, status: StatusCode, text: &str) -> String {
    let parsed: Value = serde_json::from_str(text).unwrap_or_default();
    let candidates = [
        &parsed["error"]["message"],
        &parsed["message"],
        &parsed["detail"],
        &parsed["error"],
    ];
    let message = candidates.into_iter().find_map(Value::as_str).unwrap_or_default();
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect();
    let after = if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    };
    format!("{url} answered {status}{after}")
}
