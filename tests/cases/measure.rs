//! Correctness of measurements: bytes that moved, keys that failed, data that equals what was stored.

use std::fs;
use std::path::PathBuf;

use crate::support::{Dir, bench, json, l2, stderr, warning_codes};

const FLAGS: [&str; 4] = ["--warmup-rounds", "0", "--in-flight", "2"];

/// Stores eight objects and returns their files in name order.
fn stored(dir: &Dir) -> Vec<PathBuf> {
    let output = l2(&dir.join("store"))
        .args(FLAGS)
        .args(["--only", "store", "-q"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    dir.names("store")
        .iter()
        .map(|name| dir.join("store").join(name))
        .collect()
}

/// Loads and verifies; returns the exit code and standard error.
fn verified(dir: &Dir, more: &[&str]) -> (Option<i32>, String) {
    let flags = ["--only", "load", "--no-skip-verify", "-q"];
    let output = l2(&dir.join("store"))
        .args(FLAGS)
        .args(flags)
        .args(more)
        .output()
        .unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn what_one_process_stored_another_loads_and_verifies() {
    let dir = Dir::new();
    let files = stored(&dir);
    assert!(files[0].ends_with("bench-model@0x00000000@0@00000000000000000000000000000000.data"));
    assert_eq!((files.len(), fs::metadata(&files[7]).unwrap().len()), (8, 16_384));
    assert_eq!(verified(&dir, &[]), (Some(0), String::new()));
}

#[test]
fn wrong_data_is_detected_and_reported() {
    type Damage = fn(&[PathBuf]);
    let cases: [(&str, Damage); 5] = [
        ("is corrupt", |files| {
            let mut bytes = fs::read(&files[3]).unwrap();
            bytes[5000] ^= 0x10;
            fs::write(&files[3], bytes).unwrap();
        }),
        ("holds the object of key index 2", |files| {
            fs::copy(&files[2], &files[3]).unwrap();
        }),
        ("at the wrong place", |files| {
            let mut bytes = fs::read(&files[3]).unwrap();
            let (head, tail) = bytes.split_at_mut(4096);
            head.swap_with_slice(&mut tail[..4096]);
            fs::write(&files[3], bytes).unwrap();
        }),
        ("truncated: it holds only 5000 of 16384 bytes", |files| {
            fs::File::options()
                .write(true)
                .open(&files[3])
                .unwrap()
                .set_len(5000)
                .unwrap();
        }),
        ("carries no stamp", |files| {
            fs::write(&files[3], vec![7; 16_384]).unwrap()
        }),
    ];
    for (expected, damage) in cases {
        let dir = Dir::new();
        damage(&stored(&dir));
        let (code, text) = verified(&dir, &[]);
        assert_eq!(code, Some(1), "{expected}");
        assert!(
            text.contains(expected) && text.contains("00000003.data"),
            "{expected}: {text}"
        );
    }
}

#[test]
fn data_of_another_seed_is_stale() {
    let dir = Dir::new();
    stored(&dir);
    let (code, text) = verified(&dir, &["--seed", "9"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("is stale: it was written with seed 0"), "{text}");
    assert!(text.contains("8 keys") || text.lines().count() == 8, "{text}");
}

#[test]
fn a_load_that_finds_nothing_fails_and_names_its_keys() {
    let dir = Dir::new();
    fs::create_dir(dir.join("store")).unwrap();
    let (output, value) = json(l2(&dir.join("store")).args(["--only", "load"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("00000004.data: not found"),
        "{}",
        stderr(&output)
    );
    assert_eq!(value["metrics"]["op_0"]["total_success"], 0);
    assert_eq!(value["metrics"]["op_0"]["throughput_avg_mbps"], 0.0);
}

#[test]
fn a_store_over_existing_keys_moves_nothing_and_warns() {
    let dir = Dir::new();
    stored(&dir);
    let (output, value) = json(l2(&dir.join("store")).args(FLAGS).args(["--only", "store"]));
    assert!(output.status.success());
    let metrics = &value["metrics"];
    assert_eq!(metrics["op_0"]["total_success"], 8);
    assert_eq!(metrics["op_0"]["throughput_avg_mbps"], 0.0);
    assert_eq!(metrics["detail_0"]["keys_already_there"], 8);
    let codes = warning_codes(metrics);
    assert!(codes.contains(&"already-stored"), "{codes:?}");
}

/// Stores that reuse files leave only complete objects behind.
#[test]
fn recycled_files_become_the_objects() {
    for direct in [false, true] {
        let dir = Dir::new();
        let spec = format!(
            r#"{{"type":"fs","base_path":"{}","use_odirect":{direct}}}"#,
            dir.join("kv").display()
        );
        let (output, report) = json(command_of(&spec).args(["--rounds", "2", "--recycle", "--no-skip-verify"]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let path = report["metrics"]["detail_0"]["io_path"].as_str().unwrap();
        assert!(path.ends_with(", recycled files"), "{path}");
        let names = dir.names("kv");
        assert_eq!(names.len(), 12, "{names:?}");
        assert!(names.iter().all(|name| name.ends_with(".data")), "{names:?}");
        // A second run finds every key, reuses no file and removes what it wrote.
        let (output, report) = json(command_of(&spec).args(["--rounds", "2", "--recycle"]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(report["metrics"]["detail_0"]["keys_already_there"], 8);
        assert_eq!(dir.names("kv"), names);
    }
}

fn command_of(spec: &str) -> std::process::Command {
    let mut command = bench();
    command.args(["l2", "--l2-adapter", spec, "--num-keys", "4", "--data-size-kb", "16"]);
    command
}

#[test]
fn lookups_count_expected_and_actual_hits_of_measured_rounds() {
    let dir = Dir::new();
    let flags = ["--rounds", "3", "--in-flight", "2", "--lookup-max-hit-rate", "0.5"];
    let (output, value) = json(l2(&dir.join("store")).args(flags));
    assert!(output.status.success());
    let lookup = &value["metrics"]["op_1"];
    assert_eq!(lookup["expected_hit_count"], 12);
    assert_eq!(lookup["total_success"], 12);
    assert_eq!(lookup["actual_hit_rate"], 0.5);
}

#[test]
fn cold_loads_are_shown_to_come_from_the_device() {
    let dir = Dir::new();
    let (output, value) = json(l2(&dir.join("store")).args(["--cold", "--no-skip-verify", "--data-size-kb", "256"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let (lookup, load) = (&value["metrics"]["detail_1"], &value["metrics"]["detail_2"]);
    assert_eq!(load["cold_objects"], 8);
    if lookup["cold_pages_after"] != 0 {
        println!(
            "skipped: the file system below {} keeps its pages (tmpfs?)",
            dir.path().display()
        );
        return;
    }
    assert!(
        lookup["cold_pages_before"].as_u64().unwrap() > 0,
        "the store left its pages in the cache"
    );
    assert_eq!(load["cold_pages_after"], 0);
    assert_eq!(load["device_label"], "device");
}

#[test]
fn every_io_path_stores_and_loads_the_same_objects() {
    for engine in ["threads", "uring"] {
        for direct in ["true", "false"] {
            let dir = Dir::new();
            let path = dir.join("store");
            let spec = format!(
                r#"{{"type":"fs","base_path":"{}","use_odirect":{direct},"relative_tmp_dir":"tmp","read_ahead_size":4096}}"#,
                path.display()
            );
            let output = bench()
                .args([
                    "l2",
                    "--l2-adapter",
                    &spec,
                    "--num-keys",
                    "5",
                    "--in-flight",
                    "3",
                    "--data-size-kb",
                    "64",
                ])
                .args([
                    "--no-skip-verify",
                    "--rounds",
                    "2",
                    "--io-engine",
                    engine,
                    "--probe",
                    "-q",
                ])
                .output()
                .unwrap();
            assert!(output.status.success(), "{engine} {direct}: {}", stderr(&output));
            assert_eq!(dir.names("store").len(), 46, "45 objects and the empty tmp directory");
            assert!(dir.names("store/tmp").is_empty());
        }
    }
}

#[test]
fn the_mock_limits_its_bandwidth_and_the_null_device_moves_nothing() {
    let mock = |spec: &str, more: &[&str]| {
        let mut command = bench();
        command
            .args(["l2", "--l2-adapter", spec, "--num-keys", "8", "--in-flight", "4"])
            .args(more);
        json(&mut command)
    };
    // 8 MiB per round at 1/8 GiB/s: a round cannot take less than 62 ms, however many tasks are in flight.
    let (output, value) = mock(
        r#"{"type":"mock","max_size_gb":0.25,"mock_bandwidth_gb":0.125}"#,
        &["--no-skip-verify"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    for operation in ["op_0", "op_2"] {
        assert!(
            value["metrics"][operation]["duration_min_ms"].as_f64().unwrap() > 62.0,
            "{value}"
        );
    }
    let null = r#"{"type":"mock","max_size_gb":0.25,"mock_bandwidth_gb":"inf"}"#;
    let (output, value) = mock(null, &[]);
    assert!(output.status.success());
    assert_eq!(value["metrics"]["op_2"]["total_success"], 32);
    let warnings = value["metrics"]["warnings"].to_string();
    assert!(
        warnings.contains("null-device") && warnings.contains("never moved"),
        "{warnings}"
    );
    let refused = bench()
        .args(["l2", "--l2-adapter", null, "--no-skip-verify"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
