//! The command line: how the program can be called, help, usage errors.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Dir, bench, l2, stderr, stdout};

#[test]
fn a_leading_bench_and_a_symlink_named_lmcache_replace_the_reference() {
    let dir = Dir::new();
    let store = dir.join("store");
    let link = dir.join("lmcache");
    symlink(env!("CARGO_BIN_EXE_lmcache-bench"), &link).unwrap();
    let spec = crate::support::fs_spec(&store);
    let flags = [
        "l2",
        "--l2-adapter",
        &spec,
        "--num-keys",
        "2",
        "--data-size-kb",
        "4",
        "-q",
    ];
    assert!(
        Command::new(&link)
            .arg("bench")
            .args(flags)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(bench().arg("bench").args(flags).output().unwrap().status.success());
}

#[test]
fn the_environment_supplies_the_adapter() {
    let dir = Dir::new();
    let spec = crate::support::fs_spec(&dir.join("store"));
    let output = bench()
        .args(["l2", "--num-keys", "2", "--only", "store", "-q"])
        .env("L2_ADAPTER_JSON", spec)
        .output();
    assert!(output.unwrap().status.success());
    assert_eq!(dir.names("store").len(), 4);
}

#[test]
fn a_message_that_cannot_be_written_keeps_the_exit_code() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = bench().args(["l2", "--num-kyes"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn usage_errors_exit_2_with_one_message_and_no_output() {
    let dir = Dir::new();
    let cases: [(&[&str], &str); 8] = [
        (&["--num-keys", "0"], "--num-keys"),
        (&["--num-keys", "1e3"], "--num-keys"),
        (&["--data-size-kb", "99999999999999"], "--data-size-kb"),
        (&["--data-size-kb", "3", "--l1-align-bytes", "4096"], "--l1-align-bytes"),
        (&["--rounds", "-1"], "--rounds"),
        (&["--only", "delete"], "--only"),
        (&["--format", "xml"], "--format"),
        (&["--num-kesy", "3"], "--num-keys"),
    ];
    for (flags, expected) in cases {
        let output = l2(&dir.join("never")).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(expected), "{flags:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{flags:?}");
    }
    assert!(!dir.join("never").exists(), "a usage error must not touch the store");
}

#[test]
fn too_much_memory_is_refused_before_it_is_allocated() {
    let dir = Dir::new();
    let output = l2(&dir.join("never"))
        .args(["--num-keys", "100000000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("memory"), "{}", stderr(&output));
}

/// Every flag of docs/cli.md is in the help of its command, in both forms, within 80 columns.
#[test]
fn the_help_of_every_command_has_every_flag() {
    let documented = include_str!("../../docs/cli.md");
    let (mut commands, mut flags) = (Vec::new(), 0);
    for section in documented.split("\n## lmcache-bench").skip(1) {
        let (command, body) = section.split_once('\n').unwrap();
        let headings = body.lines().filter_map(|line| line.strip_prefix("#### `"));
        let words = headings.flat_map(|heading| heading.trim_end_matches('`').split([' ', ',']));
        let names: Vec<&str> = words.filter(|word| word.starts_with('-')).collect();
        assert!(names.contains(&"--help"), "{command}: {names:?}");
        for form in ["-h", "--help"] {
            let output = bench().args(command.split_whitespace()).arg(form).output().unwrap();
            let help = stdout(&output);
            assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{command} {form}");
            let terms = help.lines().filter(|line| line.starts_with("  -"));
            let printed: Vec<&str> = terms.flat_map(|line| line.split([' ', ','])).collect();
            for name in &names {
                let positive = name.replacen("--no-", "--", 1);
                let both = positive.replacen("--", "--[no-]", 1);
                let shown = printed.contains(name) || (form == "-h" && printed.contains(&both.as_str()));
                assert!(shown, "{command} {form} lacks {name}");
                flags += 1;
            }
        }
        commands.push(command.trim());
    }
    let expected = ["", "engine", "server", "l2", "report", "mock engine", "mock server"];
    assert_eq!(commands, expected);
    assert!(flags > 250, "{flags} flags");
}
