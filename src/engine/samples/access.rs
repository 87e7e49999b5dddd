//! The requests of a phase as a cache sees them: what was asked and when. All of them are kept, also those of a ramp, which no
//! latency covers, because they change what the tiers hold.

use std::sync::Arc;

use super::record::Record;
use crate::engine::timestamp::Stamp;

/// Bodies of all phases together. Longer ones are not kept, and then nothing is expected of the tiers.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// A request whose answer ended, well or not.
#[derive(Clone, Debug)]
pub struct Access {
    pub id: String,
    pub body: Arc<Vec<u8>>,
    /// Directly before the write of its last byte.
    pub sent: Stamp,
    pub first_token: Option<Stamp>,
    pub finished: Stamp,
    pub succeeded: bool,
    pub prompt_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub output_tokens: u64,
    /// Seconds from dispatch to the first token, of a measured request that succeeded.
    pub ttft_s: Option<f64>,
}

/// What is kept of a phase.
#[derive(Clone, Debug, Default)]
pub struct Accesses {
    /// In the order in which they ended.
    pub all: Vec<Access>,
    /// Bodies that this phase may still keep.
    bytes_left: usize,
    /// Whether one was not kept, for its size or because its answer did not end.
    pub is_partial: bool,
}

impl Accesses {
    pub fn with_room(bytes_left: usize) -> Accesses {
        Accesses {
            bytes_left,
            ..Accesses::default()
        }
    }

    pub fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// Keeps a request. The first one for which there is no room ends it all, because a gap would make everything after it wrong.
    pub fn add(&mut self, record: &mut Record, is_measured: bool) {
        let Some(body) = record.body.take() else { return };
        // Nothing reached the engine.
        let Some(sent) = record.sent else { return };
        let left = self.bytes_left.checked_sub(body.len()).filter(|_| !self.is_partial);
        let Some(left) = left else {
            self.all = Vec::new();
            self.is_partial = true;
            return;
        };
        self.bytes_left = left;
        self.all.push(Access {
            id: record.id.clone(),
            body,
            sent,
            first_token: record.first_token(),
            finished: record.finished,
            succeeded: record.succeeded(),
            prompt_tokens: record.answer.usage.prompt_tokens,
            cached_tokens: record.answer.usage.cached_tokens,
            output_tokens: record.output_tokens(),
            ttft_s: Some(record.ttft_s()).filter(|seconds| is_measured && *seconds >= 0.0),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, bytes: usize) -> Record {
        let mut record = Record::begin(id.into(), Stamp(0), Stamp(0));
        record.body = Some(Arc::new(vec![b'x'; bytes]));
        record.sent = Some(Stamp(1));
        record
    }

    #[test]
    fn bodies_are_kept_up_to_their_limit_or_not_at_all() {
        let mut kept = Accesses::with_room(10);
        kept.add(&mut record("a", 6), true);
        kept.add(&mut record("b", 4), true);
        assert_eq!((kept.all.len(), kept.bytes_left(), kept.is_partial), (2, 0, false));
        kept.add(&mut record("c", 1), true);
        assert!(kept.is_partial && kept.all.is_empty());
        kept.add(&mut record("d", 0), true);
        assert!(kept.all.is_empty());
    }

    #[test]
    fn what_never_reached_the_engine_is_no_access() {
        let mut unsent = record("a", 1);
        unsent.sent = None;
        let mut kept = Accesses::with_room(10);
        kept.add(&mut unsent, true);
        assert!(kept.all.is_empty() && !kept.is_partial);
    }
}
