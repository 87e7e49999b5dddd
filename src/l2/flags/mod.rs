//! The typed flags of `l2`; `config` checks them.

use std::path::PathBuf;

use crate::choices;
use crate::cli::shared::OutputArgs;
use crate::l2::adapter::{IoEngine, Operation};

mod page;
mod table;

pub use page::page;
pub use table::TABLE;

choices! {
    /// Which implementation of the adapter is measured.
    pub enum Via ("adapter side") {
        Native = "native",
        Lmcache = "lmcache",
    }
}

/// The command line of `l2` as typed. `Default` is all zeros; the values without flags are `TABLE.presets()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct L2Args {
    pub l2_adapter: Vec<String>,
    pub num_keys: i64,
    pub in_flight: i64,
    pub data_size_kb: i64,
    pub l1_align_bytes: i64,
    pub l1_use_hugepages: bool,
    pub rounds: i64,
    pub warmup_rounds: i64,
    pub lookup_max_hit_rate: f64,
    pub skip_verify: bool,
    pub only: Option<Operation>,
    pub output: OutputArgs,
    pub cold: bool,
    pub seed: u64,
    pub round_timeout_s: Option<f64>,
    pub io_engine: IoEngine,
    pub io_depth: i64,
    pub fdatasync: bool,
    pub recycle: bool,
    pub probe: bool,
    pub via: Option<Via>,
    pub python: Option<PathBuf>,
    pub apply_serde: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Format, table_rules};

    fn typed(words: &[&str]) -> L2Args {
        table_rules::typed(&TABLE, TABLE.presets(), words)
    }

    #[test]
    fn defaults_are_the_references() {
        let args = typed(&[]);
        assert_eq!(args, TABLE.presets());
        assert_eq!(
            (args.num_keys, args.in_flight, args.data_size_kb, args.l1_align_bytes),
            (32, 1, 256, 1)
        );
        assert_eq!((args.rounds, args.warmup_rounds, args.lookup_max_hit_rate), (1, 1, 0.0));
        assert_eq!(
            (args.skip_verify, args.l1_use_hugepages, args.output.quiet),
            (true, false, false)
        );
        assert_eq!((args.only, &args.output), (None, &OutputArgs::default()));
        assert_eq!(
            (args.seed, args.round_timeout_s, args.io_engine, args.io_depth),
            (0, None, IoEngine::Auto, 0)
        );
        assert_eq!(
            (
                args.cold,
                args.fdatasync,
                args.recycle,
                args.probe,
                args.l2_adapter.len()
            ),
            (false, false, false, false, 0)
        );
        assert_eq!((args.via, args.python), (None, None));
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let words = "--l2-adapter {} --num-keys 2 --in-flight 3 --data-size-kb 4 --l1-align-bytes 5 --l1-use-hugepages \
                     --rounds 6 --warmup-rounds 7 --lookup-max-hit-rate 0.5 --no-skip-verify --only load --format json \
                     --output out.json -q --save result=a --save csv=b --cold --seed -1 --round-timeout-s 1.5 --io-engine uring --io-depth 8 \
                     --fdatasync --recycle --probe --via lmcache --python /p/python --apply-serde \
                     --l2-adapter []";
        let expected = L2Args {
            l2_adapter: vec!["{}".into(), "[]".into()],
            num_keys: 2,
            in_flight: 3,
            data_size_kb: 4,
            l1_align_bytes: 5,
            l1_use_hugepages: true,
            rounds: 6,
            warmup_rounds: 7,
            lookup_max_hit_rate: 0.5,
            skip_verify: false,
            only: Some(Operation::Load),
            output: OutputArgs {
                format: Format::Json,
                quiet: true,
                report_path: Some("out.json".into()),
                saves: vec!["result=a".into(), "csv=b".into()],
                tables: &[],
            },
            cold: true,
            seed: u64::MAX,
            round_timeout_s: Some(1.5),
            io_engine: IoEngine::Uring,
            io_depth: 8,
            fdatasync: true,
            recycle: true,
            probe: true,
            via: Some(Via::Lmcache),
            python: Some("/p/python".into()),
            apply_serde: true,
        };
        assert_eq!(typed(&words.split_whitespace().collect::<Vec<_>>()), expected);
    }

    #[test]
    fn the_table_follows_the_common_rules() {
        table_rules::choices_are_taken_and_differ(&TABLE);
        table_rules::rows_are_complete(&TABLE);
        table_rules::our_flags_leave_abbreviations_alone(&TABLE, "save");
    }
}
