//! multi-round-chat: sessions that take turns by a timetable, each prompt with its session's earlier turns. Only answers are
//! kept; the rest of a prompt is made again for each turn.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::body::{Bodies, Message};
use super::descriptor::{
    Descriptor, Settings, Support, WorkloadFlag, above_zero, bounded, choice, count, float, int, length, lmcache_group,
    pool_size,
};
use super::filler::{fitted, repeated};
use super::{Finished, Phase, Plan, Request, Skipped, Step, Workload, planned_streams};
use crate::choices;
use crate::engine::args::WorkloadValues;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::load::arrivals::{Arrival, Arrivals, Next, Process};
use crate::load::offer::{Offer, OwnPace};
use crate::report::banner::Banner;

/// Words of the two texts before the fillers.
const SYSTEM_FIRST_WORDS: u64 = 7;
const HISTORY_FIRST_WORDS: u64 = 3;
const ACKNOWLEDGEMENT: &str = "Understood, I have read the context above.";
/// When a busy session is looked at again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

choices! {
    /// What happens to a turn whose session still has a request in flight.
    pub enum ChatPacing ("pacing") {
        /// As in the reference: every later turn waits for that session.
        Blocking = "blocking",
        /// The next session without a request in flight takes the turn; with none, the turn is left out.
        FreeSession = "free-session",
    }
}

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "multi-round-chat",
    about: "Sessions that take turns, with growing histories",
    group: lmcache_group("Workload multi-round-chat"),
    flags: FLAGS,
    added_flags: ADDED_FLAGS,
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: true,
    chat_only: false,
    support: Support::built::<MultiRoundChat>(),
};

const FLAGS: &[WorkloadFlag] = &[
    int!("mrc-shared-prompt-length", "2000")
        .help(
            "Tokens of a session's system prompt",
            "It begins with the number of the session, so no two sessions share it.",
        )
        .question("System prompt length (tokens)", "Tokens of a session's system prompt."),
    int!("mrc-chat-history-length", "10000")
        .help(
            "Tokens of the history that a session begins with",
            "Together with the system prompt it sets how many sessions fill `--kv-cache-volume`.",
        )
        .question("Chat history length (tokens)", "Tokens that a session begins with."),
    int!("mrc-user-input-length", "50")
        .help("Tokens of one user message", "Words, as in LMCache.")
        .question("User input length (tokens)", "Tokens of one user message."),
    int!("mrc-output-length", "200")
        .help(
            "Tokens of an answer",
            "Answers become part of the later prompts of their session.",
        )
        .question("Output length (tokens)", "Tokens of an answer."),
    float!("mrc-qps", "1.0")
        .help(
            "Requests per second",
            "The sessions take turns. See `--mrc-pacing` for a turn whose session is busy.",
        )
        .question("Queries per second", "How often a request is sent."),
    float!("mrc-duration", "60.0")
        .help(
            "Seconds during which requests are sent",
            "What is in flight then is waited for.",
        )
        .question("Duration (seconds)", "How long requests are sent."),
];

const ADDED_FLAGS: &[WorkloadFlag] = &[choice!("mrc-pacing", "PACING", "blocking", ChatPacing, &[]).help(
    "What a busy session does to the schedule",
    "`blocking` is LMCache's: one busy session holds up all others, and missed turns follow in a burst. `free-session` \
     gives the turn to the next session that is free, and drops it when none is.",
)];

struct MultiRoundChat {
    sessions: u64,
    shared_prompt_tokens: u64,
    history_tokens: u64,
    user_input_tokens: u64,
    max_tokens: u64,
    requests_per_second: f64,
    duration_s: f64,
    pacing: ChatPacing,
}

impl Settings for MultiRoundChat {
    fn resolve(values: &WorkloadValues, sizes: &Sizes) -> Result<MultiRoundChat, Error> {
        let shared_prompt_tokens = length(values, "mrc-shared-prompt-length")?;
        let history_tokens = length(values, "mrc-chat-history-length")?;
        let sessions = pool_size(sizes.kv_tokens / (shared_prompt_tokens + history_tokens) as f64);
        bounded(sessions, "lower --kv-cache-volume, or raise --mrc-chat-history-length")?;
        let requests_per_second = above_zero(values, "mrc-qps")?;
        let duration_s = above_zero(values, "mrc-duration")?;
        bounded(requests_per_second * duration_s, "lower --mrc-qps or --mrc-duration")?;
        Ok(MultiRoundChat {
            sessions: sessions as u64,
            shared_prompt_tokens,
            history_tokens,
            user_input_tokens: length(values, "mrc-user-input-length")?,
            max_tokens: count(values, "mrc-output-length")?,
            requests_per_second,
            duration_s,
            pacing: values.choice("mrc-pacing", ChatPacing::from_text)?,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let exact = config.exact_lengths.then_some(tokenizer);
        let system_words = self.shared_prompt_tokens.saturating_sub(SYSTEM_FIRST_WORDS);
        let history_words = self.history_tokens.saturating_sub(HISTORY_FIRST_WORDS);
        let (input, query_text) = (self.user_input_tokens, |words| repeated("tell", words));
        Ok(Box::new(Chat {
            bodies: Bodies::new(config),
            system_words: fitted(exact, self.shared_prompt_tokens, system_words, |words| system(0, words))?,
            history_words: fitted(exact, self.history_tokens, history_words, |words| history(0, words))?,
            query: query_text(fitted(exact, input, input, query_text)?),
            phase: Phase::Warmup,
            first_session: config.step * self.sessions,
            offer: None,
            held: false,
            elapsed: Duration::ZERO,
            arrivals: self.arrivals(Phase::Warmup, None),
            next_session: 0,
            skipped: Skipped::default(),
            in_flight: HashMap::new(),
            busy: HashSet::new(),
            answers: HashMap::new(),
            settings: self,
        }))
    }
}

impl MultiRoundChat {
    fn own_pace(&self) -> OwnPace {
        OwnPace::Rate {
            per_second: self.requests_per_second,
            seconds: self.duration_s,
        }
    }

    /// In the warmup, the sessions one by one; then the timetable, or the load that takes its place.
    fn arrivals(&self, phase: Phase, offer: Option<&Offer>) -> Box<dyn Arrivals> {
        let process = match (phase, offer) {
            (Phase::Warmup, _) => Process::Closed { in_flight: 1 },
            (Phase::Measured, Some(offer)) => return offer.start(self.own_pace()),
            (Phase::Measured, None) => Process::Constant {
                per_second: self.requests_per_second,
                end_s: self.duration_s,
            },
        };
        process.start()
    }
}

struct Chat {
    settings: MultiRoundChat,
    bodies: Bodies,
    system_words: u64,
    history_words: u64,
    query: String,
    /// The number in the text of session 0: other steps of a sweep have other sessions.
    first_session: u64,
    phase: Phase,
    offer: Option<Offer>,
    arrivals: Box<dyn Arrivals>,
    /// At the last step.
    elapsed: Duration,
    /// Whether the request that is due had to wait for a place or for its session.
    held: bool,
    /// The session that `FreeSession` looks at first.
    next_session: u64,
    skipped: Skipped,
    /// Sessions with a request in flight, by its id.
    in_flight: HashMap<String, u64>,
    busy: HashSet<u64>,
    /// Answers of the measured phase, by session.
    answers: HashMap<u64, Vec<String>>,
}

fn system(session: u64, words: u64) -> String {
    format!(
        "Session {session}. You are a helpful assistant. {}",
        repeated("help", words)
    )
}

fn history(session: u64, words: u64) -> String {
    format!("[Session {session} history] {}", repeated("hi", words))
}

impl Chat {
    fn body(&self, session: u64, last: &str, max_tokens: u64) -> Vec<u8> {
        let number = self.first_session + session;
        let (system, history) = (system(number, self.system_words), history(number, self.history_words));
        let opening: [Message; 3] = [("system", &system), ("user", &history), ("assistant", ACKNOWLEDGEMENT)];
        let answers = self.answers.get(&session).map_or(&[][..], Vec::as_slice);
        let exchanges = answers.iter().flat_map(|answer| {
            let exchange: [Message; 2] = [("user", &self.query), ("assistant", answer)];
            exchange
        });
        self.bodies
            .build(opening.into_iter().chain(exchanges).chain([("user", last)]), max_tokens)
    }

    fn greet(&mut self, session: u64) -> Step {
        if session >= self.settings.sessions {
            return Step::Done;
        }
        self.arrivals.advance();
        let id = format!("warmup_s{session}");
        self.in_flight.insert(id.clone(), session);
        Step::Send(Request::new(id, self.body(session, "Hello", 1), 1))
    }

    /// The session that takes a turn, if there is one.
    fn free_session(&self, turn: u64) -> Option<u64> {
        let sessions = self.settings.sessions;
        match self.settings.pacing {
            ChatPacing::Blocking => Some(turn % sessions).filter(|session| !self.busy.contains(session)),
            ChatPacing::FreeSession => (0..sessions)
                .map(|ahead| (self.next_session + ahead) % sessions)
                .find(|session| !self.busy.contains(session)),
        }
    }

    fn send(&mut self, session: u64, turn: Arrival, elapsed: Duration) -> Step {
        self.arrivals.advance();
        let id = format!("s{session}_r{}", turn.number);
        self.next_session = (session + 1) % self.settings.sessions;
        self.in_flight.insert(id.clone(), session);
        self.busy.insert(session);
        let body = self.body(session, &self.query, self.settings.max_tokens);
        let request = Request::new(id, body, self.settings.max_tokens);
        let request = request.due(turn.due, elapsed, std::mem::take(&mut self.held));
        Step::Send(Request {
            wants_text: true,
            ..request
        })
    }

    /// Answers enter the history; a failed request leaves an empty one, as in the reference.
    fn keep_answers(&mut self, finished: &[Finished]) {
        for request in finished {
            let Some(session) = self.in_flight.remove(&request.id) else {
                continue;
            };
            if self.phase == Phase::Measured {
                self.busy.remove(&session);
                self.answers.entry(session).or_default().push(request.text.clone());
            }
        }
    }
}

impl Workload for Chat {
    fn banner(&self) -> Banner {
        let settings = &self.settings;
        Banner::new(DESCRIPTOR.name, 18)
            .line("Concurrent users", settings.sessions, "")
            .line("Prompt length", settings.shared_prompt_tokens, "tokens")
            .line("History length", settings.history_tokens, "tokens")
            .line("Query length", settings.user_input_tokens, "tokens")
            .line("Output length", settings.max_tokens, "tokens")
            .line("QPS", format!("{:?}", settings.requests_per_second), "")
            .line("Duration", format!("{:?}s", settings.duration_s), "")
    }

    fn plan(&self) -> Plan {
        let settings = &self.settings;
        let requests = (settings.duration_s * settings.requests_per_second).ceil() as u64;
        let streams = planned_streams(settings.requests_per_second, settings.max_tokens);
        let plan = Plan {
            streams: streams.min(requests).max(1),
            tokens_per_answer: settings.max_tokens,
            body_bytes: self.body(0, &self.query, settings.max_tokens).len() as u64,
            requests,
            requests_per_second: Some(settings.requests_per_second),
        }
        .offered(self.offer.as_ref(), settings.own_pace());
        Plan {
            streams: plan.streams.min(settings.sessions),
            ..plan
        }
    }

    fn offer(&mut self, offer: Offer) {
        self.offer = Some(offer);
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.arrivals = self.settings.arrivals(phase, self.offer.as_ref());
        self.held = false;
        self.next_session = 0;
        self.skipped = Skipped::default();
        self.in_flight.clear();
        self.busy.clear();
        self.answers.clear();
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        self.keep_answers(finished);
        self.elapsed = elapsed;
        loop {
            let arrival = match self.arrivals.next(elapsed, self.in_flight.len() as u64) {
                Next::Now(arrival) => arrival,
                Next::At(then) => return Step::SleepUntil(then),
                Next::AtOrEnd(then) => return Step::AwaitUntil(then),
                Next::AfterEnd => {
                    self.held = true;
                    return Step::Await;
                }
                Next::Over => return Step::Done,
            };
            if self.phase == Phase::Warmup {
                return self.greet(arrival.number);
            }
            match (self.free_session(arrival.number), self.settings.pacing) {
                (Some(session), _) => return self.send(session, arrival, elapsed),
                // Without a timetable there is no turn to leave out.
                (None, _) if arrival.due.is_none() => {
                    self.held = true;
                    return Step::Await;
                }
                (None, ChatPacing::Blocking) => {
                    self.held = true;
                    return Step::SleepUntil(elapsed + RETRY_AFTER);
                }
                (None, ChatPacing::FreeSession) => {
                    let is_measured = arrival.due >= self.offer.as_ref().map(Offer::lead_in);
                    self.skipped.turns += u64::from(is_measured);
                    self.arrivals.advance();
                }
            }
        }
    }

    fn skipped(&self) -> Skipped {
        Skipped {
            unsent: self.arrivals.unsent(self.elapsed),
            used_up: self.arrivals.is_used_up(),
            ..self.skipped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::workload_values as given;

    fn resolved(words: &[&str]) -> Result<MultiRoundChat, Error> {
        MultiRoundChat::resolve(&given(words), &Sizes::new(100.0, 6553))
    }

    #[test]
    fn sessions_fill_the_volume() {
        assert_eq!(resolved(&[]).unwrap().sessions, 54);
    }

    #[test]
    fn a_rate_that_is_no_number_is_refused() {
        let error = resolved(&["--mrc-qps", "nan"]).err().expect("a refusal");
        assert_eq!(error.to_string(), "--mrc-qps must be above 0, got NaN");
    }
}
