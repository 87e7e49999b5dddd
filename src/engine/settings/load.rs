//! Checks the flags of the group "Load" against one another.

use std::time::Duration;

use crate::cli::range::USAGE;
use crate::engine::args::{ArrivalName, EngineArgs};
use crate::engine::config::load::LoadConfig;
use crate::error::Error;
use crate::load::arrivals::Shape;
use crate::load::offer::Offer;
use crate::load::slo::Slo;

/// A thread and a connection each.
const CONCURRENCY_MAX: i64 = 65_536;
const STEADY_WINDOW: Duration = Duration::from_secs(30);
/// Five rounds of a second.
const STEADY_WINDOW_MIN: Duration = Duration::from_secs(5);
const STEADY_WINDOW_MAX: Duration = Duration::from_secs(86_400);
const REQUESTS_MAX: i64 = 1_000_000_000;

/// How load is offered.
pub fn resolve(args: &EngineArgs) -> Result<LoadConfig, Error> {
    check_pairs(args)?;
    Ok(LoadConfig {
        offer: offer(args)?,
        until_steady: args.until_steady.is_some(),
        steady_window_s: steady_window(args)?,
        slo: slo(args)?,
    })
}

/// Flags that need or exclude one another.
fn check_pairs(args: &EngineArgs) -> Result<(), Error> {
    let has_rate = args.request_rate.is_some();
    let paced = has_rate || args.max_concurrency.is_some();
    let conflicts = [
        (
            args.arrival.is_some() && !has_rate,
            "--arrival needs a rate; give --request-rate",
        ),
        (
            args.burstiness.is_some() && args.arrival != Some(ArrivalName::Gamma),
            "--burstiness is the shape of --arrival gamma; give both",
        ),
        (
            args.until_steady.is_some() && args.duration.is_some(),
            "--until-steady has a limit of its own and --duration is another; give one of them",
        ),
        (
            args.ramp_up.is_some() && !paced,
            "--ramp-up raises a load; give --request-rate or --max-concurrency",
        ),
    ];
    match conflicts.into_iter().find(|(conflict, _)| *conflict) {
        Some((_, sentence)) => Err(Error::Usage(sentence.into())),
        None => Ok(()),
    }
}

/// What replaces the workload's pacing; `None` if no flag asks for that.
fn offer(args: &EngineArgs) -> Result<Option<Offer>, Error> {
    let count = |flag, value: Option<i64>, most| value.map(|value| USAGE.within(flag, value, 1..=most)).transpose();
    let max_concurrency = count("--max-concurrency", args.max_concurrency, CONCURRENCY_MAX)?;
    let requests = count("--num-requests", args.num_requests, REQUESTS_MAX)?;
    let measured = args.until_steady.or(args.duration);
    if measured.is_some_and(|measured| measured.is_zero()) {
        let flag = if args.until_steady.is_some() {
            "--until-steady"
        } else {
            "--duration"
        };
        return Err(USAGE.refusal(flag, "0", "above 0"));
    }
    let asked = args.request_rate.is_some()
        || max_concurrency.is_some()
        || requests.is_some()
        || measured.is_some()
        || args.warmup_time.is_some();
    Ok(asked.then(|| Offer {
        per_second: args.request_rate,
        shape: shape(args),
        max_concurrency,
        requests,
        measured,
        ramp_up: args.ramp_up.unwrap_or_default(),
        warmup: args.warmup_time.unwrap_or_default(),
        seed: seed(args),
    }))
}

/// In seconds.
fn steady_window(args: &EngineArgs) -> Result<usize, Error> {
    let window = args.steady_window.unwrap_or(STEADY_WINDOW);
    if (STEADY_WINDOW_MIN..=STEADY_WINDOW_MAX).contains(&window) {
        return Ok(window.as_secs_f64().ceil() as usize);
    }
    Err(USAGE.refusal("--steady-window", format!("{window:?}"), "5s to 24h"))
}

fn slo(args: &EngineArgs) -> Result<Slo, Error> {
    let mut slo = Slo::default();
    for limits in args.slo.iter().flatten() {
        slo.add(limits)
            .map_err(|cause| Error::Usage(format!("--slo: {cause}")))?;
    }
    Ok(slo)
}

fn shape(args: &EngineArgs) -> Shape {
    match args.arrival.unwrap_or(ArrivalName::Poisson) {
        ArrivalName::Constant => Shape::Constant,
        ArrivalName::Poisson => Shape::Poisson,
        ArrivalName::Gamma => Shape::Gamma {
            burstiness: args.burstiness.unwrap_or(1.0),
        },
    }
}

/// The part of `--seed` that the arrivals use.
fn seed(args: &EngineArgs) -> u64 {
    let seed = args.seed.clone().unwrap_or_default();
    let words = seed.magnitude().iter();
    words.fold(0, |seed: u64, word| seed.rotate_left(32) ^ u64::from(*word))
}

/// Refuses a rate beside the one of the workload. `given` has no defaults filled in.
pub fn check_given(given: &EngineArgs) -> Result<(), Error> {
    if given.request_rate.is_some() && given.workload_values.get("mrc-qps").is_some() {
        return Err(Error::Usage(
            "--mrc-qps is the workload's own rate and --request-rate replaces it; give one of them".into(),
        ));
    }
    Ok(())
}
