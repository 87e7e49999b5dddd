//! Small questions over HTTP before a run: which models, which cache layout, how many tokens. Answers are bounded.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use ureq::Timeout;
use ureq::http::StatusCode;

use crate::engine::api_key::ApiKey;
use crate::http::client::{Client, Limits, NoReply, Reply};
use crate::http::said::said;
use crate::http::{answer, trust};
use crate::python::json;
use crate::sys::limits;

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
/// Who answered a question that got no answer of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Nobody,
    /// Whoever it was, every question will be answered so: a redirect, a key that is not taken, a gateway.
    Doorkeeper,
    /// Other questions may fare better.
    Server,
}

/// Why a question has no answer. Leaves the address that was asked to the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub cause: String,
    /// What to do, where the cause does not say it itself.
    advice: String,
    pub reached: Reached,
}

impl Unanswered {
    /// Nobody was asked, for a reason that says what to do.
    fn unasked(cause: String) -> Unanswered {
        Unanswered {
            cause,
            advice: String::new(),
            reached: Reached::Nobody,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if self.advice.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.advice)
    }
}

/// A reply whose body could be read.
struct Answered {
    status: StatusCode,
    location: Option<String>,
    body: Vec<u8>,
}

/// Asks the engine with the API key, or the LMCache server without any: the key is none of its business.
#[derive(Debug)]
pub struct Asker {
    client: Client,
    key: Option<ApiKey>,
    /// The flag that gave the address, and who is there.
    flag: &'static str,
    server: &'static str,
}

impl Asker {
    pub fn of_engine(key: &ApiKey, limits: Limits) -> Asker {
        Asker {
            key: Some(key.clone()),
            flag: "--engine-url",
            server: "the engine",
            ..Asker::of_lmcache(limits)
        }
    }

    pub fn of_lmcache(limits: Limits) -> Asker {
        Asker {
            client: Client::new(limits),
            key: None,
            flag: "--lmcache-url",
            server: "the LMCache server",
        }
    }

    pub fn get_json(&self, url: &str) -> Result<Value, Unanswered> {
        let answered = self.get(url, "application/json")?;
        self.json(url, answered, json::loads)
    }

    /// A page that a server may not have: `None` when it answers with an error status. `Err` is no answer, or one that only
    /// points elsewhere.
    pub fn get_page(&self, url: &str) -> Result<Option<String>, Unanswered> {
        let answered = self.get(url, "text/plain")?;
        if answered.location.is_some() {
            return Err(self.refusal(url, &answered));
        }
        let page = || String::from_utf8_lossy(json::without_mark(&answered.body)).into_owned();
        Ok(answered.status.is_success().then(page))
    }

    fn get(&self, url: &str, accept: &'static str) -> Result<Answered, Unanswered> {
        let bearer = self.bearer()?;
        let headers = [("accept", accept)]
            .into_iter()
            .chain(bearer.as_deref().map(|key| ("authorization", key)));
        self.answered(self.client.get(url, &headers.collect::<Vec<_>>()))
    }

    /// `read` makes of the answer's text what the caller wants of it: a value of everything may be far larger.
    pub fn post_json<T>(
        &self,
        url: &str,
        body: &Value,
        read: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Unanswered> {
        let bearer = self.bearer()?;
        let headers = bearer.as_deref().map(|key| ("authorization", key));
        let answered = self.answered(self.client.post(url, headers.as_slice(), body))?;
        self.json(url, answered, read)
    }

    /// The value of the header with the key.
    fn bearer(&self) -> Result<Option<String>, Unanswered> {
        let Some(key) = &self.key else { return Ok(None) };
        match key.problem() {
            Some(problem) => Err(Unanswered::unasked(problem)),
            None => Ok(Some(key.bearer())),
        }
    }

    fn answered(&self, reply: Result<Reply, NoReply>) -> Result<Answered, Unanswered> {
        let reply = reply.map_err(|failure| match failure {
            NoReply::Ended(sentence) => Unanswered::unasked(sentence),
            NoReply::Failed(error) => self.unanswered(&error),
        })?;
        // The engine, or what stands before it, runs; what is wrong with its answer says so itself.
        let body = reply.body.map_err(|cause| Unanswered {
            cause,
            advice: String::new(),
            reached: Reached::Server,
        })?;
        Ok(Answered {
            status: reply.status,
            location: reply.location,
            body,
        })
    }

    fn unanswered(&self, error: &ureq::Error) -> Unanswered {
        let Asker { flag, server, .. } = self;
        let advice = format!("check {flag}, and that {server} runs");
        let (cause, advice, reached) = match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                let cause = format!(
                    "timeout: no connection within {} s",
                    self.client.limits.connect.as_secs_f64()
                );
                (cause, advice, Reached::Nobody)
            }
            ureq::Error::Timeout(_) => {
                let cause = format!("timeout: no answer within {} s", self.client.limits.whole.as_secs_f64());
                (cause, advice, Reached::Nobody)
            }
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
                let cause = format!("what answers there does not speak HTTP: {}", answer::cause(error));
                let advice = format!("check the port in {flag}, and whether it is one of https://");
                (cause, advice, Reached::Server)
            }
            _ => {
                let cause = answer::cause(error);
                let told = limits::has_advice(&cause);
                let cause = format!("{cause}{}", trust::advice(&cause));
                (cause, if told { String::new() } else { advice }, Reached::Nobody)
            }
        };
        Unanswered { cause, advice, reached }
    }

    /// For an answer that is not the engine's, or not the LMCache server's.
    fn stranger(&self, cause: String) -> Unanswered {
        Unanswered {
            cause,
            advice: format!("check that {} is the address of {}", self.flag, self.server),
            reached: Reached::Server,
        }
    }

    fn json<T>(
        &self,
        url: &str,
        answered: Answered,
        read: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Unanswered> {
        if !answered.status.is_success() {
            return Err(self.refusal(url, &answered));
        }
        read(&answered.body).map_err(|cause| {
            if json::costs_too_much(&cause) {
                return self.stranger(format!("the answer is no answer to this question: {cause}"));
            }
            self.stranger(match self.said(&answered.body) {
                Some(said) => format!("the answer is not JSON ({said})"),
                None if answered.body.is_empty() => "the answer is empty".to_owned(),
                None => format!("the answer is not JSON: {cause}"),
            })
        })
    }

    /// The status and the server's own words, if it has some.
    fn refusal(&self, url: &str, answered: &Answered) -> Unanswered {
        let status = answered.status;
        if let Some(location) = &answered.location {
            return self.moved(status, url, location);
        }
        let said = self.said(&answered.body);
        let said = said.map_or_else(String::new, |said| format!(" ({said})"));
        let refused = self.stranger(format!("it answered {status}{said}"));
        let advice = match &self.key {
            Some(key) if [401, 403].contains(&status.as_u16()) => key.advice().to_owned(),
            // What a gateway says for a server that it does not reach.
            _ if [502, 503, 504].contains(&status.as_u16()) => format!("check that {} behind it runs", self.server),
            _ if status.is_server_error() => {
                let advice = format!("look into the log of {}", self.server);
                return Unanswered { advice, ..refused };
            }
            _ => return refused,
        };
        Unanswered {
            advice,
            reached: Reached::Doorkeeper,
            ..refused
        }
    }

    /// A page that moved with its name tells the address that it has now; what else a server points to is a page to log in.
    fn moved(&self, status: StatusCode, url: &str, location: &str) -> Unanswered {
        let page = url.rsplit('/').next().unwrap_or_default();
        let base = location.trim_end_matches('/').strip_suffix(page);
        let base = base
            .map(|base| base.trim_end_matches('/'))
            .filter(|base| base.contains("://"));
        let own = || format!("the address of {} itself", self.server);
        Unanswered {
            cause: format!("it answered {status} and points to {location}"),
            advice: format!("give {} as {}", base.map_or_else(own, str::to_owned), self.flag),
            reached: Reached::Doorkeeper,
        }
    }

    /// What a server said, the key taken out before it is cut.
    fn said(&self, body: &[u8]) -> Option<String> {
        match &self.key {
            Some(key) => said(key.hidden_in(String::from_utf8_lossy(body).into_owned()).as_bytes()),
            None => said(body),
        }
    }
}

#[cfg(test)]
mod tests;
