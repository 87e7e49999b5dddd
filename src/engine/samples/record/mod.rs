//! One finished request: its stamps, counts and how it ended. All formulas over a single request are here, the reference's
//! and the ones beside them; what they mean is in docs/measurement.md.

use crate::engine::failure::{Failure, FailureClass};
use crate::engine::stream::answer::{Answer, GAP_UNIT_NS};
use crate::engine::timestamp::Stamp;

/// An answer that took less time per token event than this is a fast one, not one that came in lumps.
const LUMP_EVENT_S_MIN: f64 = 1e-3;
/// Tokens that a server may add to a prompt: templates, a system prompt of its own. Besides them none has less than a byte.
const ADDED_PROMPT_TOKENS_MAX: u64 = 64 << 10;
/// No engine makes more for one request.
const TOKENS_PER_S_MAX: f64 = 1e6;

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: String,
    /// When the workload wanted it sent.
    pub scheduled: Stamp,
    /// A thread owns it and its connection is open: the clock of TTFT starts here.
    pub dispatched: Stamp,
    /// Directly before the first write of the request.
    pub first_write: Option<Stamp>,
    /// The last byte of the request was handed to the kernel.
    pub sent: Option<Stamp>,
    /// The answer's head was there.
    pub headers: Option<Stamp>,
    /// The end of the answer, not of the connection.
    pub finished: Stamp,
    pub status: Option<u16>,
    pub answer: Answer,
    /// Where the answer ended with an error.
    pub failure: Option<Failure>,
    /// Nanoseconds spent on opening a connection for this request, before its clock; 0 when it was open already.
    pub connect_ns: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub reads: u64,
    /// Reads without a stamp of the kernel's.
    pub reads_without_stamp: u64,
    /// From the kernel's stamp of the first token to the end of our read of it.
    pub first_token_lag_ns: u64,
    /// The same over all reads of the answer, added up.
    pub lag_ns_sum: u64,
}

impl Record {
    /// A request that is about to be sent.
    pub fn begin(id: String, scheduled: Stamp, dispatched: Stamp) -> Record {
        Record {
            id,
            scheduled,
            dispatched,
            first_write: None,
            sent: None,
            headers: None,
            finished: dispatched,
            status: None,
            answer: Answer::default(),
            failure: None,
            connect_ns: 0,
            bytes_sent: 0,
            bytes_received: 0,
            reads: 0,
            reads_without_stamp: 0,
            first_token_lag_ns: 0,
            lag_ns_sum: 0,
        }
    }

    /// The first token, or what stands for it when the engine counted tokens but sent no text, as it does for a lone end
    /// of sequence: the first event that says why it finished, else the first event.
    pub fn first_token(&self) -> Option<Stamp> {
        let answer = &self.answer;
        if answer.first_token.is_some() {
            return answer.first_token;
        }
        let counted = answer.usage.completion_tokens.is_some_and(|tokens| tokens > 0);
        counted.then(|| answer.first_finish.or(answer.first_event)).flatten()
    }

    /// The first token's time is a stand-in; there is no time per token then.
    pub fn first_token_is_assumed(&self) -> bool {
        self.answer.first_token.is_none() && self.first_token().is_some()
    }

    pub fn succeeded(&self) -> bool {
        self.failure.is_none() && self.first_token().is_some()
    }

    /// Why it failed: also an answer that ended well and brought no token is a failure.
    pub fn why_failed(&self) -> Option<Failure> {
        if self.succeeded() {
            return None;
        }
        let nothing = || Failure::new(FailureClass::Protocol, "the answer ended without a token");
        Some(self.failure.clone().unwrap_or_else(nothing))
    }

    pub fn input_tokens(&self) -> u64 {
        self.clean().and_then(|answer| answer.usage.prompt_tokens).unwrap_or(0)
    }

    /// The engine's count; without one, pieces of text, as the reference counts.
    pub fn output_tokens(&self) -> u64 {
        let Some(answer) = self.clean() else { return 0 };
        match answer.usage.completion_tokens {
            Some(tokens) if tokens > 0 => tokens,
            _ => answer.pieces,
        }
    }

    pub fn cached_tokens(&self) -> Option<u64> {
        self.clean()?.usage.cached_tokens
    }

    fn clean(&self) -> Option<&Answer> {
        self.failure.is_none().then_some(&self.answer)
    }

    /// -1 after a failure, as in the reference's file.
    pub fn ttft_s(&self) -> f64 {
        let first = self.first_token().filter(|_| self.failure.is_none());
        first.map_or(-1.0, |first| first.seconds_since(self.dispatched))
    }

    /// The reference's latency, to the end of the answer.
    pub fn latency_s(&self) -> f64 {
        self.finished.seconds_since(self.dispatched)
    }

    /// The reference's decode speed: all tokens over the time from the first token to the end of the answer.
    pub fn decode_speed(&self) -> f64 {
        let Some(first) = self.first_token().filter(|_| self.failure.is_none()) else {
            return 0.0;
        };
        let seconds = self.finished.seconds_since(first);
        if seconds > 0.0 {
            self.output_tokens() as f64 / seconds
        } else {
            0.0
        }
    }

    pub fn last_token(&self) -> Option<Stamp> {
        self.answer.last_token.or(self.first_token())
    }

    /// From dispatch to the last token.
    pub fn token_latency_s(&self) -> Option<f64> {
        Some(self.last_token()?.seconds_since(self.dispatched))
    }

    pub fn ttfo_s(&self) -> Option<f64> {
        Some(self.answer.first_output?.seconds_since(self.dispatched))
    }

    pub fn scheduled_ttft_s(&self) -> Option<f64> {
        Some(self.first_token()?.seconds_since(self.scheduled))
    }

    pub fn lateness_s(&self) -> f64 {
        self.dispatched.seconds_since(self.scheduled).max(0.0)
    }

    pub fn tokens_per_event(&self) -> Option<f64> {
        let events = self.answer.token_events;
        (events > 0 && self.output_tokens() > 0).then(|| self.output_tokens() as f64 / events as f64)
    }

    /// Tokens of the first token event: the engine's count where it counts on every event, else the average of all events.
    fn tokens_of_first_event(&self) -> Option<f64> {
        match self.answer.tokens_at_first {
            Some(counted) if counted < self.output_tokens() => Some(counted as f64),
            _ => self.tokens_per_event(),
        }
    }

    /// Tokens of all later events; nothing without one.
    fn tokens_after_first_event(&self) -> Option<f64> {
        if self.answer.token_events < 2 {
            return None;
        }
        let tokens = self.output_tokens() as f64 - self.tokens_of_first_event()?;
        (tokens > 0.0).then_some(tokens)
    }

    /// Most token events came together with the one before although the answer took its time: something handed them on in
    /// lumps, and the time between them is not the engine's.
    pub fn is_lumped(&self) -> bool {
        let answer = &self.answer;
        let gaps = answer.token_events.saturating_sub(1);
        let took_time = |seconds: f64| seconds >= LUMP_EVENT_S_MIN * answer.token_events as f64;
        answer.empty_gaps * 2 > gaps && self.token_latency_s().is_some_and(took_time)
    }

    /// Seconds per token after the first event's tokens; nothing below two tokens or two token events, or in lumps.
    pub fn tpot_s(&self) -> Option<f64> {
        let answer = &self.answer;
        if !self.succeeded() || self.output_tokens() < 2 || self.is_lumped() {
            return None;
        }
        let seconds = answer.last_token?.seconds_since(answer.first_token?);
        Some(seconds / self.tokens_after_first_event()?)
    }

    /// Seconds between token events, divided by the tokens per event after the first. Their mean is `tpot_s`.
    pub fn gaps_s(&self) -> impl Iterator<Item = f64> {
        let later_events = self.answer.token_events.saturating_sub(1) as f64;
        let per_event = self
            .tokens_after_first_event()
            .map_or(1.0, |tokens| tokens / later_events);
        let scale = GAP_UNIT_NS as f64 / 1e9 / per_event;
        self.answer.gaps.iter().map(move |gap| f64::from(*gap) * scale)
    }

    /// Tokens beyond one per event, where nobody knows how many of them the first event had. An end of sequence counts as a
    /// token and has no event.
    pub fn unplaced_tokens(&self) -> u64 {
        let answer = &self.answer;
        if answer.token_events < 2 || answer.tokens_at_first.is_some() {
            return 0;
        }
        let at_length = answer.finish_reason.as_deref() == Some("length");
        let ends = u64::from(!at_length);
        self.output_tokens().saturating_sub(answer.token_events + ends)
    }

    /// Takes out counts that the bytes or the time of this request rule out, so that nothing adds them up; the first is
    /// remembered. `tokens_asked` is the request's `max_tokens`: engines count tokens of reasoning that they do not send.
    pub fn drop_impossible_counts(&mut self, tokens_asked: u64) {
        let answer = &mut self.answer;
        let seconds = self.finished.seconds_since(self.dispatched).max(1e-3);
        let completion_max = tokens_asked
            .max(answer.event_bytes)
            .min((seconds * TOKENS_PER_S_MAX) as u64);
        let prompt_max = self.bytes_sent.saturating_add(ADDED_PROMPT_TOKENS_MAX);
        let cached_max = answer.usage.prompt_tokens.unwrap_or(prompt_max).min(prompt_max);
        let usage = &mut answer.usage;
        for (name, count, max) in [
            ("completion_tokens", &mut usage.completion_tokens, completion_max),
            ("prompt_tokens", &mut usage.prompt_tokens, prompt_max),
            ("cached_tokens", &mut usage.cached_tokens, cached_max),
        ] {
            if let Some(impossible) = count.take_if(|count| *count > max) {
                answer
                    .impossible_count
                    .get_or_insert_with(|| format!("{name} {impossible}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
