//! The order of sending in virtual time, and what is sent.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::engine::testing::{config, finished, offer};
use crate::engine::workload::{Finished, Phase, Step};

#[test]
fn keys_that_are_not_used_are_shown_with_the_word_that_there_are_others() {
    for (keys, shown) in [(8, "k7\n"), (9, "k7 and others\n")] {
        let keys: String = (0..keys).map(|key| format!(r#""k{key}":0,"#)).collect();
        let banner = workload(&format!(r#"{{{keys}"prompt":"a","max_tokens":1}}"#), 1).banner();
        let text = banner.render(false);
        assert!(text.contains("k0, k1") && text.contains(shown), "{text}");
    }
}

/// A workload of this file.
fn workload(text: &str, in_flight: u64) -> Box<dyn Workload> {
    let prompts = Prompts {
        bodies: Bodies::new(&config(&["--workload", "custom", "--prompts", "p"])),
        path: "p".into(),
        in_flight,
        loaded: read(text.as_bytes(), usize::MAX, Endpoint::Chat, None).unwrap(),
        warnings: Vec::new(),
    };
    if prompts.loaded.sessions > 0 {
        return Box::new(Sessions::new(prompts));
    }
    let body_bytes = prompts.body_bytes();
    Box::new(Window::new(prompts, body_bytes))
}

/// When each request is sent, in milliseconds, if the answer to a line takes so many; 10 where none is given.
fn sent(workload: &mut dyn Workload, answers: &[(&str, u64)]) -> Vec<(u128, String)> {
    let answers: HashMap<&str, u64> = answers.iter().copied().collect();
    let mut now = Duration::ZERO;
    let mut in_flight: Vec<(Duration, String)> = Vec::new();
    let mut sent = Vec::new();
    workload.begin(Phase::Measured);
    loop {
        let ended: Vec<Finished> = in_flight
            .extract_if(.., |(ends, _)| *ends <= now)
            .map(|(_, id)| finished(id, ""))
            .collect();
        let first_end = in_flight.iter().map(|(ends, _)| *ends).min();
        match workload.step(now, &ended) {
            Step::Send(request) => {
                let takes = answers.get(request.id.as_str()).copied().unwrap_or(10);
                sent.push((now.as_millis(), request.id.clone()));
                in_flight.push((now + Duration::from_millis(takes), request.id));
            }
            Step::SleepUntil(then) => {
                assert!(then > now && in_flight.is_empty(), "nothing else to wait for");
                now = then;
            }
            Step::AwaitUntil(then) => now = first_end.expect("something in flight").min(then),
            Step::Await => now = first_end.expect("something in flight"),
            Step::Done => return sent,
        }
    }
}

fn times(sent: &[(u128, String)]) -> Vec<(u128, &str)> {
    sent.iter().map(|(at, id)| (*at, id.as_str())).collect()
}

#[test]
fn without_sessions_lines_go_in_the_order_of_the_file() {
    let line = r#"{"prompt":"p","max_tokens":1}"#;
    let mut workload = workload(&format!("{line}\n\n{line}\n{line}\n"), 2);
    let plan = workload.plan();
    assert_eq!((plan.requests, plan.streams, plan.tokens_per_answer), (3, 2, 1));
    let sent = sent(workload.as_mut(), &[("line_1", 30)]);
    assert_eq!(times(&sent), [(0, "line_1"), (0, "line_3"), (10, "line_4")]);
    workload.begin(Phase::Warmup);
    assert_eq!(workload.step(Duration::ZERO, &[]), Step::Done, "no warmup");
}

/// Six lines: a1 b1 a2 x b2 a3, of which a2 has a delay of 50 ms after a1.
const MIXED: &str = r#"{"prompt":"a1","max_tokens":1,"session":"a","delay":5000}
{"prompt":"b1","max_tokens":2,"session":"b"}
{"prompt":"a2","max_tokens":3,"session":"a","delay":50}
{"prompt":"x","max_tokens":4}
{"prompt":"b2","max_tokens":5,"session":"b"}
{"prompt":"a3","max_tokens":6,"session":"a"}
"#;

#[test]
fn a_session_waits_for_its_answer_and_its_delay() {
    let mut workload = workload(MIXED, 9);
    let plan = workload.plan();
    assert_eq!((plan.requests, plan.streams, plan.tokens_per_answer), (6, 3, 4));
    let slow_b = sent(workload.as_mut(), &[("line_2", 100)]);
    let expected = [
        (0, "line_1"),
        (0, "line_2"),
        (0, "line_4"),
        (60, "line_3"),
        (70, "line_6"),
        (100, "line_5"),
    ];
    assert_eq!(times(&slow_b), expected);
    workload.begin(Phase::Warmup);
    assert_eq!(workload.step(Duration::ZERO, &[]), Step::Done, "no warmup");
}

#[test]
fn one_at_a_time_takes_the_first_line_that_may_go() {
    let sent = sent(workload(MIXED, 1).as_mut(), &[]);
    let expected = [
        (0, "line_1"),
        (10, "line_2"),
        // The delay of the third line ends at 60.
        (20, "line_4"),
        (30, "line_5"),
        (60, "line_3"),
        (70, "line_6"),
    ];
    assert_eq!(times(&sent), expected);
}

/// Two lines of a session, the second of which comes so many milliseconds after the answer to the first.
fn pair(delay_ms: u64) -> String {
    let line = r#"{"prompt":"p","max_tokens":1,"session":"a""#;
    format!("{line}}}\n{line},\"delay\":{delay_ms}}}\n")
}

#[test]
fn in_an_open_loop_a_delay_begins_at_the_end_of_the_answer() {
    let mut workload = workload(&pair(5000), 9);
    workload.offer(offer(&[
        "--request-rate",
        "0.1",
        "--arrival",
        "constant",
        "--num-requests",
        "2",
    ]));
    let sent = sent(workload.as_mut(), &[("line_1", 1000)]);
    assert_eq!(
        times(&sent),
        [(0, "line_1"), (10_000, "line_2")],
        "free at 6 s, due at 10 s"
    );
}

#[test]
fn a_delay_beyond_the_end_is_not_waited_for() {
    let mut workload = workload(&pair(3_600_000), 9);
    workload.offer(offer(&["--max-concurrency", "4", "--duration", "10s"]));
    assert_eq!(times(&sent(workload.as_mut(), &[])), [(0, "line_1")]);
    assert!(!workload.skipped().used_up);
    workload.begin(Phase::Measured);
    let Step::Send(first) = workload.step(Duration::ZERO, &[]) else {
        panic!("the first line may go")
    };
    let step = workload.step(Duration::from_millis(10), &[finished(&first.id, "")]);
    assert_eq!(step, Step::SleepUntil(Duration::from_secs(10)));
}

#[test]
fn bodies_have_the_prompts_as_given() {
    let text = r#"{"messages":[{"role":"developer", "content":"d"}],"max_tokens":2}
{"prompt":"p\u0041","max_tokens":3}
{"prompt_length":12,"max_tokens":4}"#;
    let mut workload = workload(text, 3);
    workload.begin(Phase::Measured);
    let mut bodies = Vec::new();
    while let Step::Send(request) = workload.step(Duration::ZERO, &[]) {
        let body = String::from_utf8(request.body).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        let start = r#"{"model":"m","stream":true,"messages":"#;
        let end = r#","stream_options":{"include_usage":true},"temperature":0.0}"#;
        let middle = body.strip_prefix(start).and_then(|body| body.strip_suffix(end));
        bodies.push(middle.expect("the other fields").to_owned());
    }
    assert_eq!(
        bodies,
        [
            r#"[{"role":"developer", "content":"d"}],"max_tokens":2"#,
            r#"[{"role":"user","content":"pA"}],"max_tokens":3"#,
            r#"[{"role":"user","content":"Request 00000003: hi hi"}],"max_tokens":4"#,
        ]
    );
}
