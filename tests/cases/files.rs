//! Input files named by a flag, a spec or the environment: pipes, endless devices, and Ctrl-C while waiting for a pipe.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::support::{Dir, bench, stderr};

fn pipe(dir: &Dir) -> PathBuf {
    let path = dir.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// A command for every flag, spec field and variable that names a file to be read as a whole.
fn commands(path: &Path) -> Vec<(&'static str, Command)> {
    let text = path.display().to_string();
    let engine = |more: &[&str]| {
        let mut command = bench();
        command.env_remove("SSL_CERT_FILE").args(["engine"]).args(more);
        command
    };
    let complete = [
        "--engine-url=https://127.0.0.1:9",
        "--model=m",
        "--workload=random-prefill",
        "--tokens-per-gb-kvcache=1000",
        "--no-interactive",
    ];
    let with = |flag: &'static str| engine(&[&complete[..], &[flag, &text]].concat());
    let l2 = |spec: &str, more: &[&str]| {
        let mut command = bench();
        command.args(["l2", "--num-keys=1", "--data-size-kb=4", "-q", "--l2-adapter", spec]);
        command.args(more);
        command
    };
    let aesgcm = r#""serde":{"type":"aesgcm","key_provider":"hkdf","master_key_path":"#;
    let encrypted = format!(r#"{{"type":"mock","max_size_gb":0.1,"mock_bandwidth_gb":1,{aesgcm}"{text}"}}}}"#);
    let s3 = r#""type":"s3","s3_endpoint":"s3://127.0.0.1:9/b","s3_region":"r""#;
    let trusting = format!(r#"{{{s3},"aws_access_key_id":"a","aws_secret_access_key":"b","tls_ca_file":"{text}"}}"#);
    let mut authorities = engine(&complete);
    authorities.env("SSL_CERT_FILE", path);
    let mut credentials = l2(&format!("{{{s3}}}"), &[]);
    credentials
        .env("AWS_SHARED_CREDENTIALS_FILE", path)
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let mut mock = bench();
    mock.args(["mock", "engine", "--port=0", "--tokenizer", &text]);
    vec![
        ("tokenizer of the mock", mock),
        ("config", engine(&["--config", &text])),
        ("tokenizer", with("--tokenizer")),
        ("authorities", authorities),
        ("master key", l2(&encrypted, &["--apply-serde"])),
        ("tls_ca_file", l2(&trusting, &[])),
        ("credentials", credentials),
    ]
}

fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Returns once the program has `path` open.
fn has_opened(child: &mut Child, path: &Path) {
    let folder = format!("/proc/{}/fd", child.id());
    loop {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended without a look at the pipe"
        );
        let mut open = fs::read_dir(&folder).unwrap().flatten();
        if open.any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path)) {
            return;
        }
        thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_the_wait_for_a_writer() {
    for (writes, signal, code) in [(false, "-INT", 130), (true, "-TERM", 143)] {
        let dir = Dir::new();
        let path = pipe(&dir);
        for (what, command) in commands(&path) {
            let mut child = start(command);
            has_opened(&mut child, &path);
            // The same for a writer that pauses.
            let writer = writes.then(|| {
                let mut file = fs::File::options().write(true).open(&path).unwrap();
                file.write_all(b"{").unwrap();
                file
            });
            let pid = child.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{what}: {}", stderr(&output));
            assert_eq!(stderr(&output).lines().count(), 1, "{what}: {}", stderr(&output));
            drop(writer);
        }
    }
}

#[test]
fn endless_devices_are_refused() {
    for (what, command) in commands(Path::new("/dev/zero")) {
        let output = start(command).wait_with_output().unwrap();
        let message = stderr(&output);
        assert!(
            message.contains("/dev/zero") && (message.contains("it is larger than") || message.contains("too long")),
            "{what}: {message}"
        );
        assert!(matches!(output.status.code(), Some(1 | 2)), "{what}: {message}");
        assert_eq!(message.lines().count(), 1, "{what}: {message}");
    }
}

/// Writes a config file, then runs `shell`: `$0` is the file, `$1` the program, `$2` the file to write.
fn exported(shell: &str) -> Output {
    let dir = Dir::new();
    let config = dir.join("config.json");
    let text = r#"{"model":"m","workload":"random-prefill","tokens_per_gb_kvcache":1000,"rp_num_requests":7}"#;
    fs::write(&config, text).unwrap();
    let out = dir.join("out.json");
    let mut command = Command::new("bash");
    command
        .args(["-c", shell])
        .arg(&config)
        .arg(env!("CARGO_BIN_EXE_lmcache-bench"));
    let output = command.arg(&out).output().unwrap();
    let written = fs::read_to_string(&out).unwrap_or_default();
    assert!(
        written.contains("\"rp_num_requests\": 7"),
        "{shell}: {} {written}",
        stderr(&output)
    );
    output
}

#[test]
fn process_substitution_works() {
    for shell in [
        r#"exec "$1" engine --engine-url x --export-config "$2" --config <(cat "$0")"#,
        r#"cat "$0" | "$1" engine --engine-url x --export-config "$2" --config /dev/stdin"#,
        r#"exec "$1" engine --engine-url x --export-config "$2" --config /dev/stdin < "$0""#,
    ] {
        assert!(exported(shell).status.success(), "{shell}");
    }
}

/// The tokenizers library panics on this file.
#[test]
fn a_tokenizer_on_which_the_library_panics_is_one_message() {
    for name in ["tokenizer-truncated-decoder.json", "tokenizer-bad-base64.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/engine/hostile")
            .join(name);
        for (what, command) in commands(&path) {
            if !what.starts_with("tokenizer") {
                continue;
            }
            let output = start(command).wait_with_output().unwrap();
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{what}: {message}");
            assert_eq!(message.lines().count(), 1, "{what}: {message}");
            assert!(
                message.contains(name) && message.contains("--tokenizer"),
                "{what}: {message}"
            );
        }
    }
}
