//! The connections of one adapter: a worker takes one for an object, and for a large object those that are idle as well.
//! There are never more in use than were configured.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use super::requester::{RequestError, Requester, Setup};
use crate::l2::adapters::pool::STACK_BYTES;

/// Nothing that is done under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Connections {
    /// The last one returned is the first one taken: its connection is open and its memory is in the caches.
    idle: Mutex<Vec<Requester>>,
    returned: Condvar,
}

/// One connection in use; returned when dropped.
pub struct Lease {
    connections: Arc<Connections>,
    requester: Option<Requester>,
}

impl Connections {
    /// At least one.
    pub fn new(setup: &Arc<Setup>, connections: usize) -> Arc<Connections> {
        Arc::new(Connections {
            idle: Mutex::new((0..connections).map(|_| Requester::new(setup)).collect()),
            returned: Condvar::new(),
        })
    }

    fn lease(self: &Arc<Connections>, requester: Requester) -> Lease {
        Lease {
            connections: Arc::clone(self),
            requester: Some(requester),
        }
    }

    /// Waits while all are in use. Each use ends: every request has a deadline.
    pub fn take(self: &Arc<Connections>) -> Lease {
        let mut idle = lock(&self.idle);
        loop {
            if let Some(requester) = idle.pop() {
                return self.lease(requester);
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Those that are idle now, at most `most`.
    fn take_idle(self: &Arc<Connections>, most: usize) -> Vec<Lease> {
        let mut idle = lock(&self.idle);
        let rest = idle.len().saturating_sub(most);
        idle.split_off(rest)
            .into_iter()
            .map(|requester| self.lease(requester))
            .collect()
    }
}

impl Deref for Lease {
    type Target = Requester;

    fn deref(&self) -> &Requester {
        self.requester.as_ref().expect("present until drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Requester {
        self.requester.as_mut().expect("present until drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.connections.idle).extend(self.requester.take());
        self.connections.returned.notify_one();
    }
}

impl Lease {
    /// Runs `work` on every part, on this connection and on those that are idle, a thread each. The results are in the
    /// order of the parts. After the first failure no further part is started.
    pub fn run_parts<Part: Send, Done: Send>(
        &mut self,
        parts: Vec<Part>,
        work: impl Fn(&mut Requester, usize, Part) -> Result<Done, RequestError> + Sync,
    ) -> Result<Vec<Done>, RequestError> {
        let helpers = self.connections.take_idle(parts.len().saturating_sub(1));
        let done: Mutex<Vec<Option<Done>>> = Mutex::new(parts.iter().map(|_| None).collect());
        let queue = Mutex::new(parts.into_iter().enumerate());
        let failure = Mutex::new(None);
        let drain = |requester: &mut Requester| {
            while let Some((index, part)) = { lock(&queue).next() } {
                match work(requester, index, part) {
                    Ok(result) => lock(&done)[index] = Some(result),
                    Err(error) => {
                        lock(&failure).get_or_insert(error);
                        lock(&queue).by_ref().for_each(drop);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for (index, mut helper) in helpers.into_iter().enumerate() {
                let thread = Builder::new().name(format!("s3-part-{index}")).stack_size(STACK_BYTES);
                let drain = &drain;
                // A thread that cannot be started leaves its share to the others.
                let _ = thread.spawn_scoped(scope, move || drain(&mut helper));
            }
            drain(self);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .into_iter()
                .flatten()
                .collect()),
        }
    }
}
