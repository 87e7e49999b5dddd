//! A ring that the kernel stops serving: every key fails at once, and no slot counts as stored.

use super::*;
use crate::l2::keys::bench_key;
use crate::l2::spec::tests::config;
use crate::sys::arena::Arena;

const KEYS: usize = 3;

#[test]
fn a_ring_that_is_refused_fails_every_key_at_once() {
    if Ring::new(2).is_err() {
        return;
    }
    let path = crate::testing::temporary_path("broken-device");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let spec = format!(
        r#"{{"type":"raw_block","device_path":"{}","slot_bytes":8192,"meta_total_bytes":65536,"use_odirect":false}}"#,
        path.display()
    );
    let (config, _) = config::<RawBlockConfig>(&spec);
    let (arena, slots) = Arena::new(KEYS * 4096, 4096, false).unwrap().into_slots(4096);
    let environment = Environment {
        arena,
        object_bytes: 4096,
        align_bytes: 4096,
        run_objects: KEYS as u64,
        io_engine: IoEngine::Uring,
        io_depth: 2,
        fdatasync: false,
        recycle_files: 0,
        stores: true,
    };
    let mut adapter = RawBlockAdapter::open(&config, environment).unwrap();
    adapter.prepare(Operation::Store).unwrap();
    let Some(Engine::Ring(ring)) = &mut adapter.engine else {
        panic!("a ring was asked for");
    };
    ring.ring().break_for_test();
    let slots = slots.into_iter().enumerate();
    let items = slots.map(|(index, slot)| Item::new(bench_key(index as u64), Some(slot)));
    adapter.submit(Task {
        id: 0,
        operation: Operation::Store,
        items: items.collect(),
        created: Instant::now(),
    });
    let done = adapter.wait(Duration::ZERO).expect("no key is waited for");
    for item in &done.items {
        let Outcome::Failed(sentence) = &item.outcome else {
            panic!("{:?}", item.outcome);
        };
        assert!(sentence.contains("the kernel refuses the io_uring"), "{sentence}");
    }
    assert_eq!(done.items.len(), KEYS);
    let mut name = String::new();
    bench_key(0).push_raw_name(&mut name);
    assert!(
        !adapter.shared.state().index.lock(&name),
        "a failed key counts as stored"
    );
    std::fs::remove_file(&path).unwrap();
}
