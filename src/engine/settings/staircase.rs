//! Checks the flags of the group "Staircase" against those that do not go with them.

use crate::cli::range::USAGE;
use crate::engine::args::EngineArgs;
use crate::engine::config::load::Staircase;
use crate::error::Error;

/// Tokens of one document.
const DOCUMENT_MAX: i64 = 100_000_000;
const PASSES: i64 = 3;
const PASSES_MAX: i64 = 100;

/// Whether this run is a staircase.
pub fn is_asked_for(args: &EngineArgs) -> bool {
    args.staircase == Some(true)
}

/// Refuses flags beside `--staircase` that choose another load, and flags of the staircase without it. `given` has no defaults
/// filled in.
pub fn check_given(given: &EngineArgs) -> Result<(), Error> {
    if !is_asked_for(given) {
        let own = [
            ("--staircase-document-length", given.staircase_document_length.is_some()),
            ("--staircase-passes", given.staircase_passes.is_some()),
        ];
        return match own.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Error::Usage(format!("{flag} belongs to --staircase; give that too"))),
            None => Ok(()),
        };
    }
    let loads = [
        ("--sweep", given.sweep.is_some()),
        ("--find-max", given.find_max == Some(true)),
        ("--request-rate", given.request_rate.is_some()),
        ("--max-concurrency", given.max_concurrency.is_some()),
        ("--num-requests", given.num_requests.is_some()),
        ("--duration", given.duration.is_some()),
        ("--ramp-up", given.ramp_up.is_some()),
        ("--warmup-time", given.warmup_time.is_some()),
        ("--until-steady", given.until_steady.is_some()),
        ("--arrival", given.arrival.is_some()),
        ("--burstiness", given.burstiness.is_some()),
    ];
    // `given` does not tell where a setting is from.
    let in_file = match given.config {
        Some(_) => ", on the command line and in the file of --config",
        None => "",
    };
    if let Some((flag, _)) = loads.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Error::Usage(format!(
            "--staircase sends one request at a time for as long as it takes, and {flag} is about another load; leave one of \
             them out{in_file}"
        )));
    }
    let others = [
        (
            "--workload",
            given.workload.is_some(),
            "has documents of its own in place of a workload",
        ),
        ("--slo", given.slo.is_some(), "measures tiers and judges no limits"),
        (
            "--requests-jsonl",
            given.requests_jsonl.is_some(),
            "keeps no single requests",
        ),
        (
            "--no-ledger",
            given.no_ledger == Some(true),
            "counts tokens as a ledger does",
        ),
        (
            "--no-warmup",
            given.no_warmup == Some(true),
            "fills the tiers before it measures them",
        ),
        (
            "--export-config",
            given.export_config.is_some(),
            "has no workload, which a config file names",
        ),
    ];
    match others.into_iter().find(|(_, is_given, _)| *is_given) {
        Some((flag, _, why)) => Err(Error::Usage(format!("--staircase {why}; leave {flag} out{in_file}"))),
        None => Ok(()),
    }
}

/// What a staircase sends.
pub fn resolve(args: &EngineArgs) -> Result<Staircase, Error> {
    let length = args
        .staircase_document_length
        .map(|tokens| USAGE.within("--staircase-document-length", tokens, 2..=DOCUMENT_MAX));
    Ok(Staircase {
        document_tokens: length.transpose()?,
        passes: USAGE.within(
            "--staircase-passes",
            args.staircase_passes.unwrap_or(PASSES),
            1..=PASSES_MAX,
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::given;

    fn refusal(words: &[&str]) -> String {
        check_given(&given(words)).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_go_with_a_staircase_is_refused_by_name() {
        for words in [
            &["--sweep", "rate=1,2"][..],
            &["--find-max"],
            &["--request-rate", "1"],
            &["--max-concurrency", "2"],
            &["--num-requests", "9"],
            &["--duration", "9s"],
            &["--until-steady", "90s"],
            &["--workload", "random-prefill"],
            &["--slo", "ttft=1s"],
            &["--requests-jsonl", "x"],
            &["--no-warmup"],
            &["--no-ledger"],
            &["--export-config", "x"],
        ] {
            let refused = refusal(&[&["--staircase"], words].concat());
            assert!(
                refused.starts_with("--staircase ") && refused.contains(words[0]) && refused.contains("leave"),
                "{refused}"
            );
        }
        let in_file = refusal(&["--staircase", "--config", "c.json", "--workload", "random-prefill"]);
        assert!(
            in_file.ends_with("leave --workload out, on the command line and in the file of --config"),
            "{in_file}"
        );
        assert_eq!(
            refusal(&["--staircase-passes", "2"]),
            "--staircase-passes belongs to --staircase; give that too"
        );
        assert!(check_given(&given(&["--staircase", "--budget", "2"])).is_ok());
    }

    #[test]
    fn lengths_and_passes_are_bounded() {
        let resolved = |words: &[&str]| resolve(&given(&[&["--staircase"], words].concat()));
        let default = Staircase {
            document_tokens: None,
            passes: 3,
        };
        assert_eq!(resolved(&[]).unwrap(), default);
        for words in [
            ["--staircase-document-length", "1"],
            ["--staircase-passes", "0"],
            ["--staircase-passes", "101"],
        ] {
            let refused = resolved(&words).unwrap_err();
            assert!(
                matches!(&refused, Error::Usage(text) if text.contains(words[0])),
                "{refused}"
            );
        }
    }
}
