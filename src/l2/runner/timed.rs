//! The timed part of a round: submits every task, then waits for all of them, until a timeout or a signal.

use std::time::{Duration, Instant};

use super::Runner;
use crate::l2::adapter::{Completion, Operation, Submit, Task};
use crate::l2::samples::PhaseSamples;
use crate::sys::deadline::WORK_GRACE;
use crate::sys::signal;

/// Longest wait between two checks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(50);
/// A timed-out round waits this long, or its own timeout if shorter, for late tasks: the next round needs their buffers.
const LATE_GRACE_MAX: Duration = Duration::from_secs(30);

/// How a round ended.
pub(super) enum End {
    Complete,
    TimedOut,
    /// Timed out, and some tasks were still missing after the extra wait.
    Stuck,
    Interrupted(i32),
}

/// The completions of one round, in the order of the submits; `None` for tasks that did not complete.
pub(super) struct RoundOutcome {
    pub completions: Vec<Option<Completion>>,
    pub duration: Duration,
    pub end: End,
}

impl Runner<'_> {
    /// Submits every task from this thread, then waits for all of them.
    pub(super) fn timed_part(
        &mut self,
        operation: Operation,
        tasks: Vec<Task>,
        samples: &mut PhaseSamples,
    ) -> RoundOutcome {
        let mut completions: Vec<Option<Completion>> = tasks.iter().map(|_| None).collect();
        let mut left = tasks.len();
        let timeout = self.config.timeout(operation);
        let begin = Instant::now();
        samples
            .first_submit
            .get_or_insert_with(|| begin.duration_since(self.started));
        let mut end = End::Complete;
        let mut place = |completion: Completion, left: &mut usize| {
            *left -= 1;
            let id = completion.id;
            completions[id] = Some(completion);
        };
        let refused = self.submit_all(tasks, timeout, &mut |completion| place(completion, &mut left));
        left -= refused;
        if refused > 0 {
            end = End::TimedOut;
        }
        let mut deadline = Instant::now() + timeout;
        loop {
            let signal = signal::received().filter(|_| left + refused > 0);
            if let (Some(signal), End::Complete | End::TimedOut) = (signal, &end) {
                end = End::Interrupted(signal);
                self.adapter.cancel();
                deadline = Instant::now() + WORK_GRACE;
            }
            if left == 0 {
                break;
            }
            let now = Instant::now();
            match self
                .adapter
                .wait(SIGNAL_POLL.min(deadline.saturating_duration_since(now)))
            {
                Some(completion) => {
                    // Also if this thread woke up too late to see the deadline pass.
                    if matches!(end, End::Complete) && completion.completed > deadline {
                        end = End::TimedOut;
                    }
                    place(completion, &mut left);
                    if !matches!(end, End::Interrupted(_)) {
                        deadline = Instant::now() + timeout;
                    }
                }
                None if now < deadline => {}
                None if matches!(end, End::Complete) => {
                    // The round does not count, but the next one needs its buffers.
                    end = End::TimedOut;
                    deadline = now + timeout.min(LATE_GRACE_MAX);
                }
                None => {
                    if matches!(end, End::TimedOut) {
                        end = End::Stuck;
                    }
                    break;
                }
            }
        }
        let duration = begin.elapsed();
        RoundOutcome {
            completions,
            duration,
            end,
        }
    }

    /// Submits every task. Returns the number of tasks not submitted because the adapter stayed full until the timeout or a
    /// signal; their buffers are not returned.
    fn submit_all(&mut self, tasks: Vec<Task>, timeout: Duration, done: &mut dyn FnMut(Completion)) -> usize {
        let mut rest = tasks.into_iter();
        while let Some(task) = rest.next() {
            if signal::received().is_some() {
                return rest.len() + 1;
            }
            let mut full_since = Instant::now();
            let mut task = Task {
                created: full_since,
                ..task
            };
            loop {
                task = match self.adapter.submit(task) {
                    Submit::Queued => break,
                    Submit::Done(completion) => {
                        done(completion);
                        break;
                    }
                    Submit::Busy(same) => same,
                };
                match self.adapter.wait(SIGNAL_POLL) {
                    Some(completion) => {
                        done(completion);
                        full_since = Instant::now();
                    }
                    None if signal::received().is_some() || full_since.elapsed() >= timeout => return rest.len() + 1,
                    None => {}
                }
            }
        }
        0
    }
}
