//! Every message of `raw_block`, and its defaults.

use super::*;
use crate::l2::spec::tests::{config, message_about};

const START: &str = r#""type": "raw_block", "device_path": "/dev/x", "slot_bytes": 270336"#;
const PASSTHROUGH: &str = r#""type": "raw_block", "device_path": "/dev/ng0n1", "slot_bytes": 270336, "io_engine": "IO_uring",
                            "use_uring_cmd": true, "fdp_enabled": 1"#;

fn parsed(more: &str) -> RawBlockConfig {
    config::<RawBlockConfig>(&format!("{{{START}{more}}}")).0
}

#[test]
fn fields_are_checked_with_lmcaches_messages() {
    let cases = [
        (r#""device_path": """#, "device_path must be a non-empty string"),
        (
            r#""per_tp_device_paths": null"#,
            "per_tp_device_paths is not supported in MP raw_block mode",
        ),
        (r#""persist_enabled": 0"#, "raw_block requires persist_enabled=true"),
        (r#""slot_bytes": 8192.0"#, "slot_bytes must be a positive integer"),
        (r#""block_align": 3000"#, "block_align must be a power of 2, got 3000"),
        (r#""block_align": "4k""#, "invalid literal for int() with base 10: '4k'"),
        (
            r#""slot_bytes": 270337"#,
            "slot_bytes must be a multiple of block_align",
        ),
        (
            r#""header_bytes": 100"#,
            "header_bytes must be a multiple of block_align",
        ),
        (
            r#""meta_total_bytes": 5000"#,
            "meta_total_bytes must be a multiple of block_align",
        ),
        (r#""header_bytes": 270336"#, "slot_bytes must be >= header_bytes + 1"),
        (
            r#""capacity_bytes": 268435456"#,
            "capacity_bytes must leave space for at least one slot",
        ),
        (r#""io_engine": "aio""#, "io_engine must be one of: io_uring, posix"),
        (r#""iouring_queue_depth": 0"#, "iouring_queue_depth must be > 0"),
        (r#""use_uring_cmd": true"#, "use_uring_cmd requires io_uring io_engine"),
        (
            r#""fdp_enabled": true"#,
            "fdp_enabled requires io_engine='io_uring' and use_uring_cmd=true",
        ),
        (r#""fdp_placement_ids": 3"#, "fdp_placement_ids must be a list"),
        (
            r#""fdp_data_placement_policy": "best""#,
            "fdp_data_placement_policy must be one of: cache_salt_prefix, cache_salt_rank, none",
        ),
        (
            r#""fdp_slot_reuse_policy": "pid_affinity""#,
            "fdp_slot_reuse_policy requires fdp_enabled=true",
        ),
        (
            r#""meta_checkpoint_placement_id": 1"#,
            "meta_checkpoint_placement_id requires io_engine='io_uring' and use_uring_cmd=true",
        ),
        (r#""num_store_workers": 0"#, "num_store_workers must be > 0"),
        (r#""num_lookup_workers": -1"#, "num_lookup_workers must be > 0"),
    ];
    for (field, expected) in cases {
        assert_eq!(message_about(START, field), expected, "{field}");
    }
}

#[test]
fn placement_is_checked_when_it_is_on() {
    let cases = [
        (r#""fdp_placement_ids": []"#, "fdp_placement_ids must not be empty"),
        (r#""fdp_placement_ids": [0]"#, "fdp_placement_ids must not contain 0"),
        (
            r#""fdp_placement_ids": [2, 2]"#,
            "fdp_placement_ids must not contain duplicates",
        ),
        (
            r#""fdp_placement_ids": [true]"#,
            "fdp_placement_ids must contain integers",
        ),
        (
            r#""fdp_placement_ids": [65536]"#,
            "fdp_placement_ids must contain placement identifiers in range 1..=65535",
        ),
        (
            r#""fdp_placement_ids": [2], "meta_checkpoint_placement_id": 2"#,
            "meta_checkpoint_placement_id must not overlap with fdp_placement_ids",
        ),
        (
            r#""meta_checkpoint_placement_id": 0"#,
            "meta_checkpoint_placement_id must not contain placement identifier 0",
        ),
    ];
    for (field, expected) in cases {
        assert_eq!(message_about(PASSTHROUGH, field), expected, "{field}");
    }
}

#[test]
fn the_first_message_is_the_one_lmcache_comes_to_first() {
    let text = message_about(START, r#""block_align": 3, "io_engine": "aio", "num_load_workers": 0"#);
    assert_eq!(text, "io_engine must be one of: io_uring, posix");
    let text = message_about(START, r#""block_align": 3, "capacity_bytes": 1, "num_load_workers": 0"#);
    assert_eq!(text, "block_align must be a power of 2, got 3");
}

#[test]
fn defaults_are_lmcaches() {
    let expected = RawBlockConfig {
        device_path: "/dev/x".to_owned(),
        slot_bytes: 270_336,
        block_align: 4096,
        header_bytes: 4096,
        meta_total_bytes: 256 << 20,
        capacity_bytes: 0,
        io: IoOptions {
            uring: None,
            num_store_workers: 2,
            num_load_workers: 4,
        },
        use_odirect: true,
        meta_magic: "LMCIDX01".to_owned(),
        meta_version: 1,
        meta_checkpoint_interval_s: 60,
        meta_idle_quiet_ms: 100,
        meta_enable_periodic: true,
        load_checkpoint_on_init: true,
        meta_verify_on_load: true,
    };
    assert_eq!(parsed(""), expected);
    // Truthiness and int(): "false" is true, "8192" is a number.
    let odd =
        parsed(r#", "use_odirect": "false", "block_align": "8192", "header_bytes": 8192.9, "capacity_bytes": -1"#);
    assert_eq!((odd.use_odirect, odd.block_align, odd.header_bytes), (true, 8192, 8192));
}

#[test]
fn the_engine_has_old_names() {
    let uring = |more: &str| parsed(more).io.uring.map(|options| options.queue_depth);
    assert_eq!(uring(r#", "use_iouring": 1, "iouring_queue_depth": 8"#), Some(8));
    assert_eq!(uring(r#", "io_engine": "", "use_uring": true"#), Some(256));
    assert_eq!(uring(r#", "io_engine": "Posix", "use_uring": true"#), None);
    let warnings = config::<RawBlockConfig>(&format!(
        r#"{{{START}, "io_engine": "posix", "use_uring": true, "enable_zero_copy": false}}"#
    ))
    .1;
    assert_eq!(warnings.len(), 2);
}
