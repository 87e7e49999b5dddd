//! Limits as typed and on known samples.

use super::*;

fn slo(text: &str) -> Slo {
    let mut slo = Slo::default();
    slo.add(text).unwrap();
    slo
}

#[test]
fn limits_are_read_and_shown_as_typed() {
    let read = slo("ttft=800ms,tpot=50ms,e2el=10s,ttft.p99=1.5s,itl.p99.9=250us,e2el.p50=2m,tpot.p100=1s");
    let seconds = [0.8, 0.05, 10.0, 1.5, 0.00025, 120.0, 1.0];
    for (limit, want) in read.limits.iter().zip(seconds) {
        assert!((limit.seconds - want).abs() < 1e-12, "{limit}");
    }
    let percentiles: Vec<Option<f64>> = read.limits.iter().map(|limit| limit.percentile).collect();
    assert_eq!(
        percentiles,
        [None, None, None, Some(99.0), Some(99.9), Some(50.0), Some(100.0)]
    );
    let shown = "ttft=800ms,tpot=50ms,e2el=10s,ttft.p99=1.5s,itl.p99.9=250us,e2el.p50=2m,tpot.p100=1s";
    assert_eq!(read.to_string(), shown);
    assert_eq!(slo(" itl = 5ms".trim()).to_string(), "itl=5ms");
    assert_eq!(slo("ttft=1s , tpot=2s").to_string(), "ttft=1s,tpot=2s");
}

#[test]
fn several_uses_of_the_flag_add_up() {
    let mut both = slo("ttft=1s");
    both.add("ttft.p99=2s").unwrap();
    assert_eq!(both.to_string(), "ttft=1s,ttft.p99=2s");
    assert_eq!(
        both.add("e2el=1s,ttft.p99.0=3s").unwrap_err(),
        "ttft.p99=2s and ttft.p99=3s limit the same; give one of them"
    );
    assert_eq!(both.limits.len(), 2, "nothing of a refused text is kept");
    let many: Vec<String> = (1..=64).map(|p| format!("itl.p{p}=1s")).collect();
    assert_eq!(
        both.add(&many.join(",")).unwrap_err(),
        "more than 64 limits; give fewer"
    );
}

#[test]
fn what_is_no_limit_is_refused_with_what_to_write() {
    for (text, want) in [
        ("", "'' is no limit; write METRIC=TIME, as ttft=800ms"),
        ("ttft", "'ttft' is no limit; write METRIC=TIME, as ttft=800ms"),
        ("ttft=1s,", "'' is no limit; write METRIC=TIME, as ttft=800ms"),
        ("TTFT=1s", "'TTFT' is no metric; limits are on ttft, tpot, itl and e2el"),
        ("ttft=800", "'ttft=800' has no unit; write 800ms or 800s"),
        ("ttft=800d", "'d' is no unit of time; use us, ms, s, m or h"),
        ("ttft=ms", "'ttft=ms' has no time; write it as 800ms, 1.5s or 2m"),
        ("ttft=inf", "'ttft=inf' has no time; write it as 800ms, 1.5s or 2m"),
        ("ttft=nans", "'ttft=nans' has no time; write it as 800ms, 1.5s or 2m"),
        ("ttft=0ms", "the limit of 'ttft=0ms' must be above 0 and finite"),
        ("ttft=-3ms", "the limit of 'ttft=-3ms' must be above 0 and finite"),
        ("ttft=1e308m", "the limit of 'ttft=1e308m' must be above 0 and finite"),
        (
            "ttft=1e400s",
            "'ttft=1e400s' has no time; write it as 800ms, 1.5s or 2m",
        ),
        (
            "ttft.mean=1s",
            "'mean' behind ttft is no percentile; write ttft.p99 or ttft.p99.9, above 0 and up to 100",
        ),
    ] {
        assert_eq!(Slo::default().add(text).unwrap_err(), want, "{text}");
    }
    for text in [
        "ttft.p0=1s",
        "ttft.p101=1s",
        "ttft.p=1s",
        "ttft.99=1s",
        "ttft.p9e1=1s",
        "ttft.pnan=1s",
        "ttft.=1s",
    ] {
        let why = Slo::default().add(text).unwrap_err();
        assert!(why.contains("is no percentile; write ttft.p99"), "{text}: {why}");
    }
}

fn latencies(ttft: f64, tpot: Option<f64>) -> Option<Latencies> {
    Some(Latencies {
        ttft: Some(ttft),
        tpot,
        ..Latencies::default()
    })
}

#[test]
fn goodput_counts_requests_that_kept_every_limit() {
    let requests = [
        latencies(0.1, Some(0.01)),
        latencies(0.1, None),
        latencies(0.8, Some(0.05)),
        latencies(0.9, Some(0.01)),
        latencies(0.1, Some(0.06)),
        None,
    ];
    let goodput = slo("ttft=800ms,tpot=50ms").goodput(requests.into_iter(), 2.0).unwrap();
    assert_eq!((goodput.good, goodput.total, goodput.per_second), (3, 6, 1.5));
    assert_eq!(goodput.share(), 0.5);
    let (low, high) = goodput.share_interval.unwrap();
    assert!(
        (low - 0.1876).abs() < 5e-5 && (high - 0.8124).abs() < 5e-5,
        "{low} {high}"
    );
    // Limits on percentiles break no request, and alone they make no goodput.
    let both = slo("ttft=800ms,ttft.p50=1us");
    assert_eq!(both.goodput(requests.into_iter(), 2.0).unwrap().good, 4);
    assert_eq!(slo("ttft.p50=1us").goodput(requests.into_iter(), 2.0), None);
    let none = slo("ttft=1s").goodput([].into_iter(), 0.0).unwrap();
    assert_eq!((none.share(), none.per_second, none.share_interval), (0.0, 0.0, None));
}

#[test]
fn each_metric_is_compared_with_its_own_limit() {
    let all = Latencies {
        ttft: Some(1.0),
        tpot: Some(2.0),
        itl: Some(3.0),
        e2el: Some(4.0),
    };
    assert!(slo("ttft=1s,tpot=2s,itl=3s,e2el=4s").is_kept_by(&all));
    for broken in ["ttft=999ms", "tpot=1.9s", "itl=2.9s", "e2el=3.9s"] {
        assert!(!slo(broken).is_kept_by(&all), "{broken}");
    }
}

#[test]
fn percentiles_count_failures_as_infinite() {
    let hundred = |_: Metric| (1..=100).map(|n| f64::from(n) / 100.0).collect::<Vec<f64>>();
    let of = |text: &str, failed| slo(text).verdicts(hundred, failed).remove(0);
    // Position 98.01 of 0.01, 0.02, .. 1.00.
    let p99 = of("ttft.p99=1s", 0);
    assert!((p99.seconds - 0.9901).abs() < 1e-12, "{}", p99.seconds);
    assert_eq!((p99.holding, p99.samples, p99.interval), (Holding::Kept, 100, None));
    assert_eq!(of("ttft.p99=990ms", 0).holding, Holding::Broken);
    assert_eq!(of("ttft.p50=505ms", 0).interval, Some((0.4, 0.6)));
    // Position 99 of 101 samples is the last finite one; of 102 samples it is past it.
    let touching = of("ttft.p99=1s", 1);
    assert_eq!(
        (touching.seconds, touching.holding, touching.samples),
        (1.0, Holding::Kept, 101)
    );
    let beyond = of("ttft.p99=1s", 2);
    assert_eq!((beyond.seconds, beyond.holding), (f64::INFINITY, Holding::Broken));
    assert_eq!(of("ttft.p100=9s", 1).seconds, f64::INFINITY);
    assert_eq!(of("ttft.p50=9s", 100).seconds, f64::INFINITY);
    assert_eq!(of("ttft.p50=9s", 99).seconds, 1.0);
}

#[test]
fn a_metric_without_samples_is_not_kept() {
    let verdicts = slo("tpot.p99=1s,ttft=1s,ttft.p50=1s").verdicts(
        |metric| match metric {
            Metric::Tpot => vec![],
            _ => vec![0.5],
        },
        0,
    );
    let holding: Vec<Holding> = verdicts.iter().map(|verdict| verdict.holding).collect();
    assert_eq!(
        holding,
        [Holding::NoSamples, Holding::Kept],
        "limits on requests have none"
    );
    assert_eq!(verdicts[1].seconds, 0.5);
}

#[test]
fn a_search_takes_limits_at_a_percentile() {
    let given = slo("ttft=800ms,tpot.p50=50ms,ttft.p99=900ms,e2el.p99=1s,e2el=1.5s");
    let search = given.with_percentile(99.0);
    assert_eq!(search.to_string(), "ttft.p99=800ms,tpot.p50=50ms,e2el.p99=1s");
    assert_eq!(search.shortest_s(), Some(0.05));
    assert_eq!(Slo::default().shortest_s(), None);
}
