//! Small questions over HTTP before a run: which models, which cache layout, how many tokens. Answers are bounded. Must never
//! send a benchmark request.

use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::TlsConfig;

use crate::engine::api_key::ApiKey;
use crate::engine::trust;
use crate::http::encoding;
use crate::sys::{limits, signal};

/// For a server whose answer the run needs.
pub const PATIENT: Limits = Limits {
    connect: Duration::from_secs(5),
    whole: Duration::from_secs(10),
};
/// For an answer that a run can do without. Outside the clock, so a busy engine gets some time.
pub const BRIEF: Limits = Limits {
    connect: Duration::from_secs(1),
    whole: Duration::from_secs(5),
};
/// A wait looks at signals this often.
const TICK: Duration = Duration::from_millis(50);
/// A list of tokens of a long text is the largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Characters of a server's message that are repeated to the user.
const MESSAGE_CHARS_MAX: usize = 300;

type Answer = ureq::http::Response<ureq::Body>;
/// What a server said, whatever it said.
type Answered = (StatusCode, String);

/// How long a question may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    connect: Duration,
    whole: Duration,
}

/// Asks with the API key, or without any.
#[derive(Debug)]
pub struct Asker {
    agent: Agent,
    key: Option<ApiKey>,
    /// Why no https server can be believed, if so.
    distrust: Option<String>,
}

impl Asker {
    pub fn with_key(key: &ApiKey, limits: Limits) -> Asker {
        Asker {
            key: Some(key.clone()),
            ..Asker::plain(limits)
        }
    }

    pub fn plain(limits: Limits) -> Asker {
        let (tls, distrust) = match trust::from_environment() {
            Ok(tls) => (tls, None),
            Err(cause) => (TlsConfig::default(), Some(cause)),
        };
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(limits.connect))
            .timeout_global(Some(limits.whole))
            // Proxies of the environment would be another machine's latency; redirects would take the key elsewhere.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        Asker {
            agent: config.into(),
            key: None,
            distrust,
        }
    }

    /// Errors of all questions leave the address to the caller.
    pub fn get_json(&self, url: &str) -> Result<Value, String> {
        json(self.get(url, "application/json")?)
    }

    /// A page that a server may not have: `None` when it answers with an error status. `Err` is no answer at all.
    pub fn get_page(&self, url: &str) -> Result<Option<String>, String> {
        let (status, text) = self.get(url, "text/plain")?;
        Ok(status.is_success().then_some(text))
    }

    fn get(&self, url: &str, accept: &str) -> Result<Answered, String> {
        self.check(url)?;
        let request = self.agent.get(url).header("accept", accept);
        let mut request = request.header("accept-encoding", encoding::ACCEPT);
        if let Some(key) = &self.key {
            request = request.header("authorization", key.bearer());
        }
        awaited(move || read(request.call()))
    }

    pub fn post_json(&self, url: &str, body: &Value) -> Result<Value, String> {
        self.check(url)?;
        let request = self.agent.post(url).header("content-type", "application/json");
        let mut request = request.header("accept-encoding", encoding::ACCEPT);
        if let Some(key) = &self.key {
            request = request.header("authorization", key.bearer());
        }
        let body = body.to_string();
        json(awaited(move || read(request.send(body)))?)
    }

    fn check(&self, url: &str) -> Result<(), String> {
        match &self.distrust {
            Some(cause) if url.starts_with("https:") => return Err(cause.clone()),
            _ => {}
        }
        if self.key.as_ref().is_some_and(|key| !key.is_sendable()) {
            return Err("OPENAI_API_KEY holds characters that no HTTP header can carry".to_owned());
        }
        Ok(())
    }
}

/// Asks on a thread of its own, so that a signal ends the wait. The thread ends by its own limit, or with the program.
pub fn awaited<T: Send + 'static>(question: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let (answer, answered) = bounded(1);
    let ask = move || {
        // Nobody may be waiting any more.
        let _ = answer.send(question());
    };
    let thread = Builder::new().name("question".into()).spawn(ask);
    thread.map_err(|error| format!("could not start a thread to ask: {}", limits::thread_told(&error)))?;
    loop {
        match answered.recv_timeout(TICK) {
            Ok(answered) => return answered,
            Err(RecvTimeoutError::Timeout) if signal::received().is_none() => {}
            Err(RecvTimeoutError::Timeout) => return Err("the run was ended".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return Err("the question was never asked".to_owned()),
        }
    }
}

fn json((status, text): Answered) -> Result<Value, String> {
    if !status.is_success() {
        return Err(refusal(status, &text));
    }
    serde_json::from_str(&text).map_err(|cause| format!("the answer is not JSON: {cause}"))
}

fn read(answer: Result<Answer, ureq::Error>) -> Result<Answered, String> {
    let mut response = answer.map_err(|error| {
        let cause = cause(&error);
        format!("{cause}{}", trust::advice(&cause))
    })?;
    let status = response.status();
    let header = response.headers().get("content-encoding");
    let encoding = encoding::of_header(header.map(|value| value.to_str().unwrap_or("?")))?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64);
    let body = body
        .read_to_vec()
        .map_err(|error| format!("could not read the answer: {}", cause(&error)))?;
    let text = encoding.decode(body, ANSWER_BYTES_MAX)?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// The error's own words, without the library's name for its kind.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(inner) => limits::told(inner),
        other => other.to_string(),
    }
}

/// The status and the server's own words, if it has some.
fn refusal(status: StatusCode, text: &str) -> String {
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
    format!("it answered {status}{after}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// Nobody accepts; the kernel completes the connection by itself.
    #[test]
    fn a_server_that_never_answers_costs_a_question_its_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let limits = Limits {
            whole: Duration::from_millis(50),
            ..BRIEF
        };
        let begin = Instant::now();
        let text = Asker::plain(limits).get_page(&url).unwrap_err();
        assert!(text.contains("timeout"), "{text}");
        assert!(begin.elapsed() >= limits.whole);
    }
}
