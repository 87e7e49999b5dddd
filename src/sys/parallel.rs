//! Scoped threads, one for each part of a piece of work. Parts for which no thread can be started run on the calling thread.

use std::panic;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread::{self, Builder};

/// Applies `work` to each part and returns the results in order. The first part runs on the calling thread, each other one on
/// its own thread; all start at the same time.
pub fn each<Part: Send, Done: Send>(
    parts: impl IntoIterator<Item = Part>,
    work: impl Fn(Part) -> Done + Sync,
) -> Vec<Done> {
    each_with(parts, work, Builder::new)
}

fn each_with<Part: Send, Done: Send>(
    parts: impl IntoIterator<Item = Part>,
    work: impl Fn(Part) -> Done + Sync,
    builder: fn() -> Builder,
) -> Vec<Done> {
    // A part stays here until its thread takes it, so that a part whose thread cannot be started is not lost.
    let parts: Vec<Mutex<Option<Part>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let take = |part: &Mutex<Option<Part>>| {
        let part = part.lock().unwrap_or_else(PoisonError::into_inner).take();
        work(part.expect("each part is taken once"))
    };
    let take = &take;
    let gate = RwLock::new(());
    let gate = &gate;
    let pass = move || drop(gate.read());
    thread::scope(|scope| {
        let closed = gate.write();
        let mut parts = parts.iter();
        let own = parts.next();
        let others: Vec<_> = parts
            .map(|part| {
                let run = move || {
                    pass();
                    take(part)
                };
                (part, builder().spawn_scoped(scope, run))
            })
            .collect();
        drop(closed);
        let mut done: Vec<Done> = own.into_iter().map(take).collect();
        for (part, thread) in others {
            done.push(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload)),
                Err(_) => take(part),
            });
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_with_and_without_threads() {
        // No thread can be started with a stack of this size.
        for builder in [Builder::new, || Builder::new().stack_size(1 << 60)] {
            let me = thread::current().id();
            let done = each_with(0..4, |part| (part * 10, thread::current().id() == me), builder);
            let alone = builder().spawn(|| {}).is_err();
            let expected = [(0, true), (10, alone), (20, alone), (30, alone)];
            assert_eq!(done, expected);
        }
        assert!(each(Vec::<u8>::new(), |part| part).is_empty());
    }
}
