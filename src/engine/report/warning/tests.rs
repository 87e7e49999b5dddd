//! Thresholds and texts of warnings.

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
