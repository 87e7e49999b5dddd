//! Tasks that are cut into jobs, and put together again when their last key is back. Nothing here moves bytes or owns a thread.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::l2::adapter::{Completion, Item, Operation, Task};

/// Which of a task's keys a job carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub task: usize,
    /// Position of the job's first key in the task.
    pub first: usize,
}

/// A task whose keys are not all back yet.
struct Parts {
    /// Without its items.
    task: Task,
    items: Vec<Option<Item>>,
    left: usize,
    submitted: Instant,
}

impl Parts {
    fn new(mut task: Task) -> (Parts, Vec<Item>) {
        let items = std::mem::take(&mut task.items);
        let parts = Parts {
            items: items.iter().map(|_| None).collect(),
            left: items.len(),
            submitted: task.created,
            task,
        };
        (parts, items)
    }

    /// Takes keys back; the task's completion when they were the last ones.
    fn settle(&mut self, first: usize, items: impl IntoIterator<Item = Item>) -> Option<Completion> {
        for (place, item) in self.items[first..].iter_mut().zip(items) {
            *place = Some(item);
            self.left -= 1;
        }
        (self.left == 0).then(|| {
            let task = Task {
                items: std::mem::take(&mut self.items).into_iter().flatten().collect(),
                ..self.task
            };
            task.complete(self.submitted, Instant::now())
        })
    }
}

/// The tasks of an adapter whose jobs come back to the benchmark's thread.
#[derive(Default)]
pub struct Tasks(HashMap<usize, Parts>);

impl Tasks {
    /// Adds the task and hands out its items.
    pub fn begin(&mut self, task: Task) -> Vec<Item> {
        let (parts, items) = Parts::new(task);
        self.0.insert(parts.task.id, parts);
        items
    }

    /// The submit of this task ends now.
    pub fn submitted(&mut self, task: usize) {
        if let Some(parts) = self.0.get_mut(&task) {
            parts.submitted = Instant::now();
        }
    }

    /// Takes keys back; the task's completion when they were the last ones.
    pub fn settle(&mut self, place: Place, items: impl IntoIterator<Item = Item>) -> Option<Completion> {
        let completion = self.0.get_mut(&place.task)?.settle(place.first, items)?;
        self.0.remove(&place.task);
        Some(completion)
    }
}

/// A task whose jobs come together on the threads that run them. The last one completes it, so that the benchmark's thread
/// wakes up once for each task and not for each job: on a small machine it would take the service's core.
pub struct SharedTask {
    pub operation: Operation,
    pub created: Instant,
    parts: Mutex<Parts>,
}

impl SharedTask {
    pub fn begin(task: Task) -> (SharedTask, Vec<Item>) {
        let (operation, created) = (task.operation, task.created);
        let (parts, items) = Parts::new(task);
        let task = SharedTask {
            operation,
            created,
            parts: Mutex::new(parts),
        };
        (task, items)
    }

    /// Takes keys back; the completion when they were the last ones. Its `submitted` is the time of creation.
    pub fn settle(&self, first: usize, items: Vec<Item>) -> Option<Completion> {
        // Nothing between lock and unlock can panic half-way.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.settle(first, items)
    }
}

/// Settles jobs until a task is complete or `timeout` has passed. `next` returns a finished job and waits for it at most as long
/// as its argument says.
pub fn wait<A, Job>(
    adapter: &mut A,
    timeout: Duration,
    next: impl Fn(&mut A, Duration) -> Option<Job>,
    settle: impl Fn(&mut A, Job) -> Option<Completion>,
) -> Option<Completion> {
    let end = Instant::now() + timeout;
    loop {
        match next(adapter, end.saturating_duration_since(Instant::now())) {
            Some(job) => {
                if let Some(completion) = settle(adapter, job) {
                    return Some(completion);
                }
            }
            None if Instant::now() >= end => return None,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::keys::bench_key;

    fn task() -> Task {
        Task {
            id: 7,
            operation: Operation::Load,
            items: (0..3).map(|index| Item::new(bench_key(index), None)).collect(),
            created: Instant::now(),
        }
    }

    #[test]
    fn a_task_is_over_when_its_last_key_is_back() {
        let (mut tasks, task) = (Tasks::default(), task());
        let created = task.created;
        let mut items = tasks.begin(task).into_iter();
        tasks.submitted(7);
        let place = |first| Place { task: 7, first };
        let first = items.next().unwrap();
        assert!(tasks.settle(place(1), items).is_none());
        let done = tasks.settle(place(0), [first]).unwrap();
        assert_eq!((done.id, done.items.len()), (7, 3));
        let keys = done.items.iter().map(|item| &item.key);
        assert!(keys.eq(&[bench_key(0), bench_key(1), bench_key(2)]));
        assert!(done.submitted >= created && tasks.0.is_empty());
    }

    #[test]
    fn a_shared_task_is_completed_by_its_last_job() {
        let (task, mut items) = SharedTask::begin(task());
        let last = items.split_off(2);
        assert!(task.settle(2, last).is_none());
        assert_eq!(task.settle(0, items).unwrap().items.len(), 3);
    }
}
