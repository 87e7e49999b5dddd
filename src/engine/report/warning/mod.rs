//! The warnings of an `engine` run, and the thresholds above which its figures raise them.

use crate::engine::results::detail::Detail;
use crate::engine::results::figures::Figures;
use crate::engine::run::evidence::StatedError;
use crate::engine::workload::WorkloadWarning;
use crate::result::warning::{self, Message, message};

mod ledger;
mod load;
mod steps;
mod stream;
#[cfg(test)]
mod tests;

pub use ledger::{LedgerWarning, tiers_warning, warnings as ledger_warnings};
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
    Ledger(LedgerWarning),
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
            Warning::Ledger(warning) => warning.code(),
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
            Warning::Ledger(warning) => warning.message(),
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
