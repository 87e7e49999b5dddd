//! One answer as it comes: which event was the first token, the last, how many there were, what the engine counted. The
//! definitions of docs/measurement.md live here. Reads no clock; every event comes with its arrival stamp.

use super::chunk::Usage;
use super::repeat::ChunkReader;
use crate::engine::failure::Failure;
use crate::engine::timestamp::Stamp;

/// Gaps between token events are kept in this unit, which fits seven minutes into 32 bits.
pub const GAP_UNIT_NS: u64 = 100;
/// Gaps that have room from the beginning; longer answers make more as they go.
const GAPS_ROOM_MAX: usize = 1 << 8;
/// Engines name answers with about forty characters.
const RESPONSE_ID_CHARS_MAX: usize = 100;

/// What one request's events said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The engine's own name of the answer, for its logs.
    pub response_id: Option<String>,
    pub first_event: Option<Stamp>,
    /// The first event with any text of the model.
    pub first_token: Option<Stamp>,
    /// The first event with text that is not reasoning.
    pub first_output: Option<Stamp>,
    pub last_token: Option<Stamp>,
    /// The first event that says why the answer ended.
    pub first_finish: Option<Stamp>,
    /// `[DONE]`.
    pub done: Option<Stamp>,
    pub token_events: u64,
    /// Non-empty pieces by the reference's rule; it counts these when the engine reports no usage.
    pub pieces: u64,
    pub usage: Usage,
    /// The engine's count at the first token event, where it counts on every event.
    pub tokens_at_first: Option<u64>,
    /// Between token events, in units of `GAP_UNIT_NS`.
    pub gaps: Vec<u32>,
    pub text: String,
    pub keeps_text: bool,
}

impl Answer {
    /// `tokens` is what was asked for: room for their gaps is made once.
    pub fn new(keeps_text: bool, tokens: u64) -> Answer {
        let room = usize::try_from(tokens).unwrap_or(GAPS_ROOM_MAX).min(GAPS_ROOM_MAX);
        Answer {
            keeps_text,
            gaps: Vec::with_capacity(room),
            ..Answer::default()
        }
    }

    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Takes the data of one event that arrived at `at`, with the reader of all events of this answer. Nothing after `[DONE]`
    /// counts.
    pub fn read_event(&mut self, reader: &mut ChunkReader, data: &[u8], at: Stamp) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.done = Some(at);
            return Ok(());
        }
        let Some(chunk) = reader.read(data)? else {
            return Ok(());
        };
        if self.first_event.is_none() {
            self.first_event = Some(at);
            self.response_id = chunk.id.map(|id| id.chars().take(RESPONSE_ID_CHARS_MAX).collect());
        }
        if let Some(usage) = chunk.usage {
            self.count(usage);
        }
        if chunk.has_token {
            self.token(at);
        }
        if chunk.has_output {
            self.first_output.get_or_insert(at);
        }
        if chunk.finished {
            self.first_finish.get_or_insert(at);
        }
        if let Some(piece) = chunk.piece.filter(|piece| !piece.is_empty()) {
            self.pieces += 1;
            if self.keeps_text {
                self.text.push_str(&piece);
            }
        }
        Ok(())
    }

    /// Zero counts of a running usage say nothing; the last count that is not zero holds.
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
                self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
            }
        }
        self.last_token = Some(at);
        self.token_events += 1;
    }
}

#[cfg(test)]
impl Answer {
    pub fn event(&mut self, data: &[u8], at: Stamp) -> Result<(), Failure> {
        self.read_event(&mut ChunkReader::default(), data, at)
    }
}
