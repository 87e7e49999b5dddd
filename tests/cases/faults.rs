//! Bad input and environment faults: one message, the documented exit code, no data lost, no temporary files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::support::{Dir, bench, fs_spec, l2, stderr, stdout};

fn spec_error(spec: &str) -> (Option<i32>, String) {
    let output = bench().args(["l2", "--l2-adapter", spec]).output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn bad_specs_exit_2_and_name_the_field() {
    let cases = [
        ("{", "Invalid JSON for --l2-adapter #1"),
        ("[]", "expected a JSON object, got list"),
        ("{}", "missing 'type' field"),
        (r#"{"type":"nope"}"#, "unknown adapter type 'nope'. Known: "),
        (r#"{"type":"fs"}"#, "base_path must be a non-empty string"),
        (r#"{"type":"fs","base_path":3}"#, "base_path must be a non-empty string"),
        (
            r#"{"type":"fs","base_path":"x","use_odirect":1}"#,
            "use_odirect must be a boolean",
        ),
        (
            r#"{"type":"mock","max_size_gb":-1,"mock_bandwidth_gb":1}"#,
            "max_size_gb must be a positive number",
        ),
    ];
    for (spec, expected) in cases {
        let (code, text) = spec_error(spec);
        assert_eq!(code, Some(2), "{spec}: {text}");
        assert!(
            text.starts_with("Error parsing L2 adapter config: ") && text.contains(expected),
            "{spec}: {text}"
        );
    }
    let output = bench().arg("l2").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("Error: No L2 adapter configuration provided.\n"));
}

#[test]
fn an_unknown_field_is_reported_with_the_nearest_name() {
    let dir = Dir::new();
    let spec = format!(
        r#"{{"type":"fs","base_path":"{}","use_odirct":true}}"#,
        dir.join("store").display()
    );
    let output = bench()
        .args(["l2", "--num-keys", "1", "--l2-adapter", &spec])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        stdout(&output).replace('\n', " ").contains("use_odirct"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_base_path_that_cannot_hold_objects_fails_at_creation() {
    let dir = Dir::new();
    let file = dir.join("file");
    fs::write(&file, "precious").unwrap();
    let output = l2(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("[Init] Failed to create adapter: "),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains(file.to_str().unwrap()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    for tmp in ["../out", "/abs", "a/../../b"] {
        let spec = format!(
            r#"{{"type":"fs","base_path":"{}","relative_tmp_dir":"{tmp}"}}"#,
            dir.join("s").display()
        );
        let (code, text) = spec_error(&spec);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("Invalid relative_tmp_dir: {tmp}")), "{text}");
    }
}

#[test]
fn a_directory_that_is_not_writable_fails_every_key() {
    let dir = Dir::new();
    let store = dir.join("store");
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(store.join("probe"), "").is_ok() {
        println!("skipped: this user may write to any directory");
        return;
    }
    let output = l2(&store).args(["--only", "store"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("check the permissions of base_path"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn files_of_other_programs_are_kept() {
    let dir = Dir::new();
    fs::create_dir(dir.join("store")).unwrap();
    fs::write(dir.join("store/notes.txt"), "mine").unwrap();
    assert!(l2(&dir.join("store")).arg("-q").output().unwrap().status.success());
    assert_eq!(fs::read_to_string(dir.join("store/notes.txt")).unwrap(), "mine");
}

/// A small tmpfs, if this user may mount one.
struct SmallFileSystem<'a>(&'a Dir);

impl SmallFileSystem<'_> {
    fn mount(dir: &Dir) -> Option<SmallFileSystem<'_>> {
        fs::create_dir(dir.join("small")).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.join("small"))
            .stderr(std::process::Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(SmallFileSystem(dir))
    }
}

impl Drop for SmallFileSystem<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.join("small")).status();
    }
}

#[test]
fn a_full_disk_leaves_no_partial_object() {
    let dir = Dir::new();
    let Some(_mounted) = SmallFileSystem::mount(&dir) else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let spec = fs_spec(&dir.join("small"));
    for engine in ["threads", "uring"] {
        let output = bench()
            .args([
                "l2",
                "--only",
                "store",
                "--data-size-kb",
                "300",
                "--num-keys",
                "8",
                "--l2-adapter",
                &spec,
            ])
            .args(["--io-engine", engine])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("free space or name another base_path"),
            "{}",
            stderr(&output)
        );
        assert!(
            stdout(&output).contains("Total success:"),
            "the report must come all the same"
        );
        for name in dir.names("small") {
            let bytes = fs::metadata(dir.join("small").join(&name)).unwrap().len();
            assert!(name.ends_with(".data") && bytes == 300 << 10, "{name}: {bytes}");
        }
    }
}

/// Stores two keys of 64 KiB under a limit that `ulimit` sets.
fn stored_under(limit: &str, spec: &str) -> Output {
    let script = format!("ulimit {limit}; exec \"$@\"");
    Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_lmcache-bench"), "l2"])
        .args(["--num-keys", "2", "--data-size-kb", "64", "--only", "store"])
        .args(["--l2-adapter", spec])
        .output()
        .unwrap()
}

#[test]
fn too_few_open_files_fail_keys_with_the_limit_to_raise() {
    let dir = Dir::new();
    let spec = crate::support::fs_spec(&dir.join("store"));
    // The fourth descriptor is the lock on the folder.
    let output = stored_under("-n 4", &spec);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let cause = "Too many open files (os error 24); raise this process's limit of open files (ulimit -n)";
    assert!(stderr(&output).contains(cause), "{}", stderr(&output));
}

#[test]
fn a_limit_on_file_sizes_fails_keys_and_not_the_process() {
    let dir = Dir::new();
    let spec = crate::support::fs_spec(&dir.join("store"));
    let output = stored_under("-f 8", &spec);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    assert!(dir.names("store").is_empty());
}

#[test]
fn two_runs_do_not_store_into_one_directory() {
    let dir = Dir::new();
    fs::create_dir(dir.join("store")).unwrap();
    let held = fs::File::open(dir.join("store")).unwrap();
    held.lock().unwrap();
    let output = l2(&dir.join("store")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another lmcache-bench"), "{}", stderr(&output));
}

#[test]
fn rounds_that_time_out_are_counted_not_measured() {
    let spec = r#"{"type":"mock","max_size_gb":0.1,"mock_bandwidth_gb":1,"store_latency_us":1750000}"#;
    let mut command = bench();
    command.args([
        "l2",
        "--only",
        "store",
        "--warmup-rounds",
        "0",
        "--round-timeout-s",
        "1",
        "--l2-adapter",
        spec,
        "--num-keys",
        "2",
    ]);
    let (output, value) = crate::support::json(&mut command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(value["metrics"]["op_0"]["rounds_timed_out"], 1);
    assert_eq!(value["metrics"]["op_0"]["rounds"], 0);
    assert!(stderr(&output).contains("TIMEOUT"), "{}", stderr(&output));
}

#[test]
fn a_load_that_finds_nothing_verifies_nothing() {
    let dir = Dir::new();
    let output = l2(&dir.join("store"))
        .args(["--only", "load", "--no-skip-verify"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("  [Verify] Nothing was loaded, so nothing could be verified.\n"),
        "{text}"
    );
    assert!(!text.contains("data verified OK"), "{text}");
}

#[test]
fn verification_without_loads_is_a_warning() {
    let dir = Dir::new();
    for only in ["store", "lookup"] {
        let mut command = l2(&dir.join("store"));
        command.args(["--only", only, "--no-skip-verify"]);
        let (output, value) = crate::support::json(&mut command);
        assert!(output.status.success(), "{only}: {}", stderr(&output));
        let codes = value["metrics"]["warnings"].to_string();
        assert!(codes.contains("nothing-to-verify"), "{only}: {codes}");
    }
}

#[test]
fn a_pipe_named_like_an_object_fails_its_key_without_blocking() {
    let dir = Dir::new();
    let store = dir.join("store");
    assert!(
        l2(&store)
            .args(["-q", "--only", "store"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let object = fs::read_dir(&store).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&object).unwrap();
    assert!(Command::new("mkfifo").arg(&object).status().unwrap().success());
    // If the pipe were opened, the load would wait for a writer and the round would time out, which the output would show.
    for (engine, expected) in [
        ("threads", "could not read"),
        ("uring", "truncated: it holds only 0 of"),
    ] {
        let output = l2(&store)
            .args(["--only", "load", "--io-engine", engine])
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{engine}: {text}");
        let name = object.file_name().unwrap().to_str().unwrap();
        assert!(text.contains(name) && text.contains(expected), "{engine}: {text}");
        assert!(!text.contains("TIMEOUT"), "{engine}: {text}");
    }
}
