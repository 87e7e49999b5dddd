//! One answer, updated event by event: first and last token, number of token events, the engine's counts. Implements the
//! definitions of docs/measurement.md. Reads no clock; every event comes with its arrival stamp.

use serde_json::Value;

use super::chunk::{self, Chunk, error_event};
use super::counts::Usage;
use super::ending::{self, REASON_CHARS_MAX};
use super::repeat::ChunkReader;
use super::sse::Event;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::timestamp::Stamp;
use crate::http::error_body::one_line;
use crate::python::json;

const DONE: &[u8] = b"[DONE]";
/// The unit in which gaps between token events are stored; 32 bits hold seven minutes.
pub const GAP_UNIT_NS: u64 = 100;
/// Shorter gaps (below 100 us) count as events that arrived together: no engine generates 10,000 tokens a second for one
/// request.
const EMPTY_GAP_UNITS: u64 = 1000;
/// Most gaps for which memory is reserved in advance; it grows for longer answers.
const GAPS_RESERVED_MAX: usize = 1 << 8;
/// Far more than any answer has. Bounds the memory for gaps.
const TOKEN_EVENTS_MAX: u64 = 1 << 20;
/// Bounds the text of an answer that becomes part of the next request.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Engines use ids of about forty characters.
const RESPONSE_ID_CHARS_MAX: usize = 100;

/// What the events of one request contained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The engine's id of the answer, to find it in the engine's logs.
    pub response_id: Option<String>,
    pub first_event: Option<Stamp>,
    /// The first event with any text of the model.
    pub first_token: Option<Stamp>,
    /// The first event with text that is not reasoning.
    pub first_output: Option<Stamp>,
    pub last_token: Option<Stamp>,
    /// The first event with a finish reason.
    pub first_finish: Option<Stamp>,
    /// The first finish reason, or a later one that means failure.
    pub finish_reason: Option<String>,
    /// A usage arrived in an event without a choice, which engines send at the end.
    pub has_usage_event: bool,
    /// The last event that made progress: a token, the first finish reason, or a count that changed.
    pub last_progress: Option<Stamp>,
    /// When `[DONE]` arrived.
    pub done: Option<Stamp>,
    pub token_events: u64,
    /// Non-empty pieces of text. The reference counts these as tokens when the engine reports no usage.
    pub pieces: u64,
    pub usage: Usage,
    /// The first number in a usage that cannot be a count, with its name.
    pub impossible_count: Option<String>,
    /// Bytes of all events, an upper bound of the tokens: each takes at least one byte.
    pub event_bytes: u64,
    /// The engine's count at the first token event, if it reports counts in every event.
    pub tokens_at_first: Option<u64>,
    /// Times between token events, in units of `GAP_UNIT_NS`.
    pub gaps: Vec<u32>,
    /// Gaps so short that the events arrived together.
    pub empty_gaps: u64,
    /// The first two token events arrived in one read, so the first has the stamp of the second.
    pub first_shares_its_stamp: bool,
    pub text: String,
    pub keeps_text: bool,
}

impl Answer {
    /// `tokens` is the request's `max_tokens`: memory for their gaps is reserved.
    pub fn new(keeps_text: bool, tokens: u64) -> Answer {
        let gaps = usize::try_from(tokens)
            .unwrap_or(GAPS_RESERVED_MAX)
            .min(GAPS_RESERVED_MAX);
        Answer {
            keeps_text,
            gaps: Vec::with_capacity(gaps),
            ..Answer::default()
        }
    }

    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// No event arrived.
    pub fn is_empty(&self) -> bool {
        self.first_event.is_none() && !self.is_done()
    }

    /// A token arrived, or an end without one: from now on the stall limit applies. A running count alone only shows that the
    /// engine accepted the request.
    pub fn has_begun(&self) -> bool {
        self.first_token.is_some() || self.first_finish.is_some() || self.has_usage_event
    }

    /// Adds an event that arrived at `at`. `reader` is the same for all events of this answer. Events after `[DONE]` are ignored.
    pub fn read_event(&mut self, reader: &mut ChunkReader, event: Event<'_>, at: Stamp) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        let data = match event {
            Event::Data(data) => data,
            Event::Error(said) => return Err(named_error(said)),
        };
        if data.starts_with(DONE) {
            self.done = Some(at);
            return Ok(());
        }
        self.event_bytes += data.len() as u64;
        if let Some(chunk) = reader.read(data)? {
            self.take(chunk, at);
        }
        self.check_length()
    }

    /// An engine that does not stop would fill the memory before the request times out.
    fn check_length(&self) -> Result<(), Failure> {
        let (events, bytes) = (self.token_events, self.text.len());
        if events <= TOKEN_EVENTS_MAX && bytes <= TEXT_BYTES_MAX {
            return Ok(());
        }
        Err(Failure::protocol(format!(
            "the answer does not end: {events} token events and {bytes} bytes of text kept so far; does the engine obey \
             max_tokens?"
        )))
    }

    /// Adds a last event without its blank line. The standard and the reference drop such an event, so its text and counts are
    /// ignored here too; only whether and how the answer ended is taken from it.
    pub fn read_unfinished(&mut self, event: Event<'_>, at: Stamp) -> Result<(), Failure> {
        let data = match event {
            Event::Data(data) => data,
            Event::Error(said) => return Err(named_error(said)),
        };
        if data.starts_with(DONE) {
            self.done = Some(at);
            return Ok(());
        }
        match chunk::parse(data) {
            Ok(Some(chunk)) => {
                self.has_usage_event |= chunk.is_usage_event();
                if let Some(reason) = chunk.finish_reason {
                    self.finish(&reason, at);
                }
                Ok(())
            }
            Err(failure) if failure.class == FailureClass::StreamBroken => Err(failure),
            // Truncated, or not JSON of an answer.
            _ => Ok(()),
        }
    }

    fn take(&mut self, chunk: Chunk<'_>, at: Stamp) {
        self.has_usage_event |= chunk.is_usage_event();
        if self.first_event.is_none() {
            self.first_event = Some(at);
            self.response_id = chunk.id.map(|id| id.chars().take(RESPONSE_ID_CHARS_MAX).collect());
        }
        if let Some(usage) = chunk.usage {
            let before = self.usage;
            self.count(usage);
            if self.usage != before {
                self.last_progress = Some(at);
            }
        }
        if chunk.impossible_count.is_some() && self.impossible_count.is_none() {
            self.impossible_count = chunk.impossible_count;
        }
        if chunk.has_token {
            self.token(at);
        }
        if chunk.has_output {
            self.first_output.get_or_insert(at);
        }
        if let Some(reason) = chunk.finish_reason {
            self.finish(&reason, at);
        }
        if let Some(piece) = chunk.piece.filter(|piece| !piece.is_empty()) {
            self.pieces += 1;
            if self.keeps_text {
                self.text.push_str(&piece);
            }
        }
    }

    fn finish(&mut self, reason: &str, at: Stamp) {
        if self.first_finish.is_none() {
            self.first_finish = Some(at);
            self.last_progress = Some(at);
        } else if !ending::is_failure(reason) {
            return;
        }
        self.finish_reason = Some(one_line(reason).chars().take(REASON_CHARS_MAX).collect());
    }

    /// Keeps the last count that is not zero: a running usage may contain zeros.
    fn count(&mut self, usage: Usage) {
        let newer = |old: Option<u64>, new: Option<u64>| match new {
            Some(0) | None => old.or(new),
            Some(_) => new,
        };
        self.usage.prompt_tokens = newer(self.usage.prompt_tokens, usage.prompt_tokens);
        self.usage.completion_tokens = newer(self.usage.completion_tokens, usage.completion_tokens);
        self.usage.cached_tokens = usage.cached_tokens.or(self.usage.cached_tokens);
    }

    fn token(&mut self, at: Stamp) {
        match self.last_token {
            None => {
                self.first_token = Some(at);
                self.tokens_at_first = self.usage.completion_tokens.filter(|&tokens| tokens > 0);
            }
            Some(last) => {
                let gap = at.ns_since(last) / GAP_UNIT_NS;
                self.empty_gaps += u64::from(gap < EMPTY_GAP_UNITS);
                self.first_shares_its_stamp |= self.token_events == 1 && at == last;
                self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
            }
        }
        self.last_token = Some(at);
        self.last_progress = Some(at);
        self.token_events += 1;
    }
}

/// The failure of an `event: error`, whose data is JSON, text or empty.
fn named_error(said: &[u8]) -> Failure {
    let text = || Value::from(String::from_utf8_lossy(said).trim());
    error_event(&json::loads(said).unwrap_or_else(|_| text()))
}

#[cfg(test)]
impl Answer {
    pub fn event(&mut self, data: &[u8], at: Stamp) -> Result<(), Failure> {
        self.read_event(&mut ChunkReader::default(), Event::Data(data), at)
    }
}
