//! A queue between threads whose readers sleep at once when it is empty. The channels of crossbeam and std first spin and
//! yield, which is good with idle cores. With hundreds of threads on two cores, each yield is a context switch that costs time
//! of the system being measured.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Appends an item, also after `close`.
    pub fn push(&self, item: T) {
        self.lock().items.push_back(item);
        // The lock is already released, so the thread that wakes does not wait for it.
        self.changed.notify_one();
    }

    /// Ends the queue: readers get the remaining items, and then `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for the next item; `None` when the queue is empty and closed.
    pub fn pop(&self) -> Option<T> {
        let waits = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let mut state = self
            .changed
            .wait_while(self.lock(), waits)
            .expect("no thread panics with this lock");
        state.items.pop_front()
    }

    /// Waits for the next item until `until`; `None` when there is none by then, or when the queue is empty and closed.
    pub fn pop_until(&self, until: Instant) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.expect("no thread panics with this lock").0;
        }
    }

    /// The next item, without waiting.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn items_keep_their_order_and_a_closed_queue_is_drained() {
        let queue = Queue::default();
        (1..=3).for_each(|item| queue.push(item));
        assert_eq!(queue.try_pop(), Some(1));
        queue.close();
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(3), None));
        assert_eq!(queue.try_pop(), None);
    }

    #[test]
    fn pop_until_ends_at_its_time() {
        let queue = Queue::<u8>::default();
        assert_eq!(queue.pop_until(Instant::now()), None);
        queue.push(7);
        assert_eq!(queue.pop_until(Instant::now()), Some(7));
    }

    #[test]
    fn a_sleeping_reader_gets_every_item_of_many_writers() {
        let queue = Arc::new(Queue::default());
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || (0..100).for_each(|item| queue.push(item)))
            })
            .collect();
        let sum: u32 = (0..800).filter_map(|_| queue.pop()).sum();
        assert_eq!(sum, 8 * 4950);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}
