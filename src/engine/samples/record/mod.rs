//! One finished request: its stamps, its counts, how it ended, and every formula over a single request. The definitions are in
//! docs/measurement.md.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::failure::{Failure, FailureClass};
use crate::engine::stream::answer::{Answer, GAP_UNIT_NS};
use crate::engine::timestamp::Stamp;

/// An answer that took less time per token event than this is fast, not buffered.
const BUFFERED_EVENT_S_MIN: f64 = 1e-3;
/// Tokens that a server may add to a prompt (template, system prompt). All others take at least one byte each.
const ADDED_PROMPT_TOKENS_MAX: u64 = 64 << 10;
/// No engine generates more for one request.
const TOKENS_PER_S_MAX: f64 = 1e6;

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: String,
    /// The request's body, where the run keeps it.
    pub body: Option<Arc<Vec<u8>>>,
    /// When the workload scheduled it.
    pub scheduled: Stamp,
    /// How much of the time since `scheduled` it waited for a place under the limit on concurrency, or for its session.
    pub slot_wait: Duration,
    /// A worker has taken it and its connection is open: the clock of TTFT starts here.
    pub dispatched: Stamp,
    /// Directly before the first write of the request.
    pub first_write: Option<Stamp>,
    /// Directly before the write with the last byte of the request.
    pub sent: Option<Stamp>,
    /// The response header was complete.
    pub headers: Option<Stamp>,
    /// The end of the answer, not of the connection.
    pub finished: Stamp,
    pub status: Option<u16>,
    pub answer: Answer,
    /// Why it failed, except for an answer without a token (see `why_failed`).
    pub failure: Option<Failure>,
    /// The longest gap between token events, per token; `None` before the answer ended, without one, or if it was buffered.
    pub longest_gap_s: Option<f64>,
    /// Nanoseconds that opening a connection for this request took, before its clock; 0 if one was open.
    pub connect_ns: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub reads: u64,
    /// Reads for which the kernel gave no stamp.
    pub reads_without_stamp: u64,
    /// From the kernel's stamp of the first token to the end of the read that returned it.
    pub first_token_lag_ns: u64,
    /// The sum of the same over all reads of the answer.
    pub lag_ns_sum: u64,
}

impl Record {
    /// A request that is about to be sent.
    pub fn begin(id: String, scheduled: Stamp, dispatched: Stamp) -> Record {
        Record {
            id,
            body: None,
            scheduled,
            slot_wait: Duration::ZERO,
            dispatched,
            first_write: None,
            sent: None,
            headers: None,
            finished: dispatched,
            status: None,
            answer: Answer::default(),
            failure: None,
            longest_gap_s: None,
            connect_ns: 0,
            bytes_sent: 0,
            bytes_received: 0,
            reads: 0,
            reads_without_stamp: 0,
            first_token_lag_ns: 0,
            lag_ns_sum: 0,
        }
    }

    /// When the first token arrived. If the engine counted tokens but sent no text, as for a lone end of sequence, the first
    /// event with a finish reason, else the first event.
    pub fn first_token(&self) -> Option<Stamp> {
        let answer = &self.answer;
        if answer.first_token.is_some() {
            return answer.first_token;
        }
        let counted = answer.usage.completion_tokens.is_some_and(|tokens| tokens > 0);
        counted.then(|| answer.first_finish.or(answer.first_event)).flatten()
    }

    /// Whether the engine counted tokens but sent no text; then there is no time per token.
    pub fn first_token_is_assumed(&self) -> bool {
        self.answer.first_token.is_none() && self.first_token().is_some()
    }

    pub fn succeeded(&self) -> bool {
        self.failure.is_none() && self.first_token().is_some()
    }

    /// Why it failed. An answer that ended without a token is a failure too.
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

    /// The engine's count; without one, the pieces of text, as in the reference.
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

    /// Seconds from dispatch to the first token; -1 after a failure, as in the reference.
    pub fn ttft_s(&self) -> f64 {
        let first = self.first_token().filter(|_| self.failure.is_none());
        first.map_or(-1.0, |first| first.seconds_since(self.dispatched))
    }

    /// The reference's latency: seconds from dispatch to the end of the answer.
    pub fn latency_s(&self) -> f64 {
        self.finished.seconds_since(self.dispatched)
    }

    /// The reference's decode speed: all output tokens divided by the seconds from the first token to the end of the answer.
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

    /// Seconds from dispatch to the last token.
    pub fn token_latency_s(&self) -> Option<f64> {
        Some(self.last_token()?.seconds_since(self.dispatched))
    }

    /// Seconds from dispatch to the first text that is not reasoning.
    pub fn ttfo_s(&self) -> Option<f64> {
        Some(self.answer.first_output?.seconds_since(self.dispatched))
    }

    /// Seconds from the scheduled time to the first token.
    pub fn scheduled_ttft_s(&self) -> Option<f64> {
        Some(self.first_token()?.seconds_since(self.scheduled))
    }

    /// Seconds from the scheduled time to the last token.
    pub fn scheduled_latency_s(&self) -> Option<f64> {
        Some(self.last_token()?.seconds_since(self.scheduled))
    }

    /// Seconds by which this program sent it late: from the scheduled time to dispatch, without the wait for a place.
    pub fn lateness_s(&self) -> f64 {
        let waited = self.dispatched.seconds_since(self.scheduled);
        (waited - self.slot_wait.as_secs_f64()).max(0.0)
    }

    pub fn tokens_per_event(&self) -> Option<f64> {
        let events = self.answer.token_events;
        (events > 0 && self.output_tokens() > 0).then(|| self.output_tokens() as f64 / events as f64)
    }

    /// Tokens in the first token event: the engine's count if it reports counts in every event, else the average.
    fn tokens_of_first_event(&self) -> Option<f64> {
        match self.answer.tokens_at_first {
            Some(counted) if counted < self.output_tokens() => Some(counted as f64),
            _ => self.tokens_per_event(),
        }
    }

    /// Tokens in all later events; `None` without any.
    fn tokens_after_first_event(&self) -> Option<f64> {
        if self.answer.token_events < 2 {
            return None;
        }
        let tokens = self.output_tokens() as f64 - self.tokens_of_first_event()?;
        (tokens > 0.0).then_some(tokens)
    }

    /// Whether most token events arrived together with the previous one although the answer took a while: something on the way
    /// buffered the stream, and the times between events are not the engine's.
    pub fn is_buffered(&self) -> bool {
        let answer = &self.answer;
        let gaps = answer.token_events.saturating_sub(1);
        let took_time = |seconds: f64| seconds >= BUFFERED_EVENT_S_MIN * answer.token_events as f64;
        answer.empty_gaps * 2 > gaps && self.token_latency_s().is_some_and(took_time)
    }

    /// TPOT: seconds per token after the first event's tokens. `None` below two tokens or two token events, and for a buffered
    /// answer.
    pub fn tpot_s(&self) -> Option<f64> {
        let answer = &self.answer;
        if !self.succeeded() || self.output_tokens() < 2 || self.is_buffered() {
            return None;
        }
        let seconds = answer.last_token?.seconds_since(answer.first_token?);
        Some(seconds / self.tokens_after_first_event()?)
    }

    /// ITL: seconds between token events, divided by the tokens per event after the first event. Their mean is `tpot_s`.
    pub fn gaps_s(&self) -> impl Iterator<Item = f64> {
        let later_events = self.answer.token_events.saturating_sub(1) as f64;
        let per_event = self
            .tokens_after_first_event()
            .map_or(1.0, |tokens| tokens / later_events);
        let scale = GAP_UNIT_NS as f64 / 1e9 / per_event;
        self.answer.gaps.iter().map(move |gap| f64::from(*gap) * scale)
    }

    /// Tokens beyond one per event when the tokens of the first event are unknown. The end of sequence is counted as a token by
    /// engines and has no event.
    pub fn unplaced_tokens(&self) -> u64 {
        let answer = &self.answer;
        if answer.token_events < 2 || answer.tokens_at_first.is_some() {
            return 0;
        }
        let at_length = answer.finish_reason.as_deref() == Some("length");
        let ends = u64::from(!at_length);
        self.output_tokens().saturating_sub(answer.token_events + ends)
    }

    /// Removes counts that are impossible for the bytes or the duration of this request, so that they are in no sum, and keeps
    /// the first for a warning. Up to `max_tokens` a count is possible without text: engines count reasoning that they do not
    /// send.
    pub fn drop_impossible_counts(&mut self, max_tokens: u64) {
        let answer = &mut self.answer;
        let seconds = self.finished.seconds_since(self.dispatched).max(1e-3);
        let completion_max = max_tokens
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
