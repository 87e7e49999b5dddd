//! The connections of one adapter and who uses them: a worker takes one for an object, and for a large object those that are
//! idle as well. There are never more in use than were asked for.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use super::requester::{Requester, Setup, Trouble};

/// As a worker of the pool: a TLS handshake is the deepest that a helper gets.
const STACK_BYTES: usize = 1 << 20;

/// Nothing that is done under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Crew {
    /// The last one given back is the first one taken: its connection is open and its memory is in the caches.
    idle: Mutex<Vec<Requester>>,
    given_back: Condvar,
}

/// One connection in use; given back when dropped.
pub struct Member {
    crew: Arc<Crew>,
    requester: Option<Requester>,
}

impl Crew {
    /// At least one.
    pub fn new(setup: &Arc<Setup>, connections: usize) -> Arc<Crew> {
        Arc::new(Crew {
            idle: Mutex::new((0..connections).map(|_| Requester::new(setup)).collect()),
            given_back: Condvar::new(),
        })
    }

    fn member(self: &Arc<Crew>, requester: Requester) -> Member {
        Member {
            crew: Arc::clone(self),
            requester: Some(requester),
        }
    }

    /// Waits while all are in use. Each use ends: every request has a deadline.
    pub fn take(self: &Arc<Crew>) -> Member {
        let mut idle = lock(&self.idle);
        loop {
            if let Some(requester) = idle.pop() {
                return self.member(requester);
            }
            idle = self.given_back.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Those that nobody uses now, at most so many.
    fn take_idle(self: &Arc<Crew>, most: usize) -> Vec<Member> {
        let mut idle = lock(&self.idle);
        let rest = idle.len().saturating_sub(most);
        idle.split_off(rest)
            .into_iter()
            .map(|requester| self.member(requester))
            .collect()
    }
}

impl Deref for Member {
    type Target = Requester;

    fn deref(&self) -> &Requester {
        self.requester.as_ref().expect("there until drop")
    }
}

impl DerefMut for Member {
    fn deref_mut(&mut self) -> &mut Requester {
        self.requester.as_mut().expect("there until drop")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.crew.idle).extend(self.requester.take());
        self.crew.given_back.notify_one();
    }
}

impl Member {
    /// Does every part on this connection and on those that are idle, a thread each, and gives the results in the order of the
    /// parts. After the first trouble no further part is begun.
    pub fn share<Part: Send, Done: Send>(
        &mut self,
        parts: Vec<Part>,
        work: impl Fn(&mut Requester, usize, Part) -> Result<Done, Trouble> + Sync,
    ) -> Result<Vec<Done>, Trouble> {
        let helpers = self.crew.take_idle(parts.len().saturating_sub(1));
        let done: Mutex<Vec<Option<Done>>> = Mutex::new(parts.iter().map(|_| None).collect());
        let queue = Mutex::new(parts.into_iter().enumerate());
        let trouble = Mutex::new(None);
        let work_off = |requester: &mut Requester| {
            while let Some((index, part)) = { lock(&queue).next() } {
                match work(requester, index, part) {
                    Ok(result) => lock(&done)[index] = Some(result),
                    Err(why) => {
                        lock(&trouble).get_or_insert(why);
                        lock(&queue).by_ref().for_each(drop);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for (index, mut helper) in helpers.into_iter().enumerate() {
                let thread = Builder::new().name(format!("s3-part-{index}")).stack_size(STACK_BYTES);
                let work_off = &work_off;
                // A thread that cannot be started leaves its share to the others.
                let _ = thread.spawn_scoped(scope, move || work_off(&mut helper));
            }
            work_off(self);
        });
        match trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(why),
            None => Ok(done
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .into_iter()
                .flatten()
                .collect()),
        }
    }
}
