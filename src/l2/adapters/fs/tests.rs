//! The fs adapter: when it reserves space, and a ring that the kernel stops serving: every key fails at once, and nothing
//! is left in the directory.

use std::time::Instant;

use super::*;
use crate::l2::adapter::Outcome;
use crate::l2::keys::bench_key;
use crate::l2::spec::tests::config;
use crate::sys::arena::Arena;

const KEYS: usize = 5;
const DEPTH: usize = 2;

/// None where the kernel gives no io_uring: then there is nothing to test.
fn adapter(base: &std::path::Path) -> Option<(FsAdapter, Task)> {
    Ring::new(DEPTH).ok()?;
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
    let mut adapter = FsAdapter::open(&fs_config(base, false), environment).unwrap();
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

/// The config of a plain spec for `base`.
fn fs_config(base: &std::path::Path, direct: bool) -> FsConfig {
    let spec = format!(
        r#"{{"type":"fs","base_path":"{}","use_odirect":{direct}}}"#,
        base.display()
    );
    config(&spec).0
}

#[test]
fn space_is_reserved_for_large_buffered_objects_on_ext4_only() {
    let base = crate::testing::temporary_path("reserve");
    let reserves = |direct, bytes| {
        let layout = Layout::open(&fs_config(&base, direct), bytes, false, &mut Vec::new()).unwrap();
        (layout.reserves_space, layout.direct)
    };
    let large = reserves(false, 256 << 10).0;
    assert_eq!(large, files::is_ext4(&base).unwrap());
    assert!(!reserves(false, 252 << 10).0);
    let (reserved, direct) = reserves(true, 256 << 10);
    assert_eq!(
        reserved,
        large && !direct,
        "where O_DIRECT is refused objects are buffered"
    );
    assert!(!files::is_ext4(std::path::Path::new("/proc")).unwrap());
    std::fs::remove_dir(&base).unwrap();
}

#[test]
fn a_reserved_object_has_its_own_length() {
    let base = crate::testing::temporary_path("reserved");
    let layout = Layout::open(&fs_config(&base, false), 256 << 10, false, &mut Vec::new()).unwrap();
    let (_arena, mut slots) = Arena::new(256 << 10, 4096, false).unwrap().into_slots(256 << 10);
    slots[0].bytes_mut().fill(7);
    let mut item = Item::new(bench_key(1), slots.pop());
    let mut paths = object::Paths::default();
    object::run(&layout, Operation::Store, &mut item, Instant::now(), &mut paths);
    assert_eq!(item.outcome, Outcome::Stored);
    let held = std::fs::read(&paths.target).unwrap();
    assert!(held.len() == 256 << 10 && held.iter().all(|&byte| byte == 7));
    std::fs::remove_dir_all(&base).unwrap();
}

fn break_ring(adapter: &mut FsAdapter) {
    adapter.ring.as_mut().unwrap().ring().break_for_test();
}

fn refused(item: &Item) -> bool {
    matches!(&item.outcome, Outcome::Failed(sentence) if sentence.contains("the kernel refuses the io_uring"))
}

#[test]
fn a_ring_that_is_refused_fails_every_key_at_once() {
    let base = crate::testing::temporary_path("broken-ring");
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
    let base = crate::testing::temporary_path("breaking-ring");
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
