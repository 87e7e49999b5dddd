//! The adapters on files and mappings: names and bytes on disk, and what they refuse. raw_block has a file of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::support::{Dir, bench, json, stderr};

/// Twelve keys of 16 KiB in one submit.
fn l2(spec: &str, more: &[&str]) -> Command {
    let mut command = bench();
    command.args(["l2", "--l2-adapter", spec, "--num-keys", "12", "--data-size-kb", "16"]);
    command.args(["--warmup-rounds", "0"]).args(more);
    command
}

fn works(spec: &str) {
    let output = l2(spec, &["--no-skip-verify", "-q"]).output().unwrap();
    assert!(output.status.success(), "{spec}: {}", stderr(&output));
}

fn refusal(spec: &str) -> String {
    let output = l2(spec, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{spec}");
    stderr(&output)
}

fn fs_native(path: &Path, more: &str) -> String {
    format!(r#"{{"type":"fs_native","base_path":"{}"{more}}}"#, path.display())
}

fn nixl(path: &Path, more: &str) -> String {
    format!(
        r#"{{"type":"nixl_store_dynamic","backend":"POSIX","backend_params":{{"file_path":"{}","use_direct_io":"false"{more}}}}}"#,
        path.display()
    )
}

fn dax(path: &Path, gib: f64) -> String {
    let path = path.display();
    format!(r#"{{"type":"dax","device_path":"{path}","max_dax_size_gb":{gib},"slot_bytes":16384}}"#)
}

#[test]
fn fs_native_and_fs_share_their_files() {
    let dir = Dir::new();
    let base = dir.join("store");
    works(&fs_native(&base, r#","relative_tmp_dir":"a/b","use_odirect":true"#));
    assert!(dir.names("store/a/b").is_empty());
    let name = "bench-model@0x00000003@0@00000000000000000000000000000003.data";
    assert_eq!(fs::metadata(base.join(name)).unwrap().len(), 16_384);
    let fs_spec = fs_native(&base, "").replace("fs_native", "fs");
    let output = l2(&fs_spec, &["--only", "load", "--no-skip-verify", "-q"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn fs_native_runs_as_many_threads_as_configured() {
    let dir = Dir::new();
    let spec = fs_native(&dir.join("store"), r#","num_workers":3"#);
    let (_, value) = json(&mut l2(&spec, &[]));
    assert_eq!(value["metrics"]["detail_0"]["queue_depth_requested"], 3);
    assert_eq!(value["metrics"]["detail_2"]["queue_depth_requested"], 3);
}

#[test]
fn nixl_names_and_shards_are_lmcaches() {
    let name = "bench-model_00000003_0_00000000000000000000000000000003.bin";
    let dir = Dir::new();
    works(&nixl(&dir.join("flat"), r#","max_capacity_gb":"1""#));
    assert_eq!(dir.names("flat").len(), 12);
    assert_eq!(fs::metadata(dir.join("flat").join(name)).unwrap().len(), 16_384);
    works(&nixl(
        &dir.join("sharded"),
        r#","max_capacity_gb":1,"shard_dirs":"True""#,
    ));
    assert!(dir.names("sharded/00/00").contains(&name.to_owned()));
}

#[test]
fn nixl_replaces_what_an_earlier_process_stored() {
    let dir = Dir::new();
    let spec = nixl(&dir.join("store"), r#","max_capacity_gb":1"#);
    works(&spec);
    let flags = ["--seed", "5", "--no-skip-verify", "-q"];
    let output = l2(&spec, &flags).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn nixl_needs_a_capacity_and_keeps_to_it() {
    let dir = Dir::new();
    let text = refusal(&nixl(&dir.join("store"), ""));
    assert!(
        text.contains("backend_params must include a positive 'max_capacity_gb'"),
        "{text}"
    );
    // Five objects of 16 KiB.
    let tight = nixl(
        &dir.join("store"),
        &format!(r#","max_capacity_gb":{}"#, 5.0 * 16_384.0 / (1u64 << 30) as f64),
    );
    let (output, value) = json(&mut l2(&tight, &["--only", "store"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(value["metrics"]["op_0"]["total_success"], 5);
    assert!(
        stderr(&output).contains("raise it or store less"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn dax_copies_into_the_file_slot_by_slot() {
    let dir = Dir::new();
    let file = dir.join("device");
    File::create(&file).unwrap().set_len(4 << 20).unwrap();
    let spec = dax(&file, 1.0 / 256.0);
    let (output, value) = json(&mut l2(&spec, &["--no-skip-verify", "--lookup-max-hit-rate", "1"]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(value["metrics"]["op_1"]["total_success"], 12);
    assert_eq!(value["metrics"]["verify"]["good"], 12);
    let held = fs::read(&file).unwrap();
    for slot in 0..12 {
        let begin = slot * 16_384;
        assert_eq!(&held[begin..begin + 8], b"LMCBv001");
        assert_eq!(usize::from(held[begin + 31]), slot, "key {slot} is in slot {slot}");
    }
    // The index ends with the process.
    let (output, value) = json(&mut l2(&spec, &["--only", "load"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(value["metrics"]["op_0"]["total_success"], 0);
}

#[test]
fn dax_refuses_what_it_cannot_map_and_says_when_it_is_full() {
    let dir = Dir::new();
    let file = dir.join("device");
    let text = refusal(&dax(&file, 1.0));
    assert!(
        text.contains("Failed to open dax device") && text.contains("truncate"),
        "{text}"
    );
    File::create(&file).unwrap().set_len(100 << 10).unwrap();
    let text = refusal(&dax(&file, 1.0));
    assert!(text.contains("exceeds device capacity (102400 bytes)"), "{text}");
    // 100 KiB are six slots of 16 KiB.
    let spec = dax(&file, 102_400.0 / (1u64 << 30) as f64);
    let (output, value) = json(&mut l2(&spec, &["--only", "store"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(value["metrics"]["op_0"]["total_success"], 6);
    assert!(stderr(&output).contains("no free slot is left"), "{}", stderr(&output));
}

#[test]
fn fault_inject_drops_lmcaches_keys_and_counts_them() {
    let dir = Dir::new();
    let inner = fs_native(&dir.join("store"), "");
    let spec = format!(r#"{{"type":"fault_inject","inner":{inner},"rate":0.5,"gap_indices":[11]}}"#);
    let (output, value) = json(&mut l2(&spec, &["--no-skip-verify"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(value["metrics"]["op_0"]["total_success"], 12);
    // 0, 3, 4 and 5 by the hash, 11 by its position.
    assert_eq!(value["metrics"]["op_2"]["total_success"], 7);
    assert_eq!(value["metrics"]["verify"]["good"], 7);
    for key in ["00", "03", "04", "05", "0b"] {
        let sentence = format!("000000{key}.data: dropped on purpose");
        assert!(stderr(&output).contains(&sentence), "{sentence}: {}", stderr(&output));
    }
    let none = format!(r#"{{"type":"fault_inject","inner":{inner}}}"#);
    works(&none);
}
