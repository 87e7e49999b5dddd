//! Golden names, round trips and the key ranges of rounds.

use proptest::prelude::*;

use super::*;

fn tenant_key() -> ObjectKey {
    let hash = ChunkHash::new(&[0xde, 0xad, 0xbe, 0xef]).unwrap();
    ObjectKey::new(hash, "meta-llama/Llama-3.1-8B", 0x0201_0201, 3, "tenant-a").unwrap()
}

#[test]
fn golden_names() {
    let bench = bench_key(1);
    assert_eq!(
        bench.file_name(),
        "bench-model@0x00000001@0@00000000000000000000000000000001.data"
    );
    assert_eq!(
        bench.wire_name(),
        "bench-model@00000001@0@00000000000000000000000000000001"
    );
    let tenant = tenant_key();
    assert_eq!(
        tenant.file_name(),
        "meta-llama-SEP-Llama-3.1-8B@0x02010201@3@deadbeef@tenant-a.data"
    );
    assert_eq!(
        tenant.wire_name(),
        "meta-llama/Llama-3.1-8B@02010201@3@deadbeef@tenant-a"
    );
}

#[test]
fn golden_names_of_raw_block_and_nixl() {
    let text = |push: fn(&ObjectKey, &mut String), key: &ObjectKey| {
        let mut name = String::new();
        push(key, &mut name);
        name
    };
    let tenant = tenant_key();
    assert_eq!(
        text(ObjectKey::push_raw_name, &bench_key(1)),
        "bench-model@0x00000001@0@00000000000000000000000000000001"
    );
    assert_eq!(
        text(ObjectKey::push_raw_name, &tenant),
        "meta-llama%2FLlama-3.1-8B@0x02010201@3@deadbeef@tenant-a"
    );
    let odd = ObjectKey::new(ChunkHash::new(&[1]).unwrap(), "é %~", 1, 0, "").unwrap();
    assert_eq!(text(ObjectKey::push_raw_name, &odd), "%C3%A9%20%25~@0x00000001@0@01");
    assert_eq!(
        text(ObjectKey::push_nixl_name, &tenant),
        "meta-llama--Llama-3.1-8B_02010201_3_deadbeef@tenant-a.bin"
    );
    assert_eq!(text(ObjectKey::push_shard_directories, &tenant), "de/ad/");
    assert_eq!(
        tenant.fault_identity("-1"),
        "-1:deadbeef:meta-llama/Llama-3.1-8B:33620481:3:tenant-a"
    );
}

#[test]
fn widths_are_minimums() {
    let key = ObjectKey::new(ChunkHash::new(&[1]).unwrap(), "m", 1 << 40, 255, "").unwrap();
    assert_eq!(key.file_name(), "m@0x10000000000@ff@01.data");
    assert_eq!(
        bench_key(0).file_name(),
        "bench-model@0x00000000@0@00000000000000000000000000000000.data"
    );
    assert_eq!(
        bench_key(u64::MAX).wire_name(),
        "bench-model@ffffffffffffffff@0@0000000000000000ffffffffffffffff"
    );
}

#[test]
fn a_reused_buffer_holds_only_the_last_name() {
    let mut name = String::new();
    tenant_key().push_file_name(&mut name);
    name.clear();
    bench_key(0xabc).push_file_name(&mut name);
    assert_eq!(name, "bench-model@0x00000abc@0@00000000000000000000000000000abc.data");
}

#[test]
fn file_names_parse_back() {
    for key in [bench_key(0), bench_key(1), bench_key(u64::MAX), tenant_key()] {
        assert_eq!(ObjectKey::from_file_name(&key.file_name()), Some(key));
    }
    let seps = ObjectKey::new(ChunkHash::new(&[1]).unwrap(), "a-SEP-b", 1, 0, "").unwrap();
    assert_eq!(
        ObjectKey::from_file_name(&seps.file_name()).unwrap().wire_name(),
        "a/b@00000001@0@01"
    );
}

#[test]
fn other_file_names_are_no_keys() {
    for name in [
        "",
        ".data",
        "notes.txt",
        "m@0x00000001@0@01",
        "m@0x00000001@0@01.tmp",
        "m@00000001@0@01.data",
        "m@0x1@0@01.data",
        "m@0x000000001@0@01.data",
        "m@0x+0000001@0@01.data",
        "m@0X00000001@0@01.data",
        "m@0x0000000A@0@01.data",
        "m@0x00000001@00@01.data",
        "m@0x00000001@0@1.data",
        "m@0x00000001@0@0A.data",
        "m@0x00000001@0@01@.data",
        "m@0x00000001@0@01@s@t.data",
        "m@0x00000001@0@01@a\\b.data",
        "m/n@0x00000001@0@01.data",
        "m@0x10000000000000000@0@01.data",
        "m@0x00000001@100000000@01.data",
    ] {
        assert_eq!(ObjectKey::from_file_name(name), None, "{name}");
    }
    let long_hash = "00".repeat(ChunkHash::MAX_BYTES + 1);
    assert_eq!(
        ObjectKey::from_file_name(&format!("m@0x00000001@0@{long_hash}.data")),
        None
    );
}

#[test]
fn parts_that_would_break_a_name_are_refused() {
    let key = |model: &'static str, salt: String| ObjectKey::new(ChunkHash::new(&[1]).unwrap(), model, 1, 0, salt);
    assert_eq!(key("a@b", String::new()), Err(InvalidKey::ModelHasAt));
    for character in ['@', '/', '\\', '\0'] {
        assert_eq!(key("m", format!("a{character}")), Err(InvalidKey::SaltHas(character)));
    }
    assert_eq!(key("m", "x".repeat(129)), Err(InvalidKey::SaltTooLong { chars: 129 }));
    assert!(key("m", "\u{e9}".repeat(128)).is_ok());
    assert!(ChunkHash::new(&[0; 65]).is_none());
}

#[test]
fn lookups_ask_for_hits_first_then_for_keys_that_are_never_stored() {
    let plan = KeyPlan::new(4, 2, 3, 1, 0.5).unwrap();
    assert_eq!(
        (plan.keys_per_round(), plan.total_rounds(), plan.per_round_hits()),
        (8, 4, 4)
    );
    assert_eq!(plan.store_range(0), 0..8);
    assert_eq!(plan.store_range(3), 24..32);
    let lookup = plan.lookup_indices(2);
    assert_eq!(
        lookup,
        LookupIndices {
            hits: 8..12,
            misses: 40..44
        }
    );
    let asked: Vec<u64> = (0..8).map(|position| lookup.index(position)).collect();
    assert_eq!(asked, [8, 9, 10, 11, 40, 41, 42, 43]);
}

#[test]
fn hits_are_rounded_down_and_the_rate_is_clamped() {
    let hits = |rate| KeyPlan::new(5, 2, 1, 0, rate).unwrap().per_round_hits();
    assert_eq!(
        [0.0, 0.19, 0.25, 0.999, 1.0, 7.0, -1.0, f64::NAN].map(hits),
        [0, 1, 2, 9, 10, 10, 0, 0]
    );
}

#[test]
fn more_keys_than_numbers_are_refused() {
    for (num_keys, rounds) in [(u64::MAX, 1), (1 << 32, 1 << 31), (1, u64::MAX)] {
        let text = KeyPlan::new(num_keys, 1, rounds, 1, 0.0).unwrap_err().to_string();
        assert!(text.contains(&format!("--num-keys {num_keys} ")), "{text}");
    }
}

proptest! {
    #[test]
    fn any_key_round_trips_through_its_file_name(
        hash in proptest::collection::vec(any::<u8>(), 0..=64),
        model in "[^@]{0,20}(/[a-z.]{1,8}){0,2}",
        kv_rank: u64,
        group: u32,
        salt in r"[^@/\\\x00]{0,128}",
    ) {
        prop_assume!(!model.contains("-SEP-"));
        let key = ObjectKey::new(ChunkHash::new(&hash).unwrap(), model, kv_rank, group, salt).unwrap();
        prop_assert!(!key.file_name().contains('/'));
        prop_assert_eq!(ObjectKey::from_file_name(&key.file_name()), Some(key));
    }

    #[test]
    fn any_name_that_parses_round_trips(name in "[-m@0-9a-fxSEP.é]{0,40}(\\.data)?") {
        if let Some(key) = ObjectKey::from_file_name(&name) {
            prop_assert_eq!(key.file_name(), name);
        }
    }

    #[test]
    fn rounds_never_share_a_key(num_keys in 1u64..40, in_flight in 1u64..6, rounds in 1u64..6, warmup in 0u64..3,
        rate in 0.0f64..=1.0) {
        let plan = KeyPlan::new(num_keys, in_flight, rounds, warmup, rate).unwrap();
        let stored = plan.total_rounds() * plan.keys_per_round();
        let mut asked = Vec::new();
        for round in 0..plan.total_rounds() {
            let lookup = plan.lookup_indices(round);
            for position in 0..plan.keys_per_round() {
                let index = lookup.index(position);
                prop_assert_eq!(position < plan.per_round_hits(), index < stored);
                asked.push(index);
            }
        }
        asked.sort_unstable();
        let count = asked.len();
        asked.dedup();
        prop_assert_eq!(asked.len(), count);
    }
}
