//! Searches on systems with a sharp capacity, and on a queue with the noise of short probes.

use super::queue::Queue;
use super::*;
use crate::load::probe::Reason;
use crate::load::slo::Slo;

fn search(axis: Axis, start: f64) -> Search {
    Search::new(Settings {
        axis,
        start,
        probe_s: Some(10.0),
        confirm_s: Some(30.0),
        requests: None,
    })
}

fn failed() -> Outcome {
    Outcome::Failed(Reason::Errors { count: 1 })
}

/// Searches a system that holds every load up to `capacity`. Returns the loads of short probes and of full ones.
fn run(search: &mut Search, capacity: f64, mut left_s: f64) -> (Vec<f64>, Vec<f64>, Ended) {
    let (mut short, mut full) = (Vec::new(), Vec::new());
    loop {
        let (load, is_full) = match search.next(left_s) {
            Action::Probe(load) => (load, false),
            Action::Confirm(load) => (load, true),
            Action::Done(ended) => return (short, full, ended),
        };
        left_s -= if is_full { 30.0 } else { 10.0 };
        if is_full { &mut full } else { &mut short }.push(load);
        let outcome = if load <= capacity { Outcome::Passed } else { failed() };
        search.record(Probe { load, is_full, outcome });
    }
}

#[test]
fn it_doubles_bisects_and_confirms_both_ends() {
    let mut search = search(Axis::Rate, 1.0);
    let (short, full, ended) = run(&mut search, 5.1, f64::INFINITY);
    assert_eq!(short, [1.0, 2.0, 4.0, 8.0, 6.0, 5.0, 5.5, 5.25]);
    assert_eq!((&full[..], ended), (&[5.0, 5.25][..], Ended::Found));
    let bound = |load| {
        Some(Bound {
            load,
            is_confirmed: true,
        })
    };
    assert_eq!(
        search.answer(),
        Answer {
            holds: bound(5.0),
            fails: bound(5.25)
        }
    );
}

#[test]
fn a_start_that_fails_is_halved() {
    let (short, _, ended) = run(&mut search(Axis::Rate, 16.0), 3.0, f64::INFINITY);
    assert_eq!((&short[..4], ended), (&[16.0, 8.0, 4.0, 2.0][..], Ended::Found));
}

#[test]
fn concurrency_is_whole_and_ends_at_neighbours() {
    let mut search = search(Axis::Concurrency, 1.0);
    let (short, full, ended) = run(&mut search, 3.5, f64::INFINITY);
    assert_eq!((&short[..], &full[..]), (&[1.0, 2.0, 4.0, 3.0][..], &[3.0, 4.0][..]));
    assert_eq!(ended, Ended::Found);
}

#[test]
fn where_nothing_holds_or_everything_does_it_says_so() {
    let (short, full, ended) = run(&mut search(Axis::Concurrency, 2.0), 0.5, f64::INFINITY);
    assert_eq!(
        (&short[..], full.len(), ended),
        (&[2.0, 1.0][..], 0, Ended::NothingHolds)
    );
    let mut all = search(Axis::Concurrency, 40_000.0);
    let (short, full, ended) = run(&mut all, f64::INFINITY, f64::INFINITY);
    assert_eq!((&short[..], &full[..]), (&[40_000.0, 65_536.0][..], &[65_536.0][..]));
    assert_eq!((ended, all.answer().fails), (Ended::Most, None));
}

#[test]
fn the_budget_ends_it_with_the_best_so_far() {
    let mut search = search(Axis::Rate, 1.0);
    let (short, full, ended) = run(&mut search, 5.1, 45.0);
    assert_eq!(
        (&short[..], full.len(), ended),
        (&[1.0, 2.0, 4.0, 8.0][..], 0, Ended::Budget)
    );
    let answer = search.answer();
    assert_eq!(
        answer.holds,
        Some(Bound {
            load: 4.0,
            is_confirmed: false
        })
    );
    assert_eq!(answer.fails.unwrap().load, 8.0);
}

#[test]
fn a_load_that_is_not_confirmed_is_lowered() {
    let mut search = search(Axis::Rate, 100.0);
    let confirmed = loop {
        match search.next(f64::INFINITY) {
            Action::Probe(load) => {
                let outcome = if load <= 110.0 { Outcome::Passed } else { failed() };
                search.record(Probe {
                    load,
                    is_full: false,
                    outcome,
                });
            }
            Action::Confirm(load) => {
                let outcome = if load <= 100.0 { Outcome::Passed } else { failed() };
                search.record(Probe {
                    load,
                    is_full: true,
                    outcome,
                });
            }
            Action::Done(ended) => break ended,
        }
    };
    assert_eq!(confirmed, Ended::Found);
    let answer = search.answer();
    let (holds, fails) = (answer.holds.unwrap().load, answer.fails.unwrap().load);
    assert!((95.0..=100.0).contains(&holds) && fails <= holds * 1.06, "{answer:?}");
}

/// How many of thirty searches end within 5 % of the load that a very long measurement finds.
fn within_five_percent(queue: &Queue, probe_s: f64, confirm_s: f64) -> usize {
    let most = queue.servers as f64 / queue.service_s;
    let (mut low, mut high) = (0.1 * most, 1.2 * most);
    for _ in 0..12 {
        let middle = (low + high) / 2.0;
        if queue.probe(middle, 9, 50.0, 200_000.0 / most).is_passed() {
            low = middle;
        } else {
            high = middle;
        }
    }
    let ends = (0..30).filter(|seed| {
        let (search, _) = queue.search(*seed, most / 20.0, 3.0, probe_s, confirm_s);
        let holds = search.answer().holds;
        holds.is_some_and(|holds| (holds.load / low - 1.0).abs() <= 0.05)
    });
    ends.count()
}

#[test]
fn nine_of_ten_searches_of_a_queue_end_within_five_percent() {
    for (servers, service_s, text, probe_s) in [(4, 0.02, "ttft.p99=1s", 10.0), (8, 0.04, "ttft.p99=120ms", 30.0)] {
        let mut slo = Slo::default();
        slo.add(text).unwrap();
        let queue = Queue {
            servers,
            service_s,
            slo,
        };
        let close = within_five_percent(&queue, probe_s, 30.0);
        assert!(close >= 27, "{text}: {close} of 30");
    }
}

#[test]
fn a_number_of_requests_costs_its_time_at_the_load() {
    let settings = Settings {
        requests: Some(50),
        probe_s: None,
        ..search(Axis::Rate, 1.0).settings
    };
    let next = |settings: Settings, left_s: f64| Search::new(settings).next(left_s);
    assert_eq!(next(settings, 50.0), Action::Probe(1.0));
    assert_eq!(next(settings, 49.0), Action::Done(Ended::Budget));
    // Whichever ends first.
    let probe_s = Some(10.0);
    assert_eq!(next(Settings { probe_s, ..settings }, 10.0), Action::Probe(1.0));
    // How long requests in flight take is not known.
    let axis = Axis::Concurrency;
    assert_eq!(next(Settings { axis, ..settings }, 0.5), Action::Probe(1.0));
}
