//! Prompts through an exact cache, with what each tier served.

use super::*;

fn sizes(hbm: u64, dram: u64, disk: u64) -> CacheSizes {
    CacheSizes {
        hbm_tokens: hbm,
        dram_tokens: dram,
        disk_tokens: disk,
        block_tokens: 16,
        chunk_tokens: 256,
        blend: false,
    }
}

fn sources(hbm: u64, dram: u64, disk: u64, computed: u64) -> Sources {
    Sources {
        hbm,
        dram,
        disk,
        computed,
        blended: 0,
    }
}

/// A prompt of its own for each number.
fn prompt(number: u32, length: u32) -> Vec<u32> {
    (0..length).map(|at| number * 100_000 + at).collect()
}

#[test]
fn a_repeated_prompt_is_found_but_for_its_last_block() {
    let mut cache = PrefixCache::new(sizes(100_000, 0, 0));
    assert_eq!(cache.serve(&prompt(1, 1000)).0, sources(0, 0, 0, 1000));
    assert_eq!(cache.serve(&prompt(1, 1000)).0, sources(992, 0, 0, 8));
    assert_eq!(cache.serve(&prompt(1, 1024)).0, sources(992, 0, 0, 32));
    // All of it is cached, but the last token must be computed and a block is never half taken.
    assert_eq!(cache.serve(&prompt(1, 1024)).0, sources(1008, 0, 0, 16));
}

#[test]
fn lower_tiers_supply_what_the_higher_ones_lost() {
    let mut cache = PrefixCache::new(sizes(1024, 2048, 1 << 20));
    for number in 1..=4 {
        cache.serve(&prompt(number, 1024));
    }
    // HBM holds prompt 4, DRAM 3 and 4, disk all.
    assert_eq!(cache.serve(&prompt(3, 1024)).0, sources(0, 1023, 0, 1));
    assert_eq!(cache.serve(&prompt(1, 1024)).0, sources(0, 0, 1023, 1));
    assert_eq!(cache.serve(&prompt(1, 1024)).0, sources(1008, 15, 0, 1));
    assert_eq!(cache.serve(&prompt(9, 1024)).0, sources(0, 0, 0, 1024));
}

#[test]
fn what_differs_early_is_not_found() {
    let mut cache = PrefixCache::new(sizes(1 << 20, 1 << 20, 0));
    cache.serve(&prompt(1, 1024));
    let mut other = prompt(1, 1024);
    other[300] = 7;
    assert_eq!(cache.serve(&other).0, sources(288, 0, 0, 736));
    let mut cache = PrefixCache::new(sizes(0, 1 << 20, 0));
    cache.serve(&prompt(1, 1024));
    assert_eq!(cache.serve(&other).0, sources(0, 256, 0, 768));
}

/// prefix-suffix-tuner: a pool of prefixes 5 % larger than the tier, used in order, twice.
fn tuner(mut cache: PrefixCache) -> Sources {
    const PREFIX: u32 = 6400;
    let request = |number: u32, pass: u32| -> Vec<u32> {
        let prefix = prompt(number, PREFIX);
        let breaker = prompt(1000 + pass * 500 + number, 32);
        [prefix, breaker, prompt(7000, 1568)].concat()
    };
    for number in 0..21 {
        cache.serve(&request(number, 0));
    }
    let mut sum = Sources::default();
    for number in 0..21 {
        sum += cache.serve(&request(number, 1)).0;
    }
    sum
}

#[test]
fn the_tuner_sees_its_three_baselines() {
    let tier = 20 * 8000;
    // A request's last 64 tokens fill no chunk, so 20 requests take a little less than they have tokens.
    let dram_tier = 20 * 31 * 256;
    // 1: every request misses the tier that overflows.
    assert_eq!(tuner(PrefixCache::new(sizes(tier, 0, 0))), sources(0, 0, 0, 21 * 8000));
    // DRAM large enough, or disk below a DRAM that overflows: every prefix is found.
    let prefixes = 21 * 6400;
    assert_eq!(
        tuner(PrefixCache::new(sizes(tier, 1 << 30, 0))),
        sources(0, prefixes, 0, 21 * 1600)
    );
    assert_eq!(
        tuner(PrefixCache::new(sizes(8000, dram_tier, 1 << 30))),
        sources(0, 0, prefixes, 21 * 1600)
    );
    // 3: blended, the suffix is found too, in whole chunks; it is used all the time, so it is still in DRAM.
    let mut blend = sizes(8000, dram_tier, 1 << 30);
    blend.blend = true;
    let seen = tuner(PrefixCache::new(blend));
    assert_eq!(seen.disk, prefixes);
    assert!(seen.blended >= 21 * 5 * 256 && seen.dram == seen.blended, "{seen:?}");
}

#[test]
fn a_cache_server_is_asked_for_all_whole_chunks_and_counts_them_whether_or_not_they_are_loaded() {
    let mut cache = PrefixCache::new(sizes(1024, 3 * 256, 1 << 20));
    let cold = Lookup {
        asked: 4,
        written_l1: 4,
        evicted_l1: 1,
        written_l2: 4,
        ..Lookup::default()
    };
    assert_eq!(cache.serve(&prompt(1, 1100)).1, cold);
    assert_eq!(cache.held_chunks(), (3, 4));
    // HBM has 1,024 of 1,100 tokens. The end was evicted from DRAM, so the disk adds the fourth chunk.
    let (sources, lookup) = cache.serve(&prompt(1, 1100));
    assert_eq!((sources.hbm, sources.cached()), (1024, 1024));
    let repeated = Lookup {
        asked: 4,
        found_l1: 3,
        found_l2: 1,
        loaded: 0,
        read_l2: 1,
        written_l1: 1,
        evicted_l1: 1,
        ..Lookup::default()
    };
    assert_eq!(lookup, repeated);
    // Without HBM they are loaded, from the first one on.
    cache.clear_hbm();
    let (sources, lookup) = cache.serve(&prompt(1, 1024));
    assert_eq!((sources.computed, lookup.loaded), (1, 4));
    // HBM ends within the third chunk, which is loaded although only a part of it is needed.
    let mut cache = PrefixCache::new(sizes(640, 1 << 20, 0));
    cache.serve(&prompt(1, 1024));
    assert_eq!(cache.serve(&prompt(1, 1024)).1.loaded, 2);
}

#[test]
fn what_lies_behind_the_first_gap_of_dram_counts_for_the_disk() {
    let mut cache = PrefixCache::new(sizes(0, 4 * 256, 1 << 20));
    cache.serve(&prompt(1, 1024));
    cache.clear_dram();
    cache.dram.touch(chain(&prompt(1, 1024), 256)[1]);
    let (sources, lookup) = cache.serve(&prompt(1, 1024));
    assert_eq!((lookup.found_l1, lookup.found_l2, lookup.read_l2), (0, 4, 3));
    assert_eq!((sources.dram, sources.disk), (256, 767));
}

#[test]
fn clearing_dram_leaves_the_disk() {
    let mut cache = PrefixCache::new(sizes(1 << 20, 1 << 20, 1 << 20));
    cache.serve(&prompt(1, 1024));
    cache.clear_hbm();
    assert_eq!((cache.clear_dram(), cache.held_chunks()), (4, (0, 4)));
    assert_eq!(cache.serve(&prompt(1, 1024)).0, sources(0, 0, 1023, 1));
}

#[test]
fn a_disk_without_dram_is_written_through() {
    let mut cache = PrefixCache::new(sizes(0, 0, 2 * 256));
    let (_, lookup) = cache.serve(&prompt(1, 1024));
    assert_eq!((lookup.written_l1, lookup.evicted_l1), (4, 4));
    assert_eq!((lookup.written_l2, lookup.evicted_l2), (4, 2));
    let (_, lookup) = cache.serve(&prompt(1, 1024));
    assert_eq!((lookup.found_l2, lookup.read_l2, lookup.loaded), (2, 2, 2));
    let mut none = PrefixCache::new(sizes(1 << 20, 0, 0));
    let asked = Lookup {
        asked: 4,
        ..Lookup::default()
    };
    assert_eq!(none.serve(&prompt(1, 1024)).1, asked);
}
