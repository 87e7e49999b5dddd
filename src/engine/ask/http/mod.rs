//! Small requests to the engine and the LMCache server outside the measured time: models, cache layout, token counts. Says
//! what to do about one that fails.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use ureq::Timeout;
use ureq::http::StatusCode;

use crate::http::api_key::{ApiKey, authorization, message_without, wanted};
use crate::http::client::{Client, Failure, Limits, Reply};
use crate::http::{answer, lmcache_key, trust};
use crate::python::json;
use crate::sys::limits;

/// For a server whose answer the run needs.
pub const PATIENT: Limits = Limits {
    connect: Some(Duration::from_secs(5)),
    whole: Duration::from_secs(10),
};
/// For an answer that a run can do without. Nothing is measured meanwhile, so a busy engine gets some time.
pub const BRIEF: Limits = Limits {
    connect: Some(Duration::from_secs(1)),
    whole: Duration::from_secs(5),
};
/// Who answered a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Nobody,
    /// Every other request will fail in the same way: a redirect, a refused key, a gateway.
    Gateway,
    /// Other requests may succeed.
    Server,
}

/// Why a request failed. The caller adds the address.
#[derive(Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub cause: String,
    /// What to do; empty where the cause says it.
    advice: String,
    pub reached: Reached,
}

impl Unanswered {
    /// A failure whose cause says what to do. By default no server was reached.
    fn without_advice(cause: String) -> Unanswered {
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

/// A client of the engine or of the LMCache server. Each gets its own key and not the other's.
#[derive(Debug)]
pub struct Asker {
    client: Client,
    key: Option<ApiKey>,
    /// The flag that gives the address, and the name of the server there.
    flag: &'static str,
    server: &'static str,
}

impl Asker {
    pub fn of_engine(key: &ApiKey, limits: Limits) -> Asker {
        Asker {
            client: Client::new(limits),
            key: Some(key.clone()),
            flag: "--engine-url",
            server: "the engine",
        }
    }

    /// For many questions one after the other: its connection is kept.
    pub fn of_engine_often(key: &ApiKey, limits: Limits) -> Asker {
        Asker {
            client: Client::keeping(limits),
            ..Asker::of_engine(key, limits)
        }
    }

    pub fn of_lmcache(key: Option<&ApiKey>, limits: Limits) -> Asker {
        Asker {
            client: Client::new(limits),
            key: key.cloned(),
            flag: "--lmcache-url",
            server: "the LMCache server",
        }
    }

    /// For a page of metrics of an engine, with its key if it is beside the API.
    pub fn of_metrics(key: Option<&ApiKey>, limits: Limits) -> Asker {
        Asker {
            client: Client::new(limits),
            key: key.cloned(),
            flag: "--metrics-url",
            server: "the engine",
        }
    }

    pub fn get_json(&self, url: &str) -> Result<Value, Unanswered> {
        let answered = self.get(url, "application/json")?;
        self.json(url, answered, json::loads)
    }

    /// A page that a server may not have: `None` when it answers with an error status. `Err` is no answer, a redirect, or a
    /// demand for a key.
    pub fn get_page(&self, url: &str) -> Result<Option<String>, Unanswered> {
        let answered = self.get(url, "text/plain")?;
        if answered.location.is_some() || answered.status == StatusCode::UNAUTHORIZED {
            return Err(self.refusal(url, &answered));
        }
        let page = || String::from_utf8_lossy(json::without_mark(&answered.body)).into_owned();
        Ok(answered.status.is_success().then(page))
    }

    fn get(&self, url: &str, accept: &str) -> Result<Reply, Unanswered> {
        let bearer = self.bearer()?;
        let headers = [("accept", accept)].into_iter().chain(authorization(&bearer));
        let reply = self.client.get(url, headers);
        reply.map_err(|failure| self.unanswered(failure))
    }

    /// `read` takes from the body what the caller needs; a JSON value of all of it may be far larger.
    pub fn post_json<T>(
        &self,
        url: &str,
        body: &Value,
        read: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Unanswered> {
        let bearer = self.bearer()?;
        let reply = self.client.post_json(url, authorization(&bearer), body);
        self.json(url, reply.map_err(|failure| self.unanswered(failure))?, read)
    }

    /// For a request to do something, which a server may not have: its answer's status and body, where it is a success or one
    /// of `taken`.
    pub fn post(&self, url: &str, body: &Value, taken: &[StatusCode]) -> Result<(StatusCode, Vec<u8>), Unanswered> {
        let bearer = self.bearer()?;
        let reply = self.client.post_json(url, authorization(&bearer), body);
        let answered = reply.map_err(|failure| self.unanswered(failure))?;
        match answered.status {
            status if status.is_success() || taken.contains(&status) => Ok((status, answered.body)),
            _ => Err(self.refusal(url, &answered)),
        }
    }

    fn bearer(&self) -> Result<Option<String>, Unanswered> {
        let problem = self.key.as_ref().and_then(ApiKey::problem);
        problem.map_or(Ok(()), |problem| Err(Unanswered::without_advice(problem)))?;
        Ok(self.key.as_ref().map(ApiKey::bearer))
    }

    fn unanswered(&self, failure: Failure) -> Unanswered {
        let error = match failure {
            Failure::NoReply(cause) => return Unanswered::without_advice(cause),
            // The engine, or a gateway before it, runs; the cause says what is wrong with the answer.
            Failure::Body(cause) => {
                return Unanswered {
                    reached: Reached::Server,
                    ..Unanswered::without_advice(cause)
                };
            }
            Failure::Http(error) => error,
        };
        let Asker { flag, server, .. } = self;
        let advice = format!("check {flag}, and that {server} runs");
        let (cause, advice, reached) = match &error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                let cause = format!(
                    "timeout: no connection within {} s",
                    self.client.limits.connect.unwrap_or_default().as_secs_f64()
                );
                (cause, advice, Reached::Nobody)
            }
            ureq::Error::Timeout(_) => {
                let cause = format!("timeout: no answer within {} s", self.client.limits.whole.as_secs_f64());
                (cause, advice, Reached::Nobody)
            }
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
                let cause = format!("what answers there does not speak HTTP: {}", answer::cause(&error));
                let advice = format!("check the port in {flag}, and whether it is one of https://");
                (cause, advice, Reached::Server)
            }
            _ => {
                let cause = answer::cause(&error);
                let has_advice = limits::has_advice(&cause);
                let cause = format!("{cause}{}", trust::advice(&cause));
                (cause, if has_advice { String::new() } else { advice }, Reached::Nobody)
            }
        };
        Unanswered { cause, advice, reached }
    }

    /// For an answer that the engine, or the LMCache server, would not give.
    fn wrong_server(&self, cause: String) -> Unanswered {
        Unanswered {
            cause,
            advice: format!("check that {} is the address of {}", self.flag, self.server),
            reached: Reached::Server,
        }
    }

    fn json<T>(
        &self,
        url: &str,
        answered: Reply,
        read: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T, Unanswered> {
        if !answered.status.is_success() {
            return Err(self.refusal(url, &answered));
        }
        read(&answered.body).map_err(|cause| {
            if json::costs_too_much(&cause) {
                return self.wrong_server(format!("the answer is no answer to this question: {cause}"));
            }
            self.wrong_server(match self.message(&answered.body) {
                Some(message) => format!("the answer is not JSON ({message})"),
                None if answered.body.is_empty() => "the answer is empty".to_owned(),
                None => format!("the answer is not JSON: {cause}"),
            })
        })
    }

    /// The status, and the message in the body if there is one.
    fn refusal(&self, url: &str, answered: &Reply) -> Unanswered {
        let status = answered.status;
        if let Some(location) = &answered.location {
            return self.moved(status, url, location);
        }
        let message = self.message(&answered.body);
        let message = message.map_or_else(String::new, |message| format!(" ({message})"));
        let refused = self.wrong_server(format!("it answered {status}{message}"));
        let advice = match &self.key {
            Some(key) if [401, 403].contains(&status.as_u16()) => key.advice(self.server),
            // Every engine gets some key.
            None if status == StatusCode::UNAUTHORIZED => wanted(self.server, lmcache_key::VARIABLE),
            // From a gateway that does not reach the server.
            _ if [502, 503, 504].contains(&status.as_u16()) => format!("check that {} behind it runs", self.server),
            _ if status.is_server_error() => {
                let advice = format!("look into the log of {}", self.server);
                return Unanswered { advice, ..refused };
            }
            _ => return refused,
        };
        Unanswered {
            advice,
            reached: Reached::Gateway,
            ..refused
        }
    }

    /// A target with the same last part gives the new address; any other target is a login page.
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
            reached: Reached::Gateway,
        }
    }

    /// The message of a body, with the key removed before the text is cut.
    fn message(&self, body: &[u8]) -> Option<String> {
        message_without(self.key.as_ref(), body)
    }
}

#[cfg(test)]
mod tests;
