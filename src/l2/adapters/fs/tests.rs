//! A ring that the kernel stops serving: every key fails at once, and nothing is left in the directory.

use super::*;
use crate::l2::adapter::Outcome;
use crate::l2::keys::bench_key;
use crate::l2::spec::{AdapterKind, parse_specs};
use crate::sys::arena::Arena;

const KEYS: usize = 5;
const DEPTH: usize = 2;

/// None where the kernel gives no io_uring: then there is nothing to test.
fn adapter(base: &std::path::Path) -> Option<(FsAdapter, Task)> {
    Ring::new(DEPTH).ok()?;
    let spec = format!(r#"{{"type":"fs","base_path":"{}"}}"#, base.display());
    let AdapterKind::Fs(config) = parse_specs(&[spec]).unwrap().first.kind else {
        panic!("an fs spec");
    };
    let (arena, slots) = Arena::new(KEYS * 4096, 4096, false).unwrap().into_slots(4096);
    let environment = Environment {
        arena,
        object_bytes: 4096,
        align_bytes: 4096,
        run_objects: KEYS as u64,
        io_engine: IoEngine::Uring,
        io_depth: DEPTH,
        fdatasync: false,
        recycle_files: 0,
        stores: true,
    };
    let mut adapter = FsAdapter::open(&(&config).into(), environment).unwrap();
    adapter.prepare(Operation::Store).unwrap();
    let slots = slots.into_iter().enumerate();
    let task = Task {
        id: 0,
        operation: Operation::Store,
        items: slots
            .map(|(index, slot)| Item::new(bench_key(index as u64), Some(slot)))
            .collect(),
        created: Instant::now(),
    };
    Some((adapter, task))
}

fn break_ring(adapter: &mut FsAdapter) {
    adapter.ring.as_mut().unwrap().ring().break_for_test();
}

fn refused(item: &Item) -> bool {
    matches!(&item.outcome, Outcome::Failed(sentence) if sentence.contains("the kernel refuses the io_uring"))
}

#[test]
fn a_ring_that_is_refused_fails_every_key_at_once() {
    let base = std::env::temp_dir().join(format!("lmcache-bench-broken-ring-{}", std::process::id()));
    let Some((mut adapter, task)) = adapter(&base) else {
        return;
    };
    break_ring(&mut adapter);
    adapter.submit(task);
    let done = adapter.wait(Duration::ZERO).expect("no key is waited for");
    assert_eq!(done.items.len(), KEYS);
    assert!(done.items.iter().all(refused), "{:?}", done.items[0].outcome);
    // Those that never reached the ring give their buffers back.
    assert_eq!(done.items.iter().filter(|item| item.slot.is_some()).count(), KEYS - 1);
    assert_eq!(
        std::fs::read_dir(&base).unwrap().count(),
        0,
        "a temporary file was left"
    );
    std::fs::remove_dir(&base).unwrap();
}

#[test]
fn a_ring_that_breaks_on_the_way_fails_what_is_left() {
    let base = std::env::temp_dir().join(format!("lmcache-bench-breaking-ring-{}", std::process::id()));
    let Some((mut adapter, task)) = adapter(&base) else {
        return;
    };
    adapter.submit(task);
    break_ring(&mut adapter);
    let done = adapter.wait(Duration::from_secs(60)).expect("no key is waited for");
    let failed = done.items.iter().filter(|item| refused(item)).count();
    assert!(failed >= KEYS - DEPTH, "{failed} keys failed");
    std::fs::remove_dir_all(&base).unwrap();
}
