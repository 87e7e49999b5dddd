//! The contents of a round's buffers, outside the measured time: stamping what will be stored, zeroing the targets of
//! loads, checking what was loaded. On several threads.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::l2::adapter::{Completion, Item, Outcome};
use crate::l2::keys::ObjectKey;
use crate::l2::samples::VerifyTally;
use crate::l2::stamp::{self, Stamp};
use crate::l2::verify::{self, Verdict};
use crate::sys::ending::saving;
use crate::sys::{parallel, signal};

const WORKERS_MAX: usize = 8;

/// Fills every object with the contents of its key in this round.
pub fn stamp_all(items: &mut [Item], seed: u64, round: u64) {
    in_parallel(items, |item| {
        if let Some(slot) = &mut item.slot {
            stamp::fill(slot.bytes_mut(), stamp_of(&item.key, seed, round));
        }
    });
}

/// Zeroes all buffers, so that data of an earlier round cannot pass for a load.
pub fn zero_all(items: &mut [Item]) {
    in_parallel(items, |item| {
        if let Some(slot) = &mut item.slot {
            slot.bytes_mut().fill(0);
        }
    });
}

fn stamp_of(key: &ObjectKey, seed: u64, round: u64) -> Stamp {
    let mut hash = [0_u8; 16];
    hash.copy_from_slice(key.chunk_hash().as_bytes());
    Stamp { seed, key: hash, round }
}

/// Calls `work` for every item, on several threads. After a signal the round will not run, and the rest is skipped.
fn in_parallel(items: &mut [Item], work: impl Fn(&mut Item) + Sync) {
    let workers = available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let share = items.len().div_ceil(workers).max(1);
    parallel::each(items.chunks_mut(share), |share| {
        let wanted = share.iter_mut().take_while(|_| signal::received().is_none());
        wanted.for_each(&work);
    });
}

/// Checks every object that a round loaded, on several threads; verdicts are in key order.
pub fn check_all<'a>(
    completions: impl Iterator<Item = &'a Completion>,
    seed: u64,
    round: u64,
    tally: &mut VerifyTally,
    note: &mut dyn FnMut(String),
) {
    // A signal that comes now does not lose the result.
    let _saving = saving();
    let items: Vec<&Item> = completions
        .flat_map(|completion| &completion.items)
        .filter(|item| item.outcome == Outcome::Loaded)
        .collect();
    let workers = available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let share = items.len().div_ceil(workers).max(1);
    let check = |items: &[&Item]| -> (Vec<Verdict>, Duration) {
        let begin = Instant::now();
        let verdict = |item: &&Item| {
            let bytes = item.slot.as_ref().map(|slot| slot.bytes()).unwrap_or_default();
            verify::check(bytes, stamp_of(&item.key, seed, round))
        };
        (items.iter().map(verdict).collect(), begin.elapsed())
    };
    let results: Vec<(Vec<Verdict>, Duration)> = parallel::each(items.chunks(share), check);
    tally.core_time += results.iter().map(|(_, time)| *time).sum::<Duration>();
    for (item, verdict) in items.iter().zip(results.into_iter().flat_map(|(verdicts, _)| verdicts)) {
        tally.objects += 1;
        tally.bytes += item.slot.as_ref().map_or(0, |slot| slot.len() as u64);
        if verdict == Verdict::Good {
            tally.good += 1;
        } else {
            tally.note_bad(verdict.name());
            note(format!(
                "Load round {}: {} {}",
                round + 1,
                item.key.file_name(),
                verdict.describe()
            ));
        }
    }
}
