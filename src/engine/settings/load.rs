//! Checks the flags of the group "Load" against one another.

use std::time::Duration;

use super::staircase;
use crate::cli::range::USAGE;
use crate::engine::args::{ArrivalName, AxisName, EngineArgs};
use crate::engine::config::load::{LoadConfig, RunPlan};
use crate::error::Error;
use crate::load::arrivals::Shape;
use crate::load::offer::Offer;
use crate::load::slo::Slo;
use crate::load::sweep::{Axis, CONCURRENCY_MAX, Sweep};

const REPEATS_MAX: i64 = 100;
const BUDGET_MINUTES: f64 = 15.0;
/// A week.
const BUDGET_MINUTES_MAX: f64 = 10_080.0;
const COOLDOWN: Duration = Duration::from_secs(1);
/// How long a step is measured, and the least time before it in which load is offered, when no flag says so.
const STEP: Duration = Duration::from_secs(30);
const STEP_WARMUP_MIN: Duration = Duration::from_secs(5);
const STEADY_WINDOW: Duration = Duration::from_secs(30);
/// Five rounds of a second.
const STEADY_WINDOW_MIN: Duration = Duration::from_secs(5);
const STEADY_WINDOW_MAX: Duration = Duration::from_secs(86_400);
const REQUESTS_MAX: i64 = 1_000_000_000;

/// How load is offered.
pub fn resolve(args: &EngineArgs) -> Result<LoadConfig, Error> {
    check_pairs(args)?;
    let plan = plan(args)?;
    let mut offer = offer(args)?;
    if matches!(plan, RunPlan::Sweep { .. } | RunPlan::FindMax { .. }) {
        offer = Some(of_steps(args, offer));
    }
    Ok(LoadConfig {
        offer,
        plan,
        cooldown: args.cooldown.unwrap_or(COOLDOWN),
        reuse: args.reuse.unwrap_or(false),
        until_steady: args.until_steady.is_some(),
        steady_window_s: steady_window(args)?,
        slo: slo(args)?,
    })
}

/// Flags that need or exclude one another.
fn check_pairs(args: &EngineArgs) -> Result<(), Error> {
    let (is_sweep, is_search) = (args.sweep.is_some(), args.find_max == Some(true));
    let has_rate = args.request_rate.is_some() || raises_rates(args);
    let paced = has_rate || args.max_concurrency.is_some() || is_sweep || is_search;
    let conflicts = [
        (
            is_search && is_sweep,
            "--find-max and --sweep both choose the loads; give one of them",
        ),
        (
            is_sweep && (args.request_rate.is_some() || (!raises_rates(args) && args.max_concurrency.is_some())),
            "--sweep has the loads, and --request-rate or --max-concurrency another one; leave that out",
        ),
        (
            (is_sweep || is_search) && args.requests_jsonl.is_some(),
            "--requests-jsonl is about the requests of one load; leave it out with --sweep and --find-max",
        ),
        (
            is_search && args.slo.is_none(),
            "--find-max needs limits to keep; give --slo, for example --slo ttft.p99=800ms",
        ),
        (
            args.repeats.is_some() && !is_sweep,
            "--repeats is about the steps of --sweep; give both",
        ),
        (
            args.reuse == Some(true) && !is_sweep && !is_search,
            "--reuse is about the steps of --sweep and --find-max; give one of them",
        ),
        (
            args.cooldown.is_some() && !is_sweep && !is_search,
            "--cooldown is the pause between the steps of --sweep and --find-max; give one of them",
        ),
        (
            is_search && !raises_rates(args) && args.request_rate.is_some(),
            "--find-max-over concurrency needs no rate; leave --request-rate out, or begin with --max-concurrency",
        ),
        (
            args.find_max_over.is_some() && !is_search,
            "--find-max-over belongs to --find-max; give that too",
        ),
        (
            args.budget.is_some() && !is_search && !staircase::is_asked_for(args),
            "--budget belongs to --find-max and --staircase; give one of them",
        ),
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

/// Whether a sweep or a search raises the rate.
fn raises_rates(args: &EngineArgs) -> bool {
    let of_sweep = args
        .sweep
        .as_ref()
        .is_some_and(|steps| steps.trim_start().starts_with("rate"));
    let of_search = args.find_max == Some(true) && args.find_max_over != Some(AxisName::Concurrency);
    of_sweep || of_search
}

fn plan(args: &EngineArgs) -> Result<RunPlan, Error> {
    if let Some(steps) = &args.sweep {
        let sweep = Sweep::parse(steps).map_err(|cause| Error::Usage(format!("--sweep: {cause}")))?;
        let repeats = USAGE.within("--repeats", args.repeats.unwrap_or(1), 1..=REPEATS_MAX)?;
        return Ok(RunPlan::Sweep { sweep, repeats });
    }
    if staircase::is_asked_for(args) {
        return Ok(RunPlan::Staircase {
            staircase: staircase::resolve(args)?,
            budget: budget(args)?,
        });
    }
    if args.find_max != Some(true) {
        return Ok(RunPlan::Single);
    }
    let (axis, start) = match args.find_max_over.unwrap_or(AxisName::Rate) {
        AxisName::Rate => (Axis::Rate, args.request_rate),
        AxisName::Concurrency => (Axis::Concurrency, args.max_concurrency.map(|start| start as f64)),
    };
    Ok(RunPlan::FindMax {
        axis,
        start: start.unwrap_or(1.0),
        budget: budget(args)?,
    })
}

fn budget(args: &EngineArgs) -> Result<Duration, Error> {
    let minutes = args.budget.unwrap_or(BUDGET_MINUTES);
    if !(minutes > 0.0 && minutes <= BUDGET_MINUTES_MAX) {
        let wanted = format!("above 0 and at most {BUDGET_MINUTES_MAX} minutes");
        return Err(USAGE.refusal("--budget", minutes, &wanted));
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// The load that all steps have in common. Steps that nothing else ends take `STEP`; what was in flight at their beginning and at
/// their end is the same, so that what ended in them can be compared with what was due.
fn of_steps(args: &EngineArgs, offer: Option<Offer>) -> Offer {
    let offer = offer.unwrap_or_else(|| offered(args, None, None, None));
    let measured = offer.measured.or(offer.requests.is_none().then_some(STEP));
    let has_lead_in = args.ramp_up.is_some() || args.warmup_time.is_some();
    let warmup = match measured {
        Some(measured) if !has_lead_in => (measured / 10).max(STEP_WARMUP_MIN),
        _ => offer.warmup,
    };
    Offer {
        measured,
        warmup,
        ..offer
    }
}

/// What replaces the workload's pacing; `None` if no flag asks for that.
fn offer(args: &EngineArgs) -> Result<Option<Offer>, Error> {
    let count = |flag, value: Option<i64>, most| value.map(|value| USAGE.within(flag, value, 1..=most)).transpose();
    let max_concurrency = count("--max-concurrency", args.max_concurrency, CONCURRENCY_MAX as i64)?;
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
    Ok(asked.then(|| offered(args, max_concurrency, requests, measured)))
}

fn offered(
    args: &EngineArgs,
    max_concurrency: Option<u64>,
    requests: Option<u64>,
    measured: Option<Duration>,
) -> Offer {
    Offer {
        per_second: args.request_rate,
        shape: shape(args),
        max_concurrency,
        requests,
        measured,
        ramp_up: args.ramp_up.unwrap_or_default(),
        warmup: args.warmup_time.unwrap_or_default(),
        seed: seed(args),
    }
}

/// In seconds.
fn steady_window(args: &EngineArgs) -> Result<usize, Error> {
    let window = args.steady_window.unwrap_or(STEADY_WINDOW);
    if !(STEADY_WINDOW_MIN..=STEADY_WINDOW_MAX).contains(&window) {
        return Err(USAGE.refusal("--steady-window", format!("{window:?}"), "5s to 24h"));
    }
    // The last second of the window has to be reported too.
    if let Some(limit) = args.until_steady.filter(|limit| *limit <= window) {
        return Err(Error::Usage(format!(
            "--until-steady {limit:?} is over before the {window:?} that a steady state is judged by; raise it, or lower \
             --steady-window"
        )));
    }
    Ok(window.as_secs_f64().ceil() as usize)
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
    staircase::check_given(given)?;
    if (given.request_rate.is_some() || raises_rates(given)) && given.workload_values.get("mrc-qps").is_some() {
        return Err(Error::Usage(
            "--mrc-qps is the workload's own rate and is replaced by --request-rate, --sweep rate and --find-max; give one of them"
                .into(),
        ));
    }
    Ok(())
}
