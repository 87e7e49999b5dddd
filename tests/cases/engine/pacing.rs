//! Concurrency and schedules are exactly those of the workload.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use lmcache_bench::engine::wire::line::Timeouts;
use lmcache_bench::engine::workload::{Finished, Phase, Plan, Request, Step, Workload};
use lmcache_bench::report::banner::Banner;

use super::{Listed, run, runner, timeouts};
use crate::support::script::{After, ScriptServer, good_answer};

/// The server answers only when four requests are waiting, so the window has to be full, and it must not be exceeded.
#[test]
fn a_window_is_filled_and_not_exceeded() {
    const WINDOW: usize = 4;
    let (all_here, now, most) = (Barrier::new(WINDOW), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen_most = Arc::clone(&most);
    let server = ScriptServer::start(move |_, stream| {
        seen_most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        all_here.wait();
        now.fetch_sub(1, Ordering::SeqCst);
        all_here.wait();
        good_answer(stream, 2);
        After::Keep
    });
    let bodies: Vec<String> = (0..5 * WINDOW).map(|number| number.to_string()).collect();
    let samples = run(server.url(), &mut Listed::new(&bodies, WINDOW));
    assert_eq!(samples.records.len(), bodies.len());
    assert_eq!(
        (most.load(Ordering::SeqCst), samples.in_flight_peak),
        (WINDOW, WINDOW as u64)
    );
}

/// Requests, each with its scheduled time and the time at which it may be sent.
struct Timetable(Vec<(Duration, Duration)>);

impl Workload for Timetable {
    fn banner(&self) -> Banner {
        Banner::new("timetable", 0)
    }

    fn plan(&self) -> Plan {
        Plan {
            streams: 1,
            tokens_per_answer: 1,
            body_bytes: 0,
            requests: 2,
            requests_per_second: Some(1.0),
        }
    }

    fn begin(&mut self, _: Phase) {}

    fn step(&mut self, elapsed: Duration, _: &[Finished]) -> Step {
        let Some(&(due, not_before)) = self.0.first() else {
            return Step::Done;
        };
        if elapsed < not_before {
            return Step::SleepUntil(not_before);
        }
        self.0.remove(0);
        Step::Send(Request {
            scheduled: Some(due),
            ..Request::new(format!("at{}", due.as_millis()), b"{}".to_vec(), 1)
        })
    }
}

#[test]
fn a_request_is_not_sent_early_and_keeps_its_scheduled_time() {
    let server = ScriptServer::start(|_, stream| {
        good_answer(stream, 1);
        After::Keep
    });
    let ms = Duration::from_millis;
    let mut runner = runner(server.url(), timeouts());
    let samples = runner.run(
        &mut Timetable(vec![(ms(20), ms(20)), (ms(25), ms(60))]),
        Phase::Measured,
    );
    // Records are in the order in which answers ended.
    let mut records: Vec<_> = samples.records.iter().collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    for (record, (due, not_before)) in records.iter().zip([(20.0, 20.0), (25.0, 60.0)]) {
        let since_begin = |stamp: lmcache_bench::engine::timestamp::Stamp| stamp.seconds_since(samples.began) * 1e3;
        assert_eq!(since_begin(record.scheduled), due);
        assert!(
            since_begin(record.dispatched) >= not_before,
            "{}",
            since_begin(record.dispatched)
        );
        assert!(record.scheduled_ttft_s().unwrap() * 1e3 >= not_before - due);
        assert!(record.lateness_s() * 1e3 >= not_before - due);
    }
    assert_eq!(samples.records.len(), 2);
}

/// Before the first request, which takes one, and again whenever a request takes one.
#[test]
fn spare_connections_are_opened_before_a_timetable_and_beside_its_requests() {
    const SPARE: usize = 4;
    for requests in [0, 1, 3] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Connections wait in the listener's queue until they are counted, and nobody answers.
        let limits = Timeouts {
            first_token: Duration::from_millis(1),
            ..timeouts()
        };
        let mut runner = runner(&url, limits);
        runner.spare_connections = SPARE;
        runner.open(1).unwrap();
        let at_once = (Duration::ZERO, Duration::ZERO);
        let samples = runner.run(&mut Timetable(vec![at_once; requests]), Phase::Measured);
        assert_eq!(samples.records.len(), requests);
        assert_eq!(
            (samples.connections_opened, samples.in_flight_peak),
            (0, requests as u64)
        );
        // Its workers end when their connections are open.
        drop(runner);
        assert_eq!(listener.incoming().map_while(Result::ok).count(), requests + SPARE);
    }
}
