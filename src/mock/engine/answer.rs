//! One answer being sent: the bytes to write next, and when those after them are due. Uses no socket and no clock.

use super::events::Shape;
use super::fault::{Break, Role};
use super::http::LAST_CHUNK;
use super::record::{Outcome, Served, Tally};
use super::schedule::Schedule;
use super::stall::Stall;

/// What to do once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    Close,
    Reset,
    /// Nothing more is sent, the connection stays open.
    Stall,
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are due then.
    At(u64),
    End(After),
}

#[derive(Debug)]
enum Body {
    /// One piece, due at once or when the last of its tokens is.
    Whole {
        bytes: Vec<u8>,
        due_ns: u64,
    },
    Stream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    shape: Shape,
    schedule: Schedule,
    /// The bytes of every plain event.
    plain: Vec<u8>,
    next: u64,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tokens,
    Usage,
    End,
}

/// An answer and the record that is kept of it.
#[derive(Debug)]
pub struct Answer {
    pub served: Served,
    pub tally: Tally,
    /// Bytes handed to the kernel at a time, if bounded.
    pub split: Option<usize>,
    head: Vec<u8>,
    head_sent: usize,
    slow_headers_ns: u64,
    body: Body,
    after: After,
    breaks: Option<(Break, u64)>,
    events_per_write: u64,
    keep_events: bool,
    stall: Stall,
}

/// How an answer is to be delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub head: String,
    pub keep_alive: bool,
    pub split: Option<usize>,
    pub slow_headers_ms: u64,
    pub breaks: Option<(Break, u64)>,
    pub events_per_write: u64,
    pub keep_events: bool,
    pub stall: Stall,
}

impl Delivery {
    /// Whole, at once and without faults.
    pub fn plain(head: String, keep_alive: bool) -> Delivery {
        Delivery {
            head,
            keep_alive,
            split: None,
            slow_headers_ms: 0,
            breaks: None,
            events_per_write: 1,
            keep_events: false,
            stall: Stall::default(),
        }
    }
}

impl Answer {
    /// `body` in one piece; with a `due_ns` it carries tokens, otherwise it goes out at once.
    pub fn whole(served: Served, delivery: Delivery, body: Vec<u8>, due_ns: u64) -> Answer {
        Answer::new(served, delivery, Body::Whole { bytes: body, due_ns })
    }

    pub fn stream(served: Served, delivery: Delivery, shape: Shape, schedule: Schedule) -> Answer {
        let mut plain = Vec::new();
        if shape.is_plain(0) || shape.is_plain(1) {
            let event = u64::from(!shape.is_plain(0));
            shape.push_tokens(&mut plain, event);
        }
        let stream = Stream {
            shape,
            schedule,
            plain,
            next: 0,
            part: Part::Tokens,
        };
        Answer::new(served, delivery, Body::Stream(Box::new(stream)))
    }

    fn new(served: Served, delivery: Delivery, body: Body) -> Answer {
        Answer {
            served,
            tally: Tally::default(),
            split: delivery.split,
            head: delivery.head.into_bytes(),
            head_sent: 0,
            slow_headers_ns: delivery.slow_headers_ms * 1_000_000,
            body,
            after: if delivery.keep_alive {
                After::KeepAlive
            } else {
                After::Close
            },
            breaks: delivery.breaks,
            events_per_write: delivery.events_per_write.max(1),
            keep_events: delivery.keep_events,
            stall: delivery.stall,
        }
    }

    /// When the first byte of the answer to a request that arrived at `arrival_ns` is due.
    pub fn begins_ns(&self, arrival_ns: u64) -> u64 {
        self.stall.release_ns(arrival_ns)
    }

    /// Appends the bytes that were due at `due_ns` and are written at `now_ns`; returns what follows.
    pub fn fill(&mut self, due_ns: u64, now_ns: u64, out: &mut Vec<u8>) -> Step {
        let free_ns = self.stall.release_ns(now_ns);
        if free_ns > now_ns {
            // Due before the stall, but too late to leave before it.
            return Step::At(free_ns);
        }
        let step = match self.head_sent < self.head.len() {
            true => self.fill_head(due_ns, now_ns, out),
            false => self.fill_body(due_ns, now_ns, out),
        };
        let step = match step {
            Step::At(next_ns) => Step::At(self.stall.release_ns(next_ns)),
            Step::End(_) => step,
        };
        let room = self
            .breaks
            .map_or(u64::MAX, |(_, limit)| limit.saturating_sub(self.served.bytes));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let broken = match self.breaks {
            Some((kind, _)) if out.len() >= room => kind,
            _ => {
                self.served.bytes += out.len() as u64;
                return step;
            }
        };
        out.truncate(room);
        self.served.bytes += out.len() as u64;
        let (outcome, after) = match broken {
            Break::Reset => (Outcome::Reset, After::Reset),
            Break::Cut => (Outcome::Cut, After::Close),
            Break::Stall => (Outcome::Stalled, After::Stall),
        };
        self.served.outcome = outcome;
        Step::End(after)
    }

    fn fill_head(&mut self, due_ns: u64, now_ns: u64, out: &mut Vec<u8>) -> Step {
        if self.head_sent == 0 {
            self.served.headers_ns = now_ns;
        }
        if self.slow_headers_ns > 0 {
            out.push(self.head[self.head_sent]);
            self.head_sent += 1;
            if self.head_sent < self.head.len() {
                return Step::At(due_ns.saturating_add(self.slow_headers_ns));
            }
        } else {
            out.extend_from_slice(&self.head);
            self.head_sent = self.head.len();
        }
        match &mut self.body {
            Body::Whole { due_ns: body_due, .. } if *body_due > due_ns => Step::At(*body_due),
            Body::Whole { .. } => self.fill_body(due_ns, now_ns, out),
            Body::Stream(stream) => {
                if stream.shape.faults.role == Role::Early {
                    stream.shape.push_role(out);
                }
                Step::At(stream.schedule.due_ns(0))
            }
        }
    }

    fn fill_body(&mut self, due_ns: u64, now_ns: u64, out: &mut Vec<u8>) -> Step {
        match &mut self.body {
            Body::Whole { bytes, .. } => {
                if self.served.completion_tokens > 0 {
                    self.served.token(&mut self.tally, due_ns, now_ns, self.keep_events);
                }
                out.append(bytes);
                Step::End(self.after)
            }
            Body::Stream(stream) => {
                if stream.part == Part::Tokens {
                    for _ in 0..self.events_per_write {
                        let due_ns = self.stall.release_ns(stream.schedule.due_ns(stream.next));
                        stream.push_event(out);
                        self.served.token(&mut self.tally, due_ns, now_ns, self.keep_events);
                        let next_ns = self.stall.release_ns(stream.schedule.due_ns(stream.next));
                        if stream.part != Part::Tokens || next_ns > now_ns {
                            break;
                        }
                    }
                }
                stream.after_tokens(due_ns, self.after, out)
            }
        }
    }

    /// Records the end of a write that carried the first or the last token.
    pub fn note_written(&mut self, before_ns: u64, after_ns: u64) {
        if self.served.first_token_ns == before_ns && self.served.first_token_sent_ns == 0 {
            self.served.first_token_sent_ns = after_ns;
        }
        if self.served.last_token_ns == before_ns {
            self.served.last_token_sent_ns = after_ns;
        }
    }
}

impl Stream {
    fn push_event(&mut self, out: &mut Vec<u8>) {
        let event = self.next;
        if event == 0 && self.shape.faults.role == Role::WithFirstToken {
            self.shape.push_role(out);
        }
        match self.shape.is_plain(event) {
            true => out.extend_from_slice(&self.plain),
            false => self.shape.push_tokens(out, event),
        }
        self.next += 1;
        let died = self.shape.faults.error_event == Some(self.next);
        if self.next == self.shape.events() || died {
            self.part = match self.shape.has_usage_event() && !died {
                true => Part::Usage,
                false => Part::End,
            };
            if self.part == Part::End {
                self.shape.push_done(out);
            }
        }
    }

    /// Appends what follows the tokens without a delay; returns when the rest is due.
    fn after_tokens(&mut self, due_ns: u64, after: After, out: &mut Vec<u8>) -> Step {
        let faults = &self.shape.faults;
        if self.part == Part::Tokens {
            return Step::At(self.schedule.due_ns(self.next));
        }
        let last_ns = self.schedule.due_ns(self.next.saturating_sub(1));
        let usage_ns = last_ns.saturating_add(faults.usage_late_ms * 1_000_000);
        let end_ns = usage_ns.saturating_add(faults.end_late_ms * 1_000_000);
        if self.part == Part::Usage {
            if usage_ns > due_ns {
                return Step::At(usage_ns);
            }
            self.shape.push_usage(out);
            self.shape.push_done(out);
            self.part = Part::End;
        }
        if end_ns > due_ns {
            return Step::At(end_ns);
        }
        if self.shape.faults.until_close {
            return Step::End(After::Close);
        }
        out.extend_from_slice(LAST_CHUNK);
        Step::End(after)
    }
}
