//! multi-round-chat: sessions that take turns by a timetable, each prompt with all that was said before. Must never hold
//! more of a session than its answers.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::body::{Bodies, Message};
use super::filler::{fitted, repeated};
use super::{Finished, Phase, Plan, Request, Skipped, Step, Workload};
use crate::engine::config::{EngineConfig, MultiRoundChat};
use crate::engine::flags::ChatPacing;
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::report::banner::Banner;

/// Words of the two texts before the fillers.
const SYSTEM_HEAD_WORDS: u64 = 7;
const HISTORY_HEAD_WORDS: u64 = 3;
const ACKNOWLEDGEMENT: &str = "Understood, I have read the context above.";
/// When a busy session is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A plan must guess how long answers take: this many tokens per second.
const PLANNED_TOKENS_PER_S: f64 = 20.0;

struct Chat {
    settings: MultiRoundChat,
    bodies: Bodies,
    system_words: u64,
    history_words: u64,
    query: String,
    phase: Phase,
    /// The number of the next turn, or of the next session in the warmup.
    turn: u64,
    /// The session that `FreeSession` looks at first.
    next_session: u64,
    skipped: Skipped,
    /// Sessions with a request in flight, by its id.
    in_flight: HashMap<String, u64>,
    busy: HashSet<u64>,
    /// Answers of the measured phase, by session.
    answers: HashMap<u64, Vec<String>>,
}

pub(super) fn create(
    config: &EngineConfig,
    settings: &MultiRoundChat,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Workload>, Error> {
    let exact = config.exact_lengths.then_some(tokenizer);
    let system_words = settings.shared_prompt_tokens.saturating_sub(SYSTEM_HEAD_WORDS);
    let history_words = settings.history_tokens.saturating_sub(HISTORY_HEAD_WORDS);
    let (input, query_text) = (settings.user_input_tokens, |words| repeated("tell", words));
    Ok(Box::new(Chat {
        bodies: Bodies::new(config),
        system_words: fitted(exact, settings.shared_prompt_tokens, system_words, |words| {
            system(0, words)
        })?,
        history_words: fitted(exact, settings.history_tokens, history_words, |words| history(0, words))?,
        query: query_text(fitted(exact, input, input, query_text)?),
        phase: Phase::Warmup,
        turn: 0,
        next_session: 0,
        skipped: Skipped::default(),
        in_flight: HashMap::new(),
        busy: HashSet::new(),
        answers: HashMap::new(),
        settings: settings.clone(),
    }))
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
        let (system, history) = (system(session, self.system_words), history(session, self.history_words));
        let opening: [Message; 3] = [("system", &system), ("user", &history), ("assistant", ACKNOWLEDGEMENT)];
        let answers = self.answers.get(&session).map_or(&[][..], Vec::as_slice);
        let exchanges = answers.iter().flat_map(|answer| {
            let exchange: [Message; 2] = [("user", &self.query), ("assistant", answer)];
            exchange
        });
        self.bodies
            .build(opening.into_iter().chain(exchanges).chain([("user", last)]), max_tokens)
    }

    /// Seconds since the phase began at which a turn is due, in the reference's arithmetic.
    fn due_s(&self, turn: u64) -> f64 {
        turn as f64 * (1.0 / self.settings.requests_per_second)
    }

    fn warmup_step(&mut self) -> Step {
        if !self.in_flight.is_empty() {
            return Step::Await;
        }
        let session = self.turn;
        if session >= self.settings.sessions {
            return Step::Done;
        }
        self.turn += 1;
        let id = format!("warmup_s{session}");
        self.in_flight.insert(id.clone(), session);
        Step::Send(Request {
            id,
            body: self.body(session, "Hello", 1),
            max_tokens: 1,
            wants_text: false,
            scheduled: None,
        })
    }

    fn measured_step(&mut self, elapsed: Duration) -> Step {
        loop {
            let due_s = self.due_s(self.turn);
            if due_s >= self.settings.duration_s || elapsed.as_secs_f64() >= self.settings.duration_s {
                return Step::Done;
            }
            let due = Duration::from_secs_f64(due_s);
            if elapsed < due {
                return Step::SleepUntil(due);
            }
            match (self.free_session(), self.settings.pacing) {
                (Some(session), _) => return self.send(session, due),
                (None, ChatPacing::Blocking) => return Step::SleepUntil(elapsed + LOOK_AGAIN),
                (None, ChatPacing::FreeSession) => {
                    self.skipped.turns += 1;
                    self.turn += 1;
                }
            }
        }
    }

    /// The session of this turn, if it can take it.
    fn free_session(&self) -> Option<u64> {
        let sessions = self.settings.sessions;
        match self.settings.pacing {
            ChatPacing::Blocking => Some(self.turn % sessions).filter(|session| !self.busy.contains(session)),
            ChatPacing::FreeSession => (0..sessions)
                .map(|ahead| (self.next_session + ahead) % sessions)
                .find(|session| !self.busy.contains(session)),
        }
    }

    fn send(&mut self, session: u64, due: Duration) -> Step {
        let id = format!("s{session}_r{}", self.turn);
        self.turn += 1;
        self.next_session = (session + 1) % self.settings.sessions;
        self.in_flight.insert(id.clone(), session);
        self.busy.insert(session);
        Step::Send(Request {
            id,
            body: self.body(session, &self.query, self.settings.max_tokens),
            max_tokens: self.settings.max_tokens,
            wants_text: true,
            scheduled: Some(due),
        })
    }

    /// Answers enter the history; a failed request leaves an empty one, as in the reference.
    fn take(&mut self, finished: &[Finished]) {
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
        Banner::new("multi-round-chat", 18)
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
        let answer_s = settings.max_tokens as f64 / PLANNED_TOKENS_PER_S;
        let requests = (settings.duration_s * settings.requests_per_second).ceil();
        let streams = (settings.requests_per_second * answer_s).ceil().min(requests).max(1.0);
        Plan {
            streams: (streams as u64).min(settings.sessions),
            tokens_per_answer: settings.max_tokens,
            body_bytes: self.body(0, &self.query, settings.max_tokens).len() as u64,
            requests: requests as u64,
            requests_per_second: Some(settings.requests_per_second),
        }
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.turn = 0;
        self.next_session = 0;
        self.skipped = Skipped::default();
        self.in_flight.clear();
        self.busy.clear();
        self.answers.clear();
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        self.take(finished);
        match self.phase {
            Phase::Warmup => self.warmup_step(),
            Phase::Measured => self.measured_step(elapsed),
        }
    }

    fn skipped(&self) -> Skipped {
        self.skipped
    }
}
