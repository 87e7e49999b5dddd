//! The requests of a phase as a cache sees them: what was asked and when. All of them are kept, also those of a ramp, which no
//! latency covers, because they change what the tiers hold.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::record::Record;
use crate::engine::timestamp::Stamp;

/// Bodies of all phases together, of ended requests and of those in flight.
const BODY_BYTES_MAX: usize = 256 << 20;

/// The room that bodies of a run have left, shared by its connections.
#[derive(Debug)]
pub struct BodyRoom(AtomicUsize);

impl Default for BodyRoom {
    fn default() -> BodyRoom {
        BodyRoom(AtomicUsize::new(BODY_BYTES_MAX))
    }
}

impl BodyRoom {
    /// The body again, to be kept, if there is room for it. The first one for which there is none takes all: with a gap no request
    /// after it could be judged.
    pub fn keep(&self, body: &Arc<Vec<u8>>) -> Option<Arc<Vec<u8>>> {
        let less = |left: usize| Some(left.saturating_sub(body.len()));
        let left = self.0.fetch_update(Relaxed, Relaxed, less).unwrap_or(0);
        (left > 0 && left >= body.len()).then(|| Arc::clone(body))
    }
}

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
}

/// What is kept of a phase.
#[derive(Clone, Debug, Default)]
pub struct Accesses {
    /// In the order in which they ended.
    pub all: Vec<Access>,
    /// Whether one was not kept, for its size or because its answer did not end.
    pub is_partial: bool,
}

impl Accesses {
    /// Keeps a request with its body. One that has none was not kept, if the engine got it.
    pub fn add(&mut self, record: &mut Record) {
        // Nothing reached the engine.
        let Some(sent) = record.sent else { return };
        let Some(body) = record.body.take() else {
            self.is_partial = true;
            return;
        };
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
        });
    }

    /// Frees what is of no use. Not during a phase: it may be a lot.
    pub fn end(&mut self) {
        if self.is_partial {
            self.all = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_kept_up_to_their_limit_and_none_after_that() {
        let room = BodyRoom(AtomicUsize::new(10));
        let body = |bytes: usize| Arc::new(vec![b'x'; bytes]);
        assert!(room.keep(&body(6)).is_some());
        assert!(room.keep(&body(4)).is_some());
        assert!(room.keep(&body(0)).is_none());
        let room = BodyRoom(AtomicUsize::new(10));
        assert!(room.keep(&body(11)).is_none());
        assert!(room.keep(&body(1)).is_none(), "there is a gap");
    }

    fn record(body: Option<&[u8]>) -> Record {
        let mut record = Record::begin("a".into(), Stamp(0), Stamp(0));
        record.body = body.map(|bytes| Arc::new(bytes.to_vec()));
        record.sent = Some(Stamp(1));
        record
    }

    #[test]
    fn a_phase_of_which_one_request_was_not_kept_is_of_no_use() {
        let mut kept = Accesses::default();
        kept.add(&mut record(Some(b"x")));
        kept.end();
        assert_eq!((kept.all.len(), kept.is_partial), (1, false));
        kept.add(&mut record(None));
        kept.end();
        assert_eq!((kept.all.len(), kept.is_partial), (0, true));
    }

    #[test]
    fn what_never_reached_the_engine_is_no_access() {
        let mut kept = Accesses::default();
        for body in [Some(&b"x"[..]), None] {
            let mut unsent = record(body);
            unsent.sent = None;
            kept.add(&mut unsent);
        }
        assert!(kept.all.is_empty() && !kept.is_partial);
    }
}
