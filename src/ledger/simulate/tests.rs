//! The simulator against recorded phases, and what holds for any requests.

use super::hbm::Hbm;
use super::lmcache::{Found, Lmcache};
use super::testing::{Event, SERIES, Series, number};
use super::*;
use proptest::prelude::*;

/// `[computed, hbm, l1, l2, found_l1, found_l2]`
fn row(served: &Served) -> [u64; 6] {
    [
        served.computed,
        served.hbm,
        served.l1,
        served.l2,
        served.found_l1,
        served.found_l2,
    ]
}

#[test]
fn all_recorded_timelines_are_replayed_to_the_token() {
    let mut replayed = 0;
    for name in SERIES {
        let series = Series::read(name);
        let (catalog, entries) = series.catalog();
        let mut stack = series.stack(&catalog);
        for (phase, entries) in series.phases.iter().zip(&entries) {
            let mut rows = vec![[0; 6]; entries.len()];
            for event in phase.timeline() {
                let entry = |request: usize| &catalog.entries[entries[request]];
                match event {
                    Event::Tick => stack.tick(),
                    Event::Admit(request) => {
                        rows[request] = row(&stack.admit(request, entry(request)).unwrap().served);
                    }
                    Event::Stored(request) => stack.stored(request, entry(request)),
                    Event::Freed(request) => stack.freed(request, entry(request), true),
                }
            }
            let expected = &phase.json["expected"];
            for (number_of, got) in rows.iter().enumerate() {
                let wanted = &expected["per_request"][number_of];
                let wanted: Vec<u64> = (1..7).map(|column| number(&wanted[column])).collect();
                assert_eq!(got.as_slice(), wanted, "{name} {} request {number_of}", phase.name);
            }
            let names = ["computed", "hbm", "l1", "l2", "hit_l1", "hit_l2"];
            for (column, name_of) in names.iter().enumerate() {
                let sum: u64 = rows.iter().map(|row| row[column]).sum();
                assert_eq!(sum, number(&expected["total"][*name_of]), "{name} {}", phase.name);
            }
            replayed += 1;
        }
    }
    assert_eq!(replayed, 18);
}

/// A prompt of so many tokens that begins like others of its family.
fn prompt(family: u32, own: u32, tokens: usize) -> Prompt {
    let token = |at: usize| if at < 30 { family } else { 100 + own };
    Prompt {
        answer: [7; 20].into(),
        answer_tokens: u64::from(own) * 9,
        ..Prompt::of((0..tokens).map(token).collect::<Vec<u32>>())
    }
}

#[test]
fn without_prefix_caching_the_cache_server_alone_serves() {
    let repeated = [prompt(1, 1, 100), prompt(1, 1, 100)];
    let (catalog, entries) = Catalog::new(32, 32, repeated.iter());
    let settings = Series::read("chat").settings;
    for (blocks, lmcache, cached) in [
        (None, Some(settings), 96),
        (Some(4), None, 96),
        (Some(4), Some(settings), 96),
        (None, None, 0),
    ] {
        let mut stack = Stack::Vllm(Vllm::new(&catalog, blocks, lmcache, 0));
        let mut last = Served::default();
        for (request, entry) in entries.iter().enumerate() {
            let entry = &catalog.entries[*entry];
            last = stack.admit(request, entry).unwrap().served;
            stack.stored(request, entry);
            stack.freed(request, entry, true);
        }
        assert_eq!(last.cached(), cached);
        assert_eq!(last.hbm, if blocks.is_some() { 96 } else { 0 });
    }
}

#[test]
fn a_request_waits_until_its_blocks_are_free() {
    let prompts = [prompt(1, 1, 60), prompt(2, 2, 60)];
    let (catalog, entries) = Catalog::new(16, 32, prompts.iter());
    let mut stack = Stack::Vllm(Vllm::new(&catalog, Some(6), None, 0));
    let entry = |number: usize| &catalog.entries[entries[number]];
    assert!(stack.admit(0, entry(0)).is_some());
    assert!(stack.admit(1, entry(1)).is_none());
    stack.stored(0, entry(0));
    stack.freed(0, entry(0), true);
    assert!(stack.admit(1, entry(1)).is_some());
}

#[test]
fn what_the_cache_server_found_first_counts_for_a_request_that_waits() {
    let prompts = [prompt(1, 1, 60), prompt(2, 2, 60)];
    let (catalog, entries) = Catalog::new(16, 32, prompts.iter());
    let entry = |number: usize| &catalog.entries[entries[number]];
    let settings = Series::read("chat").settings;
    for (is_early, found) in [(true, 0), (false, 32)] {
        let mut stack = Stack::Vllm(Vllm::new(&catalog, Some(4), Some(settings), 0));
        stack.admit(0, entry(0)).unwrap();
        if is_early {
            stack.look_up(2, entry(0));
        }
        stack.stored(0, entry(0));
        stack.freed(0, entry(0), true);
        // HBM forgets the first prompt.
        stack.admit(1, entry(1)).unwrap();
        stack.stored(1, entry(1));
        stack.freed(1, entry(1), true);
        let again = stack.admit(2, entry(0)).unwrap();
        assert_eq!((again.served.l1, again.served.hbm), (found, 0));
        assert_eq!(again.missing == Missing::StorePending, is_early);
    }
}

#[test]
fn a_lookup_that_is_given_up_leaves_no_trace() {
    let settings = Settings {
        l1_chunks: Some(4),
        watermark: 0.5,
        ratio: 1.0,
        retain: false,
        l2_chunks: None,
    };
    let mut cache = Lmcache::new(settings, 8, 0);
    cache.announce(&[0, 1, 2]);
    cache.store(&[0, 1, 2], &Found::default(), 1);
    cache.tick(2);
    let found = cache.look_up(&[0, 1, 2, 3]);
    cache.announce(&[3]);
    assert_eq!((found.load, cache.used(), cache.is_pending(3)), (3, 3, true));
    cache.give_up(&[0, 1, 2, 3], &found);
    assert_eq!((cache.used(), cache.is_pending(3)), (0, false));
}

proptest! {
    /// Requests begin and end in any order, and as many as fit are in flight.
    #[test]
    fn served_tokens_add_up_and_blocks_are_never_lost(
        steps in prop::collection::vec((0_u32..3, 0_u32..3, 0_usize..90, 0_usize..4, any::<bool>()), 1..60),
        blocks in 8_u32..40,
        room in 0_u32..12,
        l2_chunks in prop::option::of(0_u32..6),
        retain in any::<bool>(),
    ) {
        let prompts: Vec<Prompt> = steps.iter().map(|step| prompt(step.0, step.1, step.2)).collect();
        let (catalog, entries) = Catalog::new(8, 16, prompts.iter());
        let settings = Settings { l1_chunks: Some(room), watermark: 0.8, ratio: 0.3, retain, l2_chunks };
        let mut stack = Stack::Vllm(Vllm::new(&catalog, Some(blocks), Some(settings), 0));
        let mut in_flight: Vec<usize> = Vec::new();
        for (request, step) in steps.iter().enumerate() {
            let entry = |request: usize| &catalog.entries[entries[request]];
            if let Some(admitted) = stack.admit(request, entry(request)) {
                let served = admitted.served;
                prop_assert_eq!(served.computed + served.cached(), step.2 as u64);
                prop_assert!(served.computed > 0 || step.2 == 0);
                in_flight.push(request);
            } else {
                prop_assert!(!in_flight.is_empty() || step.2.div_ceil(8) > blocks as usize);
            }
            for _ in 0..step.3.min(in_flight.len()) {
                let ended = in_flight.remove(0);
                stack.stored(ended, entry(ended));
                stack.freed(ended, entry(ended), step.4);
            }
            stack.tick();
        }
    }

    /// All blocks are free again when all requests are over.
    #[test]
    fn a_pool_gets_all_its_blocks_back(requests in prop::collection::vec((0_u32..4, 1_usize..6), 1..40)) {
        let mut pool = Hbm::new(12, 4 * 8);
        let mut held: Vec<Vec<u32>> = Vec::new();
        for (number, (family, length)) in requests.into_iter().enumerate() {
            let names: Vec<u32> = (0..length as u32).map(|at| family * 8 + at).collect();
            let found = pool.find(&names[..length - 1]);
            while !pool.fits(&names[..found], length) {
                let blocks = held.remove(0);
                pool.release(&blocks);
            }
            let blocks = pool.take(&names[..found], length, number as u64);
            pool.name(&blocks, &names);
            held.push(blocks);
        }
        held.iter().for_each(|blocks| pool.release(blocks));
        prop_assert!(pool.fits(&[], 12) && !pool.fits(&[], 13));
    }

    /// Stores, loads and ticks in any order.
    #[test]
    fn l1_never_holds_more_than_it_has_room_for(
        steps in prop::collection::vec((0_u32..5, 1_u32..8, any::<bool>(), any::<bool>()), 1..80),
        room in 1_u32..16,
        l2_chunks in prop::option::of(0_u32..20),
        retain in any::<bool>(),
    ) {
        let settings = Settings { l1_chunks: Some(room), watermark: 0.8, ratio: 0.2, retain, l2_chunks };
        let mut cache = Lmcache::new(settings, 5 * 8, 0);
        let mut open = Vec::new();
        for (now, (family, length, ends, ticks)) in (1..).zip(steps) {
            let chunks: Vec<u32> = (0..length).map(|at| family * 8 + at).collect();
            let found = cache.look_up(&chunks);
            cache.announce(&chunks[found.chunks..]);
            open.push((chunks, found));
            prop_assert!(cache.used() <= room);
            if ends {
                let (chunks, found) = open.remove(0);
                cache.store(&chunks, &found, now);
                cache.touch(&chunks);
                prop_assert!(cache.used() <= room);
            }
            if ticks {
                cache.tick(now);
            }
        }
    }
}
