//! Tasks that are cut into jobs, and put together again when their last key is back. It owns no thread and moves no bytes.

use std::collections::HashMap;
use std::time::Instant;

use crate::l2::adapter::{Completion, Item, Operation, Task};

/// A task whose keys are not all back yet.
struct Pending {
    operation: Operation,
    items: Vec<Option<Item>>,
    left: usize,
    created: Instant,
    submitted: Instant,
}

/// Which of a task's keys a job carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub task: usize,
    /// Position of the job's first key in the task.
    pub first: usize,
}

#[derive(Default)]
pub struct Assembly {
    tasks: HashMap<usize, Pending>,
}

impl Assembly {
    /// Notes the task and hands out its items.
    pub fn begin(&mut self, task: Task) -> Vec<Item> {
        let count = task.items.len();
        let pending = Pending {
            operation: task.operation,
            items: (0..count).map(|_| None).collect(),
            left: count,
            created: task.created,
            submitted: task.created,
        };
        self.tasks.insert(task.id, pending);
        task.items
    }

    /// The submit of this task ends now.
    pub fn submitted(&mut self, task: usize) {
        if let Some(pending) = self.tasks.get_mut(&task) {
            pending.submitted = Instant::now();
        }
    }

    /// Takes keys back; the task's completion when they were the last ones.
    pub fn settle(&mut self, place: Place, items: impl IntoIterator<Item = Item>) -> Option<Completion> {
        let pending = self.tasks.get_mut(&place.task)?;
        for (slot, item) in pending.items[place.first..].iter_mut().zip(items) {
            *slot = Some(item);
            pending.left -= 1;
        }
        self.finish(place.task)
    }

    /// The completion of a task whose keys are all back.
    pub fn finish(&mut self, task: usize) -> Option<Completion> {
        if self.tasks.get(&task)?.left > 0 {
            return None;
        }
        let pending = self.tasks.remove(&task)?;
        Some(Completion {
            id: task,
            operation: pending.operation,
            items: pending.items.into_iter().flatten().collect(),
            created: pending.created,
            submitted: pending.submitted,
            completed: Instant::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::keys::bench_key;

    #[test]
    fn a_task_is_over_when_its_last_key_is_back() {
        let mut assembly = Assembly::default();
        let items = (0..3).map(|index| Item::new(bench_key(index), None)).collect();
        let created = Instant::now();
        let task = Task {
            id: 7,
            operation: Operation::Load,
            items,
            created,
        };
        let mut items = assembly.begin(task).into_iter();
        assembly.submitted(7);
        let place = |first| Place { task: 7, first };
        let first = items.next().unwrap();
        assert!(assembly.settle(place(1), items).is_none());
        let done = assembly.settle(place(0), [first]).unwrap();
        assert_eq!((done.id, done.items.len()), (7, 3));
        assert!(done.submitted >= created && assembly.finish(7).is_none());
    }
}
