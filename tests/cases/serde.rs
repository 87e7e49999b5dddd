//! `--apply-serde`: objects are encrypted on the way, and only the right key brings them back.

use std::fs;

use crate::support::{Dir, bench, json, stderr, stdout};

fn spec(dir: &Dir, key: &str, more: &str) -> String {
    let key_path = dir.join(key);
    if !key_path.exists() {
        fs::write(&key_path, key).unwrap();
    }
    format!(
        r#"{{"type":"fs","base_path":"{}","serde":{{"type":"aesgcm","master_key_path":"{}"{more}}}}}"#,
        dir.join("store").display(),
        key_path.display()
    )
}

fn l2(spec: &str, flags: &[&str]) -> std::process::Command {
    let mut command = bench();
    command.args([
        "l2",
        "--num-keys",
        "5",
        "--in-flight",
        "2",
        "--data-size-kb",
        "16",
        "--l2-adapter",
        spec,
    ]);
    command.args(flags);
    command
}

#[test]
fn encrypted_objects_come_back_with_the_right_key_only() {
    let dir = Dir::new();
    let right = spec(&dir, "right", r#","max_workers":3"#);
    let (output, report) = json(&mut l2(&right, &["--apply-serde", "--no-skip-verify"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let metrics = &report["metrics"];
    assert_eq!(metrics["verify"]["good"], 10);
    // One warmup and one measured round.
    assert_eq!(
        (
            &metrics["serde"]["encrypt_objects"],
            &metrics["serde"]["decrypt_objects"]
        ),
        (&20.into(), &20.into())
    );
    assert!(metrics["serde"]["encrypt_us_p50"].as_f64().unwrap() > 0.0);
    assert!(metrics["detail_0"]["io_path"].as_str().unwrap().ends_with(", aesgcm"));
    let codes = metrics["warnings"].to_string();
    assert!(!codes.contains("'serde'"), "{codes}");
    for name in dir.names("store") {
        let object = fs::read(dir.join("store").join(name)).unwrap();
        assert_eq!((object.len(), object[0]), (16 * 1024 + 29, 1));
    }

    let wrong = spec(&dir, "wrong", "");
    let output = l2(&wrong, &["--apply-serde", "--only", "load"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("its aesgcm tag does not match"),
        "{}",
        stderr(&output)
    );
    assert!(!stdout(&output).contains("loaded=10/10"));
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let dir = Dir::new();
    let fs = format!(r#""type":"fs","base_path":"{}""#, dir.join("store").display());
    let cases = [
        (format!("{{{fs}}}"), "the adapter JSON has no serde block"),
        (
            format!(r#"{{{fs},"serde":{{"type":"fp8"}}}}"#),
            "type 'fp8' cannot be applied here",
        ),
        (
            format!(r#"{{{fs},"serde":{{"type":"aesgcm"}}}}"#),
            "aesgcm serde 'hkdf' requires 'master_key_path'",
        ),
    ];
    for (spec, sentence) in cases {
        let output = l2(&spec, &["--apply-serde"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{spec}");
        assert!(stderr(&output).contains(sentence), "{}", stderr(&output));
    }
    fs::write(dir.join("empty"), "").unwrap();
    let output = l2(&spec(&dir, "empty", ""), &["--apply-serde"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the file is empty"), "{}", stderr(&output));
    // Without the flag a serde block changes nothing, and a note says so.
    let output = l2(&spec(&dir, "key", ""), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output)
            .replace('\n', " ")
            .contains("'serde' in the adapter JSON changes nothing")
    );
}
