//! The warnings of an `engine` run, and the thresholds above which its figures raise them.

use crate::engine::results::detail::Detail;
use crate::engine::results::figures::Figures;
use crate::engine::run::evidence::StatedError;
use crate::engine::workload::WorkloadWarning;
use crate::result::warning::{self, Message, message};

mod load;
mod steps;
mod stream;

pub use load::{LoadWarning, warnings as load_warnings};
pub use steps::StepsWarning;
pub use stream::StreamWarning;

/// Above these limits a figure includes this client's own error.
pub const CLIENT_TTFT_MS_MAX: f64 = 5.0;
const LAG_MS_MAX: f64 = 5.0;
const LATENESS_MS_MAX: f64 = 10.0;
const FAILED_SHARE_MAX: f64 = 0.01;
const WALL_STEP_MS_MAX: f64 = 1.0;

#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// This client's TTFT error is above `CLIENT_TTFT_MS_MAX`, in the run (`in_run`) or in the replay.
    ClientBound {
        ttft_ms_p99: f64,
        in_run: bool,
        stay_below: u64,
    },
    /// The replay failed.
    NoCertificate {
        cause: String,
    },
    /// This client read first tokens late.
    ReadLag {
        first_token_lag_ms_p99: f64,
    },
    Lateness {
        lateness_ms_p99: f64,
    },
    ManyFailures {
        failed: u64,
        all: u64,
    },
    NoKernelStamps {
        share_percent: f64,
    },
    NoUsage {
        requests: u64,
    },
    AssumedFirstTokens {
        requests: u64,
    },
    ClockStep {
        wall_step_ms: f64,
    },
    LateConnections {
        connections: u64,
    },
    CutOff {
        requests: u64,
    },
    /// Prompt lengths are approximate.
    PromptLengths {
        note: String,
    },
    FewOpenFiles {
        allowed: u64,
        wanted: u64,
    },
    WarmupFailed {
        failed: u64,
        all: u64,
        first: String,
    },
    /// A metrics page that could not be read; `page` holds its address and the cause.
    NoCounters {
        page: String,
    },
    /// The stream of answers or the engine's counts are not as they should be.
    Stream(StreamWarning),
    Load(LoadWarning),
    Steps(StepsWarning),
    /// Only the workload of this run has it.
    Workload(WorkloadWarning),
}

impl warning::Warning for Warning {
    fn code(&self) -> &'static str {
        match self {
            Warning::ClientBound { .. } => "client-bound",
            Warning::NoCertificate { .. } => "no-certificate",
            Warning::ReadLag { .. } => "read-lag",
            Warning::Lateness { .. } => "late-dispatch",
            Warning::ManyFailures { .. } => "many-failures",
            Warning::NoKernelStamps { .. } => "no-kernel-stamps",
            Warning::NoUsage { .. } => "no-usage",
            Warning::AssumedFirstTokens { .. } => "assumed-first-tokens",
            Warning::ClockStep { .. } => "clock-step",
            Warning::LateConnections { .. } => "late-connections",
            Warning::CutOff { .. } => "cut-off",
            Warning::PromptLengths { .. } => "prompt-lengths",
            Warning::FewOpenFiles { .. } => "few-open-files",
            Warning::WarmupFailed { .. } => "warmup-failed",
            Warning::NoCounters { .. } => "no-counters",
            Warning::Stream(warning) => warning.code(),
            Warning::Load(warning) => warning.code(),
            Warning::Steps(warning) => warning.code(),
            Warning::Workload(warning) => warning.code,
        }
    }

    fn message(&self) -> Message {
        match self {
            Warning::ClientBound {
                ttft_ms_p99,
                in_run,
                stay_below,
            } => client_bound_message(*ttft_ms_p99, *in_run, *stay_below),
            Warning::NoCertificate { cause } => {
                message!("The client's own error was not measured: {cause}. The run itself is not affected.")
            }
            Warning::ReadLag { first_token_lag_ms_p99 } => message!(
                "First tokens were read up to {first_token_lag_ms_p99:.1} ms (p99) after they arrived. Arrival times \
                 are the kernel's, but tokens that arrived together with later ones carry the later time",
                "free some CPU."
            ),
            Warning::Lateness { lateness_ms_p99 } => message!(
                "Requests left up to {lateness_ms_p99:.1} ms (p99) after the workload wanted them sent",
                "free some CPU or lower the concurrency."
            ),
            Warning::ManyFailures { failed, all } => message!(
                "{failed} of {all} requests failed and are in no latency figure; percentiles describe the rest only."
            ),
            Warning::NoKernelStamps { share_percent } => message!(
                "{share_percent:.0} % of the reads had no receive time from the kernel; their times were taken after \
                 the read and include this client's own delay."
            ),
            Warning::NoUsage { requests } => message!(
                "{requests} answers came without usage: their prompt tokens count as 0 and each event with text as \
                 one token."
            ),
            Warning::AssumedFirstTokens { requests } => message!(
                "{requests} answers had tokens but no text, such as a lone end of sequence; their TTFT is the event \
                 that ended the answer."
            ),
            Warning::ClockStep { wall_step_ms } => message!(
                "The wall clock was set by {wall_step_ms:.1} ms during the run; arrival times after that are off by \
                 as much.",
                "Run again."
            ),
            Warning::LateConnections { connections } => message!(
                "{connections} connections had to be opened during the run, because the engine closes them or more \
                 requests were in flight than foreseen. The time is outside TTFT."
            ),
            Warning::CutOff { requests } => {
                message!("{requests} requests were under way when the run was ended and are in no figure.")
            }
            Warning::PromptLengths { note } => {
                let note = capitalized(note);
                message!("{note}.")
            }
            Warning::FewOpenFiles { allowed, wanted } => message!(
                "This process may open {allowed} files and the plan wants {wanted}; connections beyond that fail.",
                "Raise the limit with ulimit -n."
            ),
            Warning::WarmupFailed { failed, all, first } => {
                message!("{failed} of {all} warmup requests failed, so the cache may be cold. The first said: {first}")
            }
            Warning::NoCounters { page } => message!(
                "The server's own counters are not all in this report, because their page did not come or counts in \
                 no known form: {page}. The latencies are not affected."
            ),
            Warning::Stream(warning) => warning.message(),
            Warning::Load(warning) => warning.message(),
            Warning::Steps(warning) => warning.message(),
            Warning::Workload(warning) => warning.message.clone(),
        }
    }
}

fn client_bound_message(ttft_ms_p99: f64, in_run: bool, stay_below: u64) -> Message {
    let place = if in_run { "this run" } else { "a replay of this plan" };
    message!(
        "These numbers are bound by this client: its own TTFT error, late dispatch included, is {ttft_ms_p99:.1} ms \
         at p99 in {place}.",
        "Stay at {stay_below} requests in flight or fewer, or use a machine with more free cores."
    )
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

/// The warnings that the figures of a phase raise.
pub fn warnings(detail: &Detail, figures: &Figures) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let failed = figures.failed;
    let all = figures.successful + failed;
    if failed as f64 > FAILED_SHARE_MAX * all as f64 {
        warnings.push(Warning::ManyFailures { failed, all });
    }
    if detail.first_token_lag_ms_p99 > LAG_MS_MAX {
        warnings.push(Warning::ReadLag {
            first_token_lag_ms_p99: detail.first_token_lag_ms_p99,
        });
    }
    if detail.lateness_ms.spread.p99 > LATENESS_MS_MAX {
        warnings.push(Warning::Lateness {
            lateness_ms_p99: detail.lateness_ms.spread.p99,
        });
    }
    if detail.reads_without_stamp > 0 {
        warnings.push(Warning::NoKernelStamps {
            share_percent: detail.reads_without_stamp as f64 / detail.reads as f64 * 100.0,
        });
    }
    if detail.without_usage > 0 {
        warnings.push(Warning::NoUsage {
            requests: detail.without_usage,
        });
    }
    if detail.assumed_first_tokens > 0 {
        warnings.push(Warning::AssumedFirstTokens {
            requests: detail.assumed_first_tokens,
        });
    }
    if detail.wall_step_ms > WALL_STEP_MS_MAX {
        warnings.push(Warning::ClockStep {
            wall_step_ms: detail.wall_step_ms,
        });
    }
    if detail.connections_opened > 0 {
        warnings.push(Warning::LateConnections {
            connections: detail.connections_opened,
        });
    }
    if detail.cut_off > 0 {
        warnings.push(Warning::CutOff {
            requests: detail.cut_off,
        });
    }
    warnings.extend(stream::warnings(detail, figures).into_iter().map(Warning::Stream));
    warnings
}

/// By how much this client sent or read late at p99, where that is beyond the limits of the warnings.
pub fn late_ms_p99(detail: &Detail) -> Option<f64> {
    let late = [
        (detail.first_token_lag_ms_p99, LAG_MS_MAX),
        (detail.lateness_ms.spread.p99, LATENESS_MS_MAX),
    ];
    let beyond = late.into_iter().filter(|(ms, most)| ms > most);
    beyond.map(|(ms, _)| ms).reduce(f64::max)
}

/// The warning that the client's own error, as the replay or the run shows it, is too large.
pub fn client_bound(error: &StatedError) -> Option<Warning> {
    let ttft_ms_p99 = error.ttft_ms_p99().filter(|&error_ms| error_ms > CLIENT_TTFT_MS_MAX)?;
    let in_run = error.is_of_run();
    let replayed = error.replay.as_ref().map_or(0, |replay| replay.streams);
    let streams = if in_run { error.run.streams } else { replayed };
    // The error grows about linearly with the streams that share the cores.
    let stay_below = (streams as f64 * CLIENT_TTFT_MS_MAX / ttft_ms_p99) as u64;
    Some(Warning::ClientBound {
        ttft_ms_p99,
        in_run,
        stay_below: stay_below.max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::results::delivered::HeldBy;
    use crate::engine::run::certificate::ClientError;
    use crate::result::warning::Warning as _;

    fn replay(whole_ms_p99: f64, streams: u64) -> StatedError {
        StatedError {
            replay: Some(ClientError {
                whole_ms_p99,
                streams,
                ..ClientError::default()
            }),
            ..StatedError::default()
        }
    }

    #[test]
    fn a_run_that_shows_more_than_the_replay_is_bound_by_itself() {
        let mut error = replay(0.1, 9000);
        error.run.own_ms_p99 = 4.0 * CLIENT_TTFT_MS_MAX;
        error.run.streams = 100;
        let text = client_bound(&error).unwrap().text();
        assert!(
            text.contains("20.0 ms at p99 in this run. Stay at 25 requests in flight"),
            "{text}"
        );
        error.replay = None;
        assert_eq!(client_bound(&error), None, "it is not measured then");
    }

    #[test]
    fn beyond_the_limit_the_concurrency_to_stay_at_is_named() {
        assert_eq!(client_bound(&replay(CLIENT_TTFT_MS_MAX, 1000)), None);
        let warning = client_bound(&replay(4.0 * CLIENT_TTFT_MS_MAX, 1000)).unwrap();
        let text = warning.text();
        assert_eq!(warning.code(), "client-bound");
        assert!(
            text.contains("20.0 ms at p99") && text.contains("Stay at 250 requests in flight"),
            "{text}"
        );
        let one = client_bound(&replay(1000.0, 1)).unwrap().text();
        assert!(one.contains("Stay at 1 requests"), "{one}");
    }

    #[test]
    fn a_clean_run_raises_no_warning_and_each_threshold_its_own() {
        let figures = |failed| Figures {
            successful: 100,
            failed,
            ..Figures::default()
        };
        assert_eq!(warnings(&Detail::default(), &figures(1)), []);
        let mut detail = Detail {
            first_token_lag_ms_p99: LAG_MS_MAX + 1.0,
            reads: 4,
            reads_without_stamp: 1,
            without_usage: 1,
            assumed_first_tokens: 1,
            wall_step_ms: WALL_STEP_MS_MAX + 1.0,
            connections_opened: 1,
            cut_off: 1,
            ..Detail::default()
        };
        detail.lateness_ms.spread.p99 = LATENESS_MS_MAX + 1.0;
        let codes: Vec<_> = warnings(&detail, &figures(2)).iter().map(Warning::code).collect();
        let wanted = "many-failures read-lag late-dispatch no-kernel-stamps no-usage assumed-first-tokens clock-step \
                      late-connections cut-off";
        assert_eq!(codes.join(" "), wanted);
    }

    #[test]
    fn texts_are_one_line() {
        let text = || "x".to_owned();
        let all = [
            Warning::ClientBound {
                ttft_ms_p99: 7.25,
                in_run: true,
                stay_below: 9,
            },
            Warning::NoCertificate { cause: text() },
            Warning::ReadLag {
                first_token_lag_ms_p99: 6.5,
            },
            Warning::Lateness { lateness_ms_p99: 12.5 },
            Warning::ManyFailures { failed: 1, all: 2 },
            Warning::NoKernelStamps { share_percent: 12.0 },
            Warning::NoUsage { requests: 1 },
            Warning::AssumedFirstTokens { requests: 1 },
            Warning::ClockStep { wall_step_ms: 2.0 },
            Warning::LateConnections { connections: 1 },
            Warning::CutOff { requests: 1 },
            Warning::Load(LoadWarning::SkippedTurns { turns: 1 }),
            Warning::Load(LoadWarning::RepeatedPrompts { repeats: 1 }),
            Warning::Load(LoadWarning::NotSteady { reason: text() }),
            Warning::Load(LoadWarning::NothingMeasured { requests: 1 }),
            Warning::Steps(StepsWarning::NotMeasured { loads: text() }),
            Warning::Steps(StepsWarning::NotSteady { loads: text() }),
            Warning::Steps(StepsWarning::SkippedTurns { loads: text() }),
            Warning::Steps(StepsWarning::RepeatedPrompts { loads: text() }),
            Warning::Steps(StepsWarning::WithFailures { failed: 1 }),
            Warning::Steps(StepsWarning::Failed { cause: text() }),
            Warning::Steps(StepsWarning::LittleBroken { loads: text() }),
            Warning::Steps(StepsWarning::ClientBound {
                loads: text(),
                ms_p99: 1.0,
            }),
            Warning::Steps(StepsWarning::HeldBack { loads: text() }),
            Warning::Steps(StepsWarning::Drift { share: 0.2 }),
            Warning::Steps(StepsWarning::SamePrompts),
            Warning::Steps(StepsWarning::TooFewSamples { needed_s: 3.0 }),
            Warning::Load(LoadWarning::HeldBack {
                due_per_s: 2.0,
                sent_per_s: 1.0,
                unsent: 3,
                by: HeldBy::Concurrency(4),
            }),
            Warning::PromptLengths { note: text() },
            Warning::FewOpenFiles { allowed: 1, wanted: 2 },
            Warning::WarmupFailed {
                failed: 1,
                all: 2,
                first: text(),
            },
            Warning::NoCounters { page: text() },
            Warning::Stream(StreamWarning::Buffered {
                answers: 1,
                all: 2,
                own_lag_ms: 6.0,
            }),
            Warning::Stream(StreamWarning::FirstEventTokens { share_percent: 12.0 }),
            Warning::Stream(StreamWarning::ImpossibleCounts {
                answers: 1,
                first: text(),
            }),
            Warning::Stream(StreamWarning::ImpossibleCounters { counters: text() }),
            Warning::Stream(StreamWarning::ImpossibleFigures { figures: text() }),
        ];
        for warning in all {
            let text = warning.text();
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }
}
