//! multi-round-chat in virtual time: whose turn it is when a session is busy.

use super::*;
use crate::engine::testing::finished as finished_request;
use crate::engine::testing::offer;

fn chat(more: &[&str]) -> Box<dyn Workload> {
    let settings = [
        "--workload",
        "multi-round-chat",
        "--kv-cache-volume",
        "4",
        "--mrc-shared-prompt-length",
        "50",
        "--mrc-chat-history-length",
        "50",
        "--mrc-user-input-length",
        "1",
        "--mrc-output-length",
        "2",
        "--mrc-qps",
        "10",
        "--mrc-duration",
        "2.5",
    ];
    let config = crate::engine::testing::config(&[&settings[..], more].concat());
    create(&config, &Tokenizer::Words(None)).unwrap()
}

/// When each request is sent if session 0 answers after a second and the others at once.
fn with_a_slow_session(workload: &mut dyn Workload) -> Vec<(u128, String)> {
    let mut now = Duration::ZERO;
    let mut in_flight: Vec<(Duration, Finished)> = Vec::new();
    let mut sent = Vec::new();
    workload.begin(Phase::Measured);
    loop {
        let (ended, going): (Vec<_>, Vec<_>) = in_flight.into_iter().partition(|(ends, _)| *ends <= now);
        in_flight = going;
        let finished: Vec<Finished> = ended.into_iter().map(|(_, finished)| finished).collect();
        match workload.step(now, &finished) {
            Step::Send(request) => {
                let takes = Duration::from_millis(if request.id.starts_with("s0_") { 1000 } else { 1 });
                sent.push((now.as_millis(), request.id.clone()));
                let ended = finished_request(request.id, "");
                in_flight.push((now + takes, ended));
            }
            Step::SleepUntil(then) => now = then,
            Step::Await | Step::AwaitUntil(_) => panic!("a timetable does not wait for requests"),
            Step::Done => return sent,
        }
    }
}

#[test]
fn one_busy_session_holds_up_all_as_in_the_reference() {
    let sent = with_a_slow_session(chat(&[]).as_mut());
    let first: Vec<u128> = sent.iter().map(|(at, _)| *at).take(5).collect();
    // Nothing from 0.3 s until the slow answer ended at 1 s, then the missed turns at once.
    assert_eq!(first, [0, 100, 200, 300, 1000]);
    assert!(sent.len() < 16, "{sent:?}");
    assert_eq!(sent[5].0, 1000);
}

#[test]
fn free_sessions_take_the_turn_of_a_busy_one_by_flag() {
    let mut workload = chat(&["--mrc-pacing", "free-session"]);
    let sent = with_a_slow_session(workload.as_mut());
    let times: Vec<u128> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, (0..25).map(|turn| turn * 100).collect::<Vec<u128>>());
    assert_eq!(workload.skipped(), Skipped::default());
    assert!(sent.iter().filter(|(_, id)| id.starts_with("s0_")).count() >= 2);
}

#[test]
fn turns_without_a_free_session_are_left_out_and_counted_by_flag() {
    let mut workload = chat(&["--mrc-pacing", "free-session", "--kv-cache-volume", "1"]);
    let sent = with_a_slow_session(workload.as_mut());
    let times: Vec<u128> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 1000, 2000]);
    assert_eq!(workload.skipped().turns, 22);
}

#[test]
fn a_closed_loop_with_more_places_than_sessions_waits_for_an_answer() {
    for pacing in ["free-session", "blocking"] {
        let load = ["--max-concurrency", "4", "--duration", "9s"];
        let mut workload = chat(&[&["--mrc-pacing", pacing, "--kv-cache-volume", "1"][..], &load].concat());
        workload.offer(offer(&load));
        workload.begin(Phase::Measured);
        let Step::Send(first) = workload.step(Duration::ZERO, &[]) else {
            panic!("the only session is free")
        };
        assert_eq!(workload.step(Duration::ZERO, &[]), Step::Await);
        let answered = [finished_request(first.id, "")];
        let step = workload.step(Duration::from_secs(1), &answered);
        assert!(matches!(step, Step::Send(_)), "{step:?}");
        assert_eq!(workload.skipped().turns, 0);
    }
}
