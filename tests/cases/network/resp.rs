//! The `resp` adapter.

use std::process::Command;
use std::thread;
use std::time::Instant;

use super::{refused, run, wire};
use crate::support::mock_server::DEADLINE;
use crate::support::resp_server::{Instead, RespServer};
use crate::support::{stderr, warning_codes};

fn error(text: &'static str) -> Option<Instead> {
    Some(Instead::Reply(format!("-{text}\r\n")))
}

#[test]
fn keys_and_values_go_over_the_wire_as_lmcaches() {
    let server = RespServer::obedient();
    let spec = server.spec(r#""num_workers":2,"username":"u","password":"hunter2""#);
    let (code, metrics, text) = run(&spec, &["--lookup-max-hit-rate", "0.5"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(metrics["verify"]["good"], 8);
    assert_eq!(metrics["op_1"]["total_success"], 4);
    assert_eq!(metrics["detail_0"]["io_path"], "RESP2, 2 connections, no pipelining");
    assert_eq!(
        server.seen("AUTH"),
        [["AUTH", "u", "hunter2"], ["AUTH", "u", "hunter2"]]
    );
    let mut stored = server.seen("SET");
    stored.sort();
    let expected: Vec<Vec<String>> = (0..8).map(|index| vec!["SET".to_owned(), wire(index)]).collect();
    assert_eq!(stored, expected);
    assert_eq!(server.value(&wire(7)).unwrap().len(), 16_384);
    assert_eq!((server.seen("EXISTS").len(), server.seen("GET").len()), (8, 8));
    assert!(!text.contains("hunter2"), "a password was printed: {text}");
    assert!(text.contains(r#"\"password\":\"***\""#), "{text}");
}

#[test]
fn a_pipeline_is_named_and_moves_the_same() {
    let server = RespServer::obedient();
    let (code, metrics, text) = run(
        &server.spec(r#""num_workers":1,"pipeline":3"#),
        &["--lookup-max-hit-rate", "1"],
    );
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(metrics["detail_2"]["io_path"], "RESP2, 1 connections, pipeline of 3");
    assert_eq!((&metrics["verify"]["good"], server.seen("SET").len()), (&8.into(), 8));
}

#[test]
fn a_pipeline_with_answers_that_are_no_values_stays_in_step() {
    let server = RespServer::obedient();
    let spec = server.spec(r#""num_workers":1,"pipeline":4"#);
    assert_eq!(run(&spec, &["--only", "store"]).0, Some(0));
    server.forget(&wire(1));
    server.put(&wire(2), vec![1; 100]);
    server.put(&wire(6), vec![1; 20_000]);
    let (code, metrics, text) = run(&spec, &["--only", "load"]);
    assert_eq!(code, Some(1));
    let detail = &metrics["detail_0"];
    let counts = [&detail["keys_missing"], &detail["keys_short"], &detail["keys_failed"]];
    assert_eq!(counts, [1, 1, 1], "{text}");
    assert_eq!(
        (&metrics["verify"]["good"], &metrics["verify"]["bad"]),
        (&5.into(), &0.into())
    );
}

#[test]
fn wrong_credentials_and_unreachable_servers_end_the_run_before_it_begins() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "AUTH" => error("WRONGPASS invalid username-password pair or user is disabled."),
        _ => None,
    });
    let (code, text) = refused(&server.spec(r#""password":"hunter2""#));
    let address = format!("127.0.0.1:{}", server.port);
    assert_eq!(code, Some(1));
    assert!(
        text.starts_with("[Init] Failed to create adapter: could not log in to 127.0.0.1:"),
        "{text}"
    );
    assert!(
        text.contains(&address) && text.contains("correct username and password"),
        "{text}"
    );
    assert!(!text.contains("hunter2") && text.lines().count() == 1, "{text}");

    // Nothing listens on port 1.
    let (code, text) = refused(r#"{"type":"resp","host":"127.0.0.1","port":1}"#);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("could not connect to 127.0.0.1:1: Connection refused"),
        "{text}"
    );

    let (code, text) = refused(r#"{"type":"resp","host":"127.0.0.1","port":70000}"#);
    assert!(code == Some(1) && text.contains("70000 is not a TCP port"), "{text}");
}

#[test]
fn a_missing_password_fails_each_key() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "AUTH" => None,
        _ => error("NOAUTH Authentication required."),
    });
    let (code, metrics, text) = run(&server.spec(""), &["--only", "store"]);
    assert_eq!((code, &metrics["op_0"]["total_success"]), (Some(1), &0.into()));
    assert!(text.contains("NOAUTH") && text.contains("give the password"), "{text}");
}

#[test]
fn refused_stores_fail_their_keys_alone() {
    for (text, advice) in [
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            "raise maxmemory",
        ),
        (
            "READONLY You can't write against a read only replica.",
            "name its primary",
        ),
        ("MOVED 866 127.0.0.1:1", "use type valkey with cluster_mode true"),
    ] {
        let server = RespServer::scripted(move |words, _| match words[0].as_str() {
            "SET" if words[1] == wire(2) => error(text),
            _ => None,
        });
        let (code, metrics, text) = run(&server.spec(""), &["--only", "store"]);
        assert_eq!(code, Some(1), "{text}");
        assert_eq!(
            (&metrics["op_0"]["total_success"], &metrics["detail_0"]["keys_failed"]),
            (&7.into(), &1.into())
        );
        assert!(
            text.contains(advice) && text.contains(&format!("127.0.0.1:{}", server.port)),
            "{text}"
        );
        assert_eq!(
            metrics["detail_0"]["moved_mb"].as_f64().unwrap(),
            0.11,
            "only what was stored counts"
        );
    }
}

#[test]
fn an_answer_other_than_ok_is_not_a_store() {
    for (reply, shown) in [
        (":1\r\n", "the answer to SET is :1 instead of +OK"),
        ("+QUEUED\r\n", "the answer to SET is +QUEUED instead of +OK"),
        ("$2\r\nOK\r\n", "the answer to SET is the value \"OK\" instead of +OK"),
        ("$-1\r\n", "the answer to SET is nil instead of +OK"),
        ("*1\r\n+OK\r\n", "the answer to SET is an array of 1 instead of +OK"),
        ("+ok\r\n", "the answer to SET is +ok instead of +OK"),
        (
            "HTTP/1.1 400\r\n",
            "the answer is not RESP: it begins with \"HTTP/1.1 400\"",
        ),
        ("\x15\x03\x01\0\x02\x02F", "the server speaks TLS there"),
    ] {
        let server = RespServer::scripted(move |words, _| match words[0].as_str() {
            "SET" => Some(Instead::Reply(reply.to_owned())),
            _ => None,
        });
        let (code, metrics, text) = run(&server.spec(r#""num_workers":1"#), &["--only", "store"]);
        assert_eq!(
            (code, &metrics["op_0"]["total_success"]),
            (Some(1), &0.into()),
            "{reply}: {text}"
        );
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[test]
fn an_answer_that_came_is_not_asked_for_twice() {
    let server = RespServer::scripted(|words, before| {
        (words[0] == "SET" && before == 3).then(|| Instead::Reply("+QUEUED\r\n".to_owned()))
    });
    let (code, metrics, text) = run(&server.spec(r#""num_workers":1"#), &["--only", "store"]);
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &7.into()),
        "{text}"
    );
    assert_eq!(server.seen("SET").len(), 8);
    assert!(!warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
}

#[test]
fn answers_to_other_commands_have_their_form_too() {
    for (name, reply, shown) in [
        ("EXISTS", "+OK\r\n", "the answer to EXISTS is +OK instead of :0 or :1"),
        ("EXISTS", ":2\r\n", "the answer to EXISTS is :2 instead of :0 or :1"),
        ("EXISTS", "$-1\r\n", "the answer to EXISTS is nil"),
        ("GET", "+OK\r\n", "the answer to GET is +OK instead of a value or nil"),
        ("GET", ":1\r\n", "the answer to GET is :1 instead of a value or nil"),
    ] {
        let server = RespServer::scripted(move |words, _| (words[0] == name).then(|| Instead::Reply(reply.to_owned())));
        let only = if name == "GET" { "load" } else { "lookup" };
        let flags = ["--only", only, "--lookup-max-hit-rate", "1"];
        for more in [r#""num_workers":1"#, r#""num_workers":1,"pipeline":4"#] {
            let (code, metrics, text) = run(&server.spec(more), &flags);
            assert_eq!(
                (code, &metrics["op_0"]["total_success"]),
                (Some(1), &0.into()),
                "{text}"
            );
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }
}

#[test]
fn a_name_without_a_password_is_warned_about_from_both_sources() {
    let server = RespServer::obedient();
    let (code, metrics, text) = run(&server.spec(r#""username":"u""#), &["--only", "store"]);
    assert!(
        code == Some(0) && warning_codes(&metrics).contains(&"half-credentials"),
        "{text}"
    );
    assert!(text.contains("username is given without password"), "{text}");
}

#[test]
fn too_few_open_files_get_advice() {
    let server = RespServer::obedient();
    let spec = server.spec(r#""num_workers":64"#);
    let script = "ulimit -n 32; exec \"$@\"";
    let output = Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_lmcache-bench"),
            "l2",
            "--l2-adapter",
        ])
        .arg(spec)
        .output()
        .unwrap();
    let text = stderr(&output);
    assert!(output.status.code() == Some(1) && text.contains("ulimit -n"), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{}", server.port)), "{text}");
}

#[test]
fn a_connection_that_died_is_opened_again_once() {
    let server = RespServer::scripted(|words, before| match words[0].as_str() {
        "SET" if before == 3 => Some(Instead::Close),
        _ => None,
    });
    let (code, metrics, text) = run(&server.spec(r#""num_workers":1"#), &[]);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &8.into()), "{text}");
    assert!(warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
}

#[test]
fn a_server_that_goes_away_in_mid_phase_fails_the_rest_and_comes_back() {
    let server = RespServer::scripted(|words, before| match words[0].as_str() {
        "SET" if (3..7).contains(&before) => Some(Instead::Close),
        _ => None,
    });
    let (code, metrics, text) = run(&server.spec(r#""num_workers":1"#), &["--only", "store"]);
    assert_eq!(code, Some(1));
    let stored = metrics["op_0"]["total_success"].as_u64().unwrap();
    assert!((4..8).contains(&stored), "{text}");
    assert!(text.contains("the connection was closed"), "{text}");
    let held = (0..8).filter(|index| server.value(&wire(*index)).is_some()).count();
    assert_eq!(held as u64, stored, "what counts as stored is there");
}

#[test]
fn silence_is_a_timeout_that_names_the_address() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "GET" if words[1] == wire(5) => Some(Instead::Silence),
        _ => None,
    });
    let spec = server.spec(r#""num_workers":2,"request_timeout":3"#);
    let (code, metrics, text) = run(&spec, &[]);
    assert_eq!(
        (code, &metrics["op_2"]["total_success"]),
        (Some(1), &7.into()),
        "{text}"
    );
    assert!(
        text.contains("no answer in time") && text.contains("request_timeout"),
        "{text}"
    );
}

#[test]
fn silence_in_a_pipeline_is_waited_for_once() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "SET" if words[1] != wire(0) => Some(Instead::Silence),
        _ => None,
    });
    let spec = server.spec(r#""num_workers":1,"pipeline":8,"request_timeout":3"#);
    let (code, metrics, text) = run(&spec, &["--only", "store"]);
    // One was answered; the others of its pipeline waited together, and are not sent again.
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &1.into()),
        "{text}"
    );
    // The server may read the last ones after the client has given up.
    let begun = Instant::now();
    while server.seen("SET").len() < 8 && begun.elapsed() < DEADLINE {
        thread::yield_now();
    }
    assert_eq!(server.seen("SET").len(), 8);
    assert!(text.contains("no answer in time"), "{text}");
    assert!(!warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
}

#[test]
fn a_value_that_is_cut_off_is_not_loaded() {
    let server = RespServer::scripted(|words, _| match words[0].as_str() {
        "GET" if words[1] == wire(5) => Some(Instead::CutOff("$16384\r\nshort".to_owned())),
        _ => None,
    });
    for more in [r#""num_workers":1"#, r#""num_workers":1,"pipeline":4"#] {
        let (code, metrics, text) = run(&server.spec(more), &[]);
        assert_eq!(
            (code, &metrics["op_2"]["total_success"], &metrics["verify"]["bad"]),
            (Some(1), &7.into(), &0.into()),
            "{text}"
        );
        assert!(text.contains("the connection was closed"), "{text}");
    }
}

#[test]
fn values_of_another_length_are_not_loaded() {
    let server = RespServer::obedient();
    assert_eq!(run(&server.spec(""), &["--only", "store"]).0, Some(0));
    server.put(&wire(1), vec![1; 5000]);
    server.put(&wire(2), vec![1; 50_000]);
    server.forget(&wire(3));
    let (code, metrics, text) = run(&server.spec(r#""num_workers":1"#), &["--only", "load"]);
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &5.into()),
        "{text}"
    );
    assert!(text.contains("truncated: it holds only 5000 of 16384 bytes"), "{text}");
    assert!(
        text.contains("the value is longer than asked for, 50000 instead of 16384 bytes"),
        "{text}"
    );
    assert!(text.contains("00000003.data: not found"), "{text}");
}

#[test]
fn damaged_values_are_seen_on_verification() {
    let server = RespServer::obedient();
    assert_eq!(run(&server.spec(""), &["--only", "store"]).0, Some(0));
    let mut value = server.value(&wire(4)).unwrap();
    value[5000] ^= 1;
    server.put(&wire(4), value);
    let (code, metrics, text) = run(&server.spec(""), &["--only", "load"]);
    assert_eq!((code, &metrics["verify"]["corrupt"]), (Some(1), &1.into()), "{text}");
}
