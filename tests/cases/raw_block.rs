//! raw_block on pre-sized files: what lies where, what comes back after a restart, and every way in which a device can be wrong.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Dir, bench, json, stderr, stdout, warning_codes};

const META: u64 = 64 << 10;
const SLOT: u64 = 16_384 + 4096;
const MIB: u64 = 1 << 20;

fn device(dir: &Dir, bytes: u64) -> PathBuf {
    let path = dir.join("device");
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// Slots for objects of 16 KiB behind 64 KiB of checkpoints. O_DIRECT is left out where it is not the point: not every
/// temporary directory takes it.
fn spec(device: &Path, more: &str) -> String {
    let path = device.display();
    format!(
        r#"{{"type":"raw_block","device_path":"{path}","slot_bytes":{SLOT},"meta_total_bytes":{META},"use_odirect":false{more}}}"#
    )
}

/// Four keys of 16 KiB in each of two submits.
fn l2(spec: &str, more: &[&str]) -> Command {
    let mut command = bench();
    command.args(["l2", "--l2-adapter", spec, "--num-keys", "4", "--in-flight", "2"]);
    command
        .args([
            "--data-size-kb",
            "16",
            "--warmup-rounds",
            "0",
            "--l1-align-bytes",
            "4096",
        ])
        .args(more);
    command
}

fn stored(device: &Path) {
    let output = l2(&spec(device, ""), &["--only", "store", "-q"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn loaded(device: &Path, more: &str) -> (Output, Value) {
    json(&mut l2(&spec(device, more), &["--only", "load", "--no-skip-verify"]))
}

fn found(value: &Value) -> u64 {
    value["metrics"]["op_0"]["total_success"].as_u64().unwrap()
}

fn bytes(device: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(device).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn change(device: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn the_device_holds_lmcaches_bytes() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    let header = bytes(&device, 0, 32);
    assert_eq!(header[..20], *b"LMCIDX01\x01\0\0\0\x01\0\0\0\0\0\0\0");
    let length = u64::from_le_bytes(header[20..28].try_into().unwrap());
    let text = String::from_utf8(bytes(&device, 4096, usize::try_from(length).unwrap())).unwrap();
    let begins = format!(
        r#"{{"version":1,"device_path":"{}","capacity_bytes":4194304,"block_align":4096,"header_bytes":4096,"slot_bytes":20480,"meta_total_bytes":65536,"meta_magic":"LMCIDX01","meta_version":1,"data_base_offset":65536,"next_slot":8,"entries":{{"bench-model@0x00000000@0@00000000000000000000000000000000":{{"offset":65536,"size":16384,"shape":[16384],"dtype":"uint8","fmt":"KV_2LTD","cached_positions":null}},"#,
        device.display()
    );
    assert!(text.starts_with(&begins), "{text}");
    // The slot of key 0: magic, identity, length, zeros, and then the object.
    let slot = bytes(&device, META, 4096 + 8);
    assert_eq!(
        slot[..24],
        *b"LMCBLK01\xd8\x7b\x0d\x38\xbf\xb9\x33\xf4\x00\x40\0\0\0\0\0\0"
    );
    assert!(slot[24..4096].iter().all(|&byte| byte == 0));
    assert_eq!(slot[4096..], *b"LMCBv001");
    assert_eq!(fs::metadata(&device).unwrap().len(), 4 * MIB);
}

#[test]
fn every_engine_finds_what_every_other_stored() {
    for (writer, reader) in [("posix", "io_uring"), ("io_uring", "posix")] {
        for direct in ["false", "true"] {
            let dir = Dir::new();
            let device = device(&dir, 4 * MIB);
            let with =
                |engine: &str| spec(&device, "").replace("false}", &format!(r#"{direct},"io_engine":"{engine}"}}"#));
            let output = l2(&with(writer), &["--only", "store", "-q"]).output().unwrap();
            if stderr(&output).contains("O_DIRECT") || stderr(&output).contains("no io_uring") {
                println!("skipped: {}", stderr(&output));
                continue;
            }
            assert!(output.status.success(), "{writer} {direct}: {}", stderr(&output));
            let flags = ["--only", "load", "--no-skip-verify", "-q"];
            let output = l2(&with(reader), &flags).output().unwrap();
            assert!(output.status.success(), "{reader} {direct}: {}", stderr(&output));
            let flags = ["--only", "lookup", "--lookup-max-hit-rate", "0.5"];
            let (_, value) = json(&mut l2(&with(reader), &flags));
            assert_eq!(found(&value), 4);
        }
    }
}

#[test]
fn stored_keys_are_not_written_again() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    let before = fs::read(&device).unwrap();
    let (output, value) = json(&mut l2(&spec(&device, ""), &["--only", "store", "--seed", "9"]));
    assert!(output.status.success());
    assert_eq!(value["metrics"]["detail_0"]["keys_already_there"], 8);
    assert!(
        fs::read(&device).unwrap() == before,
        "nothing changed, so nothing may be written"
    );
    // Without the checkpoint everything begins at slot 0 again, and the second container gets no stale company.
    let again = spec(&device, r#","load_checkpoint_on_init":false"#);
    let output = l2(&again, &["--only", "store", "--seed", "9", "-q"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(bytes(&device, 12, 8), 1u64.to_le_bytes());
    let flags = ["--only", "load", "--no-skip-verify", "--seed", "9", "-q"];
    let output = l2(&spec(&device, ""), &flags).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_damaged_checkpoint_is_not_believed() {
    // Where, what, and what the warning says.
    let cases: [(u64, &[u8], &str); 5] = [
        (0, b"x", "does not begin with meta_magic"),
        (8, b"\x02", "another meta_version"),
        (20, &[0xff; 8], "length is impossible"),
        (28, b"\0\0\0\0", "checksum does not match"),
        (4096 + 200, b"~", "checksum does not match"),
    ];
    for (offset, damage, why) in cases {
        let dir = Dir::new();
        let device = device(&dir, 4 * MIB);
        stored(&device);
        change(&device, offset, damage);
        let (output, value) = loaded(&device, "");
        assert_eq!((output.status.code(), found(&value)), (Some(1), 0), "{why}");
        assert!(stderr(&output).contains("not found"), "{}", stderr(&output));
        let warnings = value["metrics"]["warnings"].to_string();
        assert!(
            warning_codes(&value["metrics"]).contains(&"checkpoint-ignored") && warnings.contains(why),
            "{warnings}"
        );
    }
}

#[test]
fn the_older_checkpoint_serves_when_the_newer_is_torn() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    let more = ["--only", "store", "--rounds", "2", "-q"];
    assert!(l2(&spec(&device, ""), &more).output().unwrap().status.success());
    // The second checkpoint is in the second container.
    let second = META / 2;
    assert_eq!(bytes(&device, second + 12, 8), 2u64.to_le_bytes());
    change(&device, second + 4096 + 40, b"torn");
    let (output, value) = loaded(&device, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        (
            found(&value),
            warning_codes(&value["metrics"]).contains(&"checkpoint-ignored")
        ),
        (8, true)
    );
}

#[test]
fn a_checkpoint_of_another_layout_is_ignored() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    let other = spec(&device, "").replace(&SLOT.to_string(), "24576");
    let (output, value) = json(&mut l2(&other, &["--only", "load"]));
    assert_eq!((output.status.code(), found(&value)), (Some(1), 0));
    assert!(
        value["metrics"]["warnings"]
            .to_string()
            .contains("slot_bytes is 20480, not 24576")
    );
}

#[test]
fn a_slot_that_holds_something_else_is_dropped_when_verified() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    // Another magic, another identity, another length, another object in front of its own header.
    change(&device, META, b"X");
    change(&device, META + SLOT + 8, b"X");
    change(&device, META + 2 * SLOT + 16, b"X");
    let (output, value) = loaded(&device, "");
    assert_eq!((output.status.code(), found(&value)), (Some(1), 5));
    assert!(warning_codes(&value["metrics"]).contains(&"entries-dropped"));
    assert_eq!(value["metrics"]["verify"]["bad"], 0);
    // Dropping them was a change, so the next start finds them gone without looking.
    let (_, value) = loaded(&device, r#","meta_verify_on_load":false"#);
    assert_eq!(found(&value), 5);
    // Their slots are free again, the highest first.
    let output = l2(&spec(&device, ""), &["--only", "store", "-q"]).output().unwrap();
    assert!(output.status.success());
    let (output, value) = loaded(&device, "");
    assert_eq!((output.status.code(), found(&value)), (Some(0), 8));
}

#[test]
fn without_verification_the_stamps_still_tell() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    stored(&device);
    let object = bytes(&device, META + 4096, 16_384);
    change(&device, META + SLOT + 4096, &object);
    let (output, value) = loaded(&device, r#","meta_verify_on_load":false"#);
    assert_eq!((output.status.code(), found(&value)), (Some(1), 8));
    assert_eq!(value["metrics"]["verify"]["wrong_key"], 1);
}

#[test]
fn a_device_that_cannot_hold_it_is_refused() {
    let dir = Dir::new();
    let device = device(&dir, META);
    let missing = dir.join("missing");
    let cases = [
        (spec(&device, ""), "metadata region exceeds usable device capacity"),
        (
            spec(&device, "").replace("65536", "61440"),
            "raw block capacity too small for slot size",
        ),
        (spec(&missing, ""), "it is never created"),
        (spec(dir.path(), ""), "neither a block device nor a plain file"),
        (
            spec(&device, r#","io_engine":"io_uring","use_uring_cmd":true"#),
            "NVMe passthrough",
        ),
    ];
    for (spec, expected) in cases {
        let output = l2(&spec, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{spec}");
        let text = stderr(&output);
        assert!(
            text.starts_with("[Init] Failed to create adapter: ") && text.contains(expected),
            "{text}"
        );
    }
    assert!(!missing.exists());
    let direct = spec(&device, "").replace("false", "true");
    let output = bench().args(["l2", "--l2-adapter", &direct]).output().unwrap();
    assert!(
        stderr(&output).contains("raw_block requires l1_align_bytes >= block_align"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_device_in_use_is_refused() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    let held = File::open(&device).unwrap();
    held.lock().unwrap();
    let output = l2(&spec(&device, ""), &["--only", "load"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("locked by another process"),
        "{}",
        stderr(&output)
    );
    // Not by its drop: a child that another test is starting may have inherited it.
    held.unlock().unwrap();
    stored(&device);
    stored(&device);
}

#[test]
fn a_full_device_fails_the_keys_that_find_no_slot() {
    let dir = Dir::new();
    let device = device(&dir, META + 5 * SLOT + 100);
    let (output, value) = json(&mut l2(&spec(&device, ""), &["--only", "store"]));
    assert_eq!((output.status.code(), found(&value)), (Some(1), 5));
    assert!(
        stderr(&output).contains("No free slots available: all 5 are used"),
        "{}",
        stderr(&output)
    );
    assert_eq!(found(&loaded(&device, "").1), 5);
    let output = l2(&spec(&device, ""), &["--only", "store", "--data-size-kb", "20", "-q"])
        .output()
        .unwrap();
    assert!(
        stderr(&output).contains("a slot holds 16384; raise slot_bytes"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_checkpoint_that_does_not_fit_is_reported() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    // Containers of 4 KiB hold twenty keys at most.
    let small = spec(&device, "").replace("65536", "16384");
    let output = l2(&small, &["--only", "store", "--rounds", "4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("raise meta_total_bytes"),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).contains("Total success:"),
        "the report comes all the same"
    );
}

#[test]
fn after_a_kill_nothing_is_promised_that_is_not_there() {
    for engine in ["posix", "io_uring"] {
        let dir = Dir::new();
        let device = device(&dir, 64 * MIB);
        stored(&device);
        let more = format!(r#","io_engine":"{engine}","meta_checkpoint_interval_sec":1,"meta_idle_quiet_ms":0"#);
        let mut command = l2(&spec(&device, &more), &["--only", "store", "--rounds", "100"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let progress = lines.map_while(Result::ok).find(|line| line.contains("Round 20:"));
        child.kill().unwrap();
        child.wait().unwrap();
        // Workers of the kernel's ring hold the lock a little longer than the process lives.
        let held = File::open(&device).unwrap();
        held.lock().unwrap();
        held.unlock().unwrap();
        assert!(progress.is_some());
        let flags = ["--only", "load", "--rounds", "100", "--no-skip-verify"];
        let (output, value) = json(&mut l2(&spec(&device, ""), &flags));
        // Objects that the checkpoint names are complete; the rest is reported as missing.
        assert!(found(&value) >= 8 && found(&value) < 800, "{value}");
        assert_eq!(value["metrics"]["verify"]["bad"], 0);
        assert_eq!(value["metrics"]["detail_0"]["keys_failed"], 0);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("not found"));
    }
}

#[test]
fn too_little_lockable_memory_is_warned_about() {
    let dir = Dir::new();
    let device = device(&dir, 4 * MIB);
    let direct = spec(&device, r#","io_engine":"io_uring""#).replace("\"use_odirect\":false", "\"use_odirect\":true");
    let plain = l2(&direct, &["--format", "json"]);
    let limits = ["--memlock=65536:65536", "setpriv", "--bounding-set=-ipc_lock"];
    let mut limited = Command::new("prlimit");
    limited.args(limits).arg(plain.get_program()).args(plain.get_args());
    let Ok(output) = limited.output() else {
        println!("skipped: no prlimit");
        return;
    };
    let Ok(value) = serde_json::from_slice::<Value>(&output.stdout) else {
        println!("skipped: {}", stderr(&output));
        return;
    };
    assert!(output.status.success());
    let path = value["metrics"]["detail_0"]["io_path"].as_str().unwrap();
    assert_eq!(
        warning_codes(&value["metrics"]).contains(&"registered-buffers-refused"),
        !path.contains("registered"),
        "{value}"
    );
    assert!(path.starts_with("io_uring, O_DIRECT"), "{path}");
}
