//! The flags about how load is offered and judged, which every workload takes.

use crate::cli::flag::{Flag, Group, on_off};
use crate::engine::args::{ArrivalName, AxisName, EngineArgs};
use crate::load::arrivals;
use crate::python::number::{float, int};
use crate::units;

type Row = Flag<EngineArgs>;

pub(super) const LOAD: Group = Group {
    title: "Load, not in LMCache",
    of_reference: false,
};

pub(super) const FLAGS: &[Row] = &[
    Row::value("request-rate", "R", |args, text| {
        arrivals::rate(text).map(|rate| args.request_rate = Some(rate))
    })
    .unset("the workload's own pacing")
    .help(
        "Requests per second, sent whether or not the engine keeps up",
        "An open loop: latencies are also given from the moment at which a request was due. Replaces the pacing of the \
         workload; its list of requests starts again when it is used up. Refused beside `--mrc-qps`.",
    ),
    Row::value("arrival", "ARRIVAL", |args, text| {
        ArrivalName::from_text(text).map(|arrival| args.arrival = Some(arrival))
    })
    .choices(ArrivalName::CHOICES)
    .unset("`poisson` with `--request-rate`")
    .help(
        "How the gaps between requests are drawn",
        "`constant` is evenly spaced, `poisson` has independent arrivals, `gamma` has the shape of `--burstiness`. Gaps \
         are drawn with random numbers of their own, seeded by `--seed`, so prompts do not depend on them.",
    ),
    Row::value("burstiness", "F", |args, text| {
        arrivals::burstiness(text).map(|shape| args.burstiness = Some(shape))
    })
    .unset("1 with `--arrival gamma`")
    .help(
        "Shape of the gamma distribution of gaps, as in vLLM",
        "1 is Poisson, below 1 is burstier, above 1 is more even. The mean gap stays 1/R.",
    ),
    Row::value("max-concurrency", "N", |args, text| {
        int(text).map(|number| args.max_concurrency = Some(number))
    })
    .unset("the workload's window; no limit with `--request-rate`")
    .help(
        "The most requests in flight",
        "With `--request-rate`, a request that is due while so many are in flight waits for one of them to end; latencies from \
         the schedule include the wait. Without it, a closed loop that keeps this many in flight.",
    ),
    Row::value("num-requests", "N", |args, text| {
        int(text).map(|number| args.num_requests = Some(number))
    })
    .unset("those of the workload")
    .help(
        "Requests to send",
        "Those of the ramp and of the warm-up time are among them. With `--duration` as well, the run ends with whichever comes \
         first.",
    ),
    Row::value("duration", "TIME", |args, text| {
        units::duration(text).map(|time| args.duration = Some(time))
    })
    .unset("until all requests are sent")
    .help(
        "How long requests are measured",
        "In seconds, or with a unit: `500ms`, `90s`, `5m`, `2h`. Requests that are due in this time are measured to their end.",
    ),
    Row::value("ramp-up", "TIME", |args, text| {
        units::duration(text).map(|time| args.ramp_up = Some(time))
    })
    .unset("none")
    .help(
        "Raise the rate or the concurrency over this time",
        "Linearly, from zero. Requests that are due in this time are sent but not measured.",
    ),
    Row::value("warmup-time", "TIME", |args, text| {
        units::duration(text).map(|time| args.warmup_time = Some(time))
    })
    .unset("none; that of `--sweep` with `--sweep` and `--find-max`")
    .help(
        "Offer load this long before measuring",
        "It follows the ramp, at full load. Its requests are the first of the workload's list of measured ones. The workload's \
         own warmup comes before both.",
    ),
    Row::value("until-steady", "TIME", |args, text| {
        units::duration(text).map(|time| args.until_steady = Some(time))
    })
    .unset("off")
    .help(
        "End when the run is steady, after this time at the latest",
        "The last `--steady-window` is cut into fifths. The run is steady if over these the number of finished requests, and \
         their mean latency, vary by at most 20 % of their mean and rise or fall by at most 10 % of it. Only requests that were \
         due since that window began are then measured. If the run does not become steady, the report says why. With random \
         arrivals below 20 requests per second take a longer window.",
    ),
    Row::value("steady-window", "TIME", |args, text| {
        units::duration(text).map(|time| args.steady_window = Some(time))
    })
    .unset("30s")
    .help(
        "Length of the window that must be steady",
        "Whole seconds, rounded up to a multiple of five.",
    ),
    Row::value("slo", "LIMITS", |args, text| {
        args.slo.get_or_insert_default().push(text.to_owned());
        Ok(())
    })
    .unset("none")
    .repeatable()
    .help(
        "Limits to keep, such as `ttft=800ms,tpot=50ms,ttft.p99=2s`",
        "Metrics: `ttft`, `tpot`, `itl` (time between tokens), `e2el` (to the last token). A limit without a percentile is one on \
         each request (`itl`: on its longest gap); the report has the share and rate of requests that kept all of these, and a \
         request that failed did not. A limit with a percentile is one on the run: if it does not hold, the exit code is 3. In an \
         open loop `ttft` and `e2el` are measured from the schedule.",
    ),
    Row::value("sweep", "STEPS", |args, text| {
        args.sweep = Some(text.to_owned());
        Ok(())
    })
    .help(
        "Measure several loads: `rate=1:32:x2`, `concurrency=1,2,4`",
        "From, to and a factor or an increment (`rate=2:10:+2`), or a list; at most 100 steps. Each takes `--duration` (30s \
         without it) after a warm-up time of a tenth of that, at least 5s, unless `--warmup-time` or `--ramp-up` is given. With \
         `--num-requests` and no `--duration` a step ends with its last request and has no warm-up time but one that is given. \
         Before each the workload's warmup is sent again, and prompts are fresh. At the end the first step is measured again, to \
         show drift. The report has a row for each, the saturation and the knee.",
    ),
    Row::value("repeats", "N", |args, text| {
        int(text).map(|number| args.repeats = Some(number))
    })
    .unset("1")
    .help(
        "Times that each step of `--sweep` is measured",
        "Steps are repeated one after the other, and each time has a row.",
    ),
    Row::value("cooldown", "TIME", |args, text| {
        units::duration(text).map(|time| args.cooldown = Some(time))
    })
    .unset("1s")
    .help(
        "Pause between the steps of a sweep or search",
        "So that what an engine still does after its last answer does not slow the next step.",
    ),
    Row::switch("reuse", |args, text| on_off(text).map(|on| args.reuse = Some(on))).help(
        "Send the same prompts in all steps",
        "Later steps then find them in the cache. Without it each step has prompts of its own.",
    ),
    Row::switch("find-max", |args, text| {
        on_off(text).map(|on| args.find_max = Some(on))
    })
    .help(
        "Search for the highest load that keeps `--slo`",
        "Doubles the load until a limit breaks, bisects, and measures both ends for `--duration` (30s without it); other probes \
         take a third of that, at least 5s, but never longer than `--duration`. Warm-up times and `--num-requests` are as in \
         `--sweep`. Begins with `--request-rate` or \
         `--max-concurrency` (1 without it). A limit without a percentile is one on p99. That a load \
         holds is confirmed only over enough requests in `--duration`: 100 for p90, 1000 for p99, so at 3 requests per second \
         p99 needs `--duration 6m`. A probe also fails when requests fail, or when they are sent later and later. The exit \
         code is 3 when no load holds.",
    ),
    Row::value("find-max-over", "LOAD", |args, text| {
        AxisName::from_text(text).map(|axis| args.find_max_over = Some(axis))
    })
    .choices(AxisName::CHOICES)
    .unset("`rate`")
    .help(
        "What `--find-max` raises",
        "Requests per second of an open loop, or requests in flight of a closed one.",
    ),
    Row::value("budget", "MINUTES", |args, text| {
        float(text).map(|minutes| args.budget = Some(minutes))
    })
    .unset("15")
    .help(
        "Most minutes of `--find-max` and `--staircase`",
        "A probe that would end later is not begun, and one that takes longer than expected is cut off. The answer is then the \
         best so far. So it is with the working sets of a staircase.",
    ),
];
