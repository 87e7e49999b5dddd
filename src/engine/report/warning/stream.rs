//! Warnings about streams that were buffered on the way, and about counts and figures that are impossible.

use crate::engine::results::detail::Detail;
use crate::engine::results::figures::Figures;
use crate::result::warning::{Message, Warning, message};

/// Shares of the answers and of the tokens from which a mean is misleading.
const BUFFERED_SHARE_MIN: f64 = 0.01;
const UNPLACED_SHARE_MIN: f64 = 0.05;
/// From this lag on, late reads of this client may be the cause.
const OWN_LAG_MS_MIN: f64 = 5.0;
/// Tokens per second that no engine reaches: for one answer, and for a whole run.
const ONE_ANSWER_MAX: f64 = 1e4;
const WHOLE_RUN_MAX: f64 = 1e9;

#[derive(Clone, Debug, PartialEq)]
pub enum StreamWarning {
    /// Token events came together with others although the answers took their time.
    Buffered { answers: u64, all: u64, own_lag_ms: f64 },
    /// Events carry several tokens, and how many the first had is unknown.
    FirstEventTokens { share_percent: f64 },
    /// The engine's counts of these answers were left out; `first` describes one.
    ImpossibleCounts { answers: u64, first: String },
    /// Server counters grew by more than any server can do.
    ImpossibleCounters { counters: String },
    /// Figures larger than physics allows, or below zero.
    ImpossibleFigures { figures: String },
}

impl Warning for StreamWarning {
    fn code(&self) -> &'static str {
        match self {
            StreamWarning::Buffered { .. } => "buffered-stream",
            StreamWarning::FirstEventTokens { .. } => "first-event-tokens",
            StreamWarning::ImpossibleCounts { .. } => "impossible-counts",
            StreamWarning::ImpossibleCounters { .. } => "impossible-counters",
            StreamWarning::ImpossibleFigures { .. } => "impossible-figures",
        }
    }

    fn message(&self) -> Message {
        match self {
            StreamWarning::Buffered {
                answers,
                all,
                own_lag_ms,
            } => {
                let own = if *own_lag_ms < OWN_LAG_MS_MIN {
                    String::new()
                } else {
                    format!(
                        " This client read {own_lag_ms:.1} ms late on average, which looks the same: free some CPU \
                         first."
                    )
                };
                message!(
                    "{answers} of {all} answers were buffered: most of their tokens arrived together, long after \
                     they were made. TTFT, latencies and decode speed are those of whatever holds them back, and \
                     TPOT and ITL of these answers are left out.",
                    "Ask the engine without the proxy or gateway between, or switch off its buffering (nginx: \
                     proxy_buffering off; X-Accel-Buffering: no) and compression, or the engine's own batching of \
                     events (stream interval, multi-step scheduling).{own}"
                )
            }
            StreamWarning::FirstEventTokens { share_percent } => message!(
                "{share_percent:.0} % of the tokens came in events with more than one, and nobody says how many the \
                 first event had: TPOT and ITL take it for an average one and are wrong where the engine holds \
                 tokens back at first (parsers of reasoning and tools do).",
                "--usage-per-event asks for a count with every event."
            ),
            StreamWarning::ImpossibleCounts { answers, first } => message!(
                "{answers} answers counted what their bytes and time rule out (the first: {first}); these counts are \
                 in no sum, and output tokens are events with text instead.",
                "Mend the engine's usage."
            ),
            StreamWarning::ImpossibleCounters { counters } => message!(
                "Counters of the servers grew by more than any server can do ({counters}); they are left out of the \
                 prompt tokens by the servers.",
                "Mend what exports them."
            ),
            StreamWarning::ImpossibleFigures { figures } => message!(
                "These figures cannot be: {figures}. The reference's decode speed divides all tokens by the time \
                 from the first to the end of the answer, which is about nothing when an answer is one token or came \
                 in one piece; TPOT and the latencies hold."
            ),
        }
    }
}

/// The warnings about the answers of a phase.
pub fn warnings(detail: &Detail, figures: &Figures) -> Vec<StreamWarning> {
    let good = figures.successful;
    let mut warnings = Vec::new();
    if detail.buffered > 0 && detail.buffered as f64 >= BUFFERED_SHARE_MIN * good as f64 {
        warnings.push(StreamWarning::Buffered {
            answers: detail.buffered,
            all: good,
            own_lag_ms: detail.lag_ms_mean,
        });
    }
    let share = detail.unplaced_tokens as f64 / figures.output_tokens.max(1) as f64;
    if share > UNPLACED_SHARE_MIN {
        warnings.push(StreamWarning::FirstEventTokens {
            share_percent: share * 100.0,
        });
    }
    if let Some((answers, first)) = &detail.impossible_counts {
        warnings.push(StreamWarning::ImpossibleCounts {
            answers: *answers,
            first: first.clone(),
        });
    }
    let impossible = impossible_figures(detail, figures);
    if !impossible.is_empty() {
        warnings.push(StreamWarning::ImpossibleFigures {
            figures: impossible.join(", "),
        });
    }
    warnings
}

fn impossible_figures(detail: &Detail, figures: &Figures) -> Vec<String> {
    let no_limit = f64::MAX;
    let checked = [
        ("mean decode", "tok/s", figures.decode_speed.mean, ONE_ANSWER_MAX),
        ("P99 decode", "tok/s", figures.decode_speed.p99, ONE_ANSWER_MAX),
        (
            "mean decode, 1/TPOT",
            "tok/s",
            detail.decode_mean.unwrap_or(0.0),
            ONE_ANSWER_MAX,
        ),
        ("input throughput", "tok/s", figures.input_throughput, WHOLE_RUN_MAX),
        ("output throughput", "tok/s", figures.output_throughput, WHOLE_RUN_MAX),
        ("mean TTFT", "ms", figures.ttft_ms.mean, no_limit),
        ("P50 TTFT", "ms", figures.ttft_ms.p50, no_limit),
        ("mean TPOT", "ms", detail.tpot_ms.spread.mean, no_limit),
        ("mean latency", "ms", detail.latency_ms.spread.mean, no_limit),
    ];
    let cannot_be = checked
        .into_iter()
        .filter(|(_, _, value, max)| !(0.0..=*max).contains(value));
    cannot_be
        .map(|(name, unit, value, _)| format!("{name} {value:.0} {unit}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(detail: &Detail, figures: &Figures) -> Vec<&'static str> {
        warnings(detail, figures).iter().map(StreamWarning::code).collect()
    }

    #[test]
    fn each_kind_has_its_threshold_and_its_code() {
        let mut figures = Figures {
            successful: 1000,
            output_tokens: 1000,
            ..Figures::default()
        };
        let mut detail = Detail {
            buffered: 9,
            unplaced_tokens: 50,
            ..Detail::default()
        };
        figures.decode_speed.mean = ONE_ANSWER_MAX;
        assert_eq!(codes(&detail, &figures), Vec::<&str>::new());
        detail.buffered = 10;
        detail.unplaced_tokens = 51;
        detail.impossible_counts = Some((3, "completion_tokens 9223372036854775808".into()));
        figures.ttft_ms.p50 = -1.0;
        figures.decode_speed.p99 = f64::INFINITY;
        assert_eq!(
            codes(&detail, &figures),
            [
                "buffered-stream",
                "first-event-tokens",
                "impossible-counts",
                "impossible-figures"
            ]
        );
        let all = warnings(&detail, &figures);
        assert!(all[2].text().contains("completion_tokens 9223372036854775808"));
        assert!(
            all[3].text().contains("P99 decode inf tok/s, P50 TTFT -1 ms"),
            "{}",
            all[3].text()
        );
        assert!(!all[0].text().contains("This client"));
        detail.lag_ms_mean = 6.0;
        assert!(
            warnings(&detail, &figures)[0]
                .text()
                .contains("This client read 6.0 ms late")
        );
    }
}
