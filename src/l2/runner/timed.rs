//! The timed part of a round: every task is handed over, then all of them are awaited, until a limit or a signal ends that.

use std::time::{Duration, Instant};

use super::Runner;
use crate::l2::adapter::{Completion, Operation, Submit, Task};
use crate::l2::samples::PhaseSamples;
use crate::sys::deadline::WORK_GRACE;
use crate::sys::signal;

/// How often a wait looks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(50);
/// How long a timed-out round waits for its late tasks, whose buffers the next round needs, unless its own limit is shorter.
const LATE_GRACE_MAX: Duration = Duration::from_secs(30);

/// How a round ended.
pub(super) enum End {
    Complete,
    TimedOut,
    /// Timed out, and some tasks did not come back in the time given after that either.
    Stuck,
    Interrupted(i32),
}

/// One round's completions, in the order of the submits.
pub(super) struct Wave {
    pub completions: Vec<Option<Completion>>,
    pub duration: Duration,
    pub end: End,
}

impl Runner<'_> {
    /// The timed part: submits every task from this thread, then waits for all of them.
    pub(super) fn wave(&mut self, operation: Operation, tasks: Vec<Task>, samples: &mut PhaseSamples) -> Wave {
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
                    place(completion, &mut left);
                    if !matches!(end, End::Interrupted(_)) {
                        deadline = Instant::now() + timeout;
                    }
                }
                None if now < deadline => {}
                None if matches!(end, End::Complete) => {
                    // The round is lost, but its buffers are needed for the next one.
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
        Wave {
            completions,
            duration,
            end,
        }
    }

    /// Hands every task to the adapter. How many it did not take, because it was full for the whole of a timeout or until a
    /// signal came: their buffers are lost to the run.
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
