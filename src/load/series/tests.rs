//! Series of requests whose seconds are known.

use super::*;

fn request(started_s: f64, ended_s: f64) -> Observation {
    Observation {
        started_s,
        ended_s,
        succeeded: true,
        tokens_at_s: None,
        ttft_s: None,
        tokens_in: 0,
        cached: 0,
        tokens_out: 0,
    }
}

#[test]
fn tokens_are_spread_between_the_first_and_the_last() {
    let mut series = Series::default();
    series.request(&Observation {
        tokens_at_s: Some((0.5, 2.5)),
        tokens_out: 100,
        ..request(0.0, 2.6)
    });
    let tokens: Vec<f64> = series.rows(3.0).iter().map(|row| row.tokens_out).collect();
    assert_eq!(tokens, [25.0, 50.0, 25.0]);
    // All at once when there is nothing to spread them over.
    series.request(&Observation {
        tokens_at_s: Some((1.5, 1.5)),
        tokens_out: 7,
        ..request(1.0, 2.0)
    });
    assert_eq!(series.rows(3.0)[1].tokens_out, 57.0);
    let mut odd = Series::default();
    odd.request(&Observation {
        tokens_at_s: Some((0.3, 17.9)),
        tokens_out: 1234,
        ..request(0.1, 18.0)
    });
    let sum: f64 = odd.rows(18.0).iter().map(|row| row.tokens_out).sum();
    assert!((sum - 1234.0).abs() < 1e-9, "{sum}");
}

#[test]
fn requests_count_where_they_start_and_where_they_end() {
    let mut series = Series::default();
    series.request(&Observation {
        tokens_in: 1000,
        cached: 256,
        ..request(0.25, 1.5)
    });
    series.request(&Observation {
        succeeded: false,
        ..request(0.5, 0.75)
    });
    series.request(&request(0.9, 2.5));
    let rows = series.rows(2.5);
    let counts: Vec<_> = rows.iter().map(|row| (row.started, row.finished, row.failed)).collect();
    assert_eq!(counts, [(3, 0, 1), (0, 1, 0), (0, 1, 0)]);
    assert_eq!((rows[0].tokens_in, rows[0].cached, rows[1].tokens_in), (1000, 256, 0));
    // 0.75 + 0.25 + 0.1 s, 0.5 + 1 s, and 0.5 s of the half second that the phase still has.
    for (row, (mean, max, width)) in rows.iter().zip([(1.1, 2, 1.0), (1.5, 2, 1.0), (1.0, 1, 0.5)]) {
        assert!((row.in_flight - mean).abs() < 1e-12, "{row:?}");
        assert_eq!((row.in_flight_max, row.width_s), (max, width), "{row:?}");
    }
}

#[test]
fn a_closed_loop_never_shows_more_than_its_limit() {
    let mut series = Series::default();
    for _ in 0..8 {
        for turn in 0..30 {
            let started_s = f64::from(turn) * 0.1;
            let ended_s = if turn == 29 { 2.95 } else { started_s + 0.1 };
            series.request(&request(started_s, ended_s));
        }
    }
    for row in series.rows(3.0) {
        assert_eq!(row.in_flight_max, 8, "{row:?}");
    }
    assert!((series.rows(3.0)[1].in_flight - 8.0).abs() < 1e-9);
}

#[test]
fn latencies_belong_to_the_second_of_their_token() {
    let mut series = Series::default();
    for n in 0..101u32 {
        series.request(&Observation {
            tokens_at_s: Some((1.2, 1.2)),
            ttft_s: Some(f64::from(n) / 100.0),
            ..request(0.0, 1.5)
        });
        series.gap(2.0 + f64::from(n) / 200.0, f64::from(100 - n) / 1000.0);
    }
    let rows = series.rows(3.0);
    assert_eq!((rows[0].ttft, rows[0].itl, rows[1].itl), (None, None, None));
    assert_eq!(rows[1].ttft, Some(Percentiles { p50: 0.5, p99: 0.99 }));
    assert_eq!((rows[1].ttft_count, rows[1].ttft_sum_s), (101, rows[1].ttft_sum_s));
    assert!((rows[1].ttft_sum_s - 50.5).abs() < 1e-9);
    assert_eq!(rows[2].itl, Some(Percentiles { p50: 0.05, p99: 0.099 }));
}

#[test]
fn empty_seconds_have_rows_too() {
    assert!(Series::default().rows(0.0).is_empty());
    let mut series = Series::default();
    assert_eq!(series.rows(2.5).len(), 3);
    series.gap(4.5, 0.01);
    assert_eq!(series.rows(2.5).len(), 5, "an event behind the end");
    assert_eq!(
        series.rows(9.0)[8],
        Row {
            second: 8,
            width_s: 1.0,
            ..Row::default()
        }
    );
}

#[test]
fn times_outside_of_the_day_are_no_problem() {
    let mut series = Series::default();
    series.request(&request(-3.0, f64::NAN));
    assert_eq!(series.rows(1.0)[0].started, 1);
    series.request(&request(SECONDS_MAX as f64 - 0.5, 1e18));
    series.gap(f64::INFINITY, 1.0);
    let rows = series.rows(1e18);
    assert_eq!(rows.len(), SECONDS_MAX);
    assert_eq!(rows[SECONDS_MAX - 1].started, 1);
    assert_eq!(rows[SECONDS_MAX - 1].in_flight, 0.5);
}

#[test]
fn memory_is_bounded_per_second_and_in_all() {
    let mut series = Series::with_limit(10_000);
    for n in 0..20_000u32 {
        series.gap(0.5, f64::from(n));
    }
    assert!(series.buckets[0].gaps().len() <= KEPT_PER_SECOND);
    let itl = series.rows(1.0)[0].itl.unwrap();
    assert!(
        (itl.p50 - 10_000.0).abs() < 20.0 && (itl.p99 - 19_800.0).abs() < 20.0,
        "{itl:?}"
    );
    for second in 0..200u32 {
        for n in 0..500u32 {
            series.gap(f64::from(second) + 0.5, f64::from(n));
        }
    }
    let kept: usize = series.buckets.iter().map(|bucket| bucket.gaps().len()).sum();
    assert_eq!(kept, series.kept);
    assert!((5_000..=10_000).contains(&kept), "{kept}");
    // Those that came after the thinning are as many as those before it.
    let rows = series.rows(200.0);
    assert!(rows[1..].iter().all(|row| (row.itl.unwrap().p50 - 250.0).abs() < 20.0));
}
