//! Turns the typed flags into a [`RunConfig`]: checks ranges, multiplies sizes without overflow, and compares the memory that
//! the run needs with what is available. Does no I/O: the caller passes in the available memory.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::range::USAGE;
use crate::error::Error;
use crate::l2::adapter::{IoEngine, Operation};
use crate::l2::flags::{L2Args, Via};
use crate::l2::keys::KeyPlan;
use crate::units::{KIB, bytes_text};

/// The reference waits this long for each completion.
const STORE_AND_LOAD_TIMEOUT: Duration = Duration::from_secs(120);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Eleven days. Longer values are typing errors, and the longest overflow an `Instant`.
const ROUND_TIMEOUT_MAX: Duration = Duration::from_secs(1_000_000);
/// Upper estimate of the bookkeeping for each key of a round: key, times, outcome, queue entries.
const KEY_OVERHEAD_BYTES: u64 = 512;
/// Keys of one run, over all rounds. Far above any useful run.
const TOTAL_KEYS_MAX: u64 = u32::MAX as u64;
const IO_DEPTH_MAX: i64 = 1024;

/// The checked settings of a run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    pub plan: KeyPlan,
    pub object_bytes: usize,
    pub align_bytes: usize,
    pub huge_pages: bool,
    pub operations: Vec<Operation>,
    pub verify: bool,
    pub cold: bool,
    pub probe: bool,
    pub rounds: u64,
    pub warmup_rounds: u64,
    pub seed: u64,
    pub round_timeout: Option<Duration>,
    pub io_engine: IoEngine,
    pub io_depth: usize,
    pub fdatasync: bool,
    pub recycle: bool,
    /// Which implementation of the adapter is measured; `None` is the native one where there is one.
    pub via: Option<Via>,
    /// The interpreter that runs LMCache's own adapter.
    pub python: Option<PathBuf>,
    /// Whether objects are encrypted as the adapter JSON's serde block says.
    pub apply_serde: bool,
    /// As typed, for the report.
    pub data_size_kb: u64,
    pub lookup_max_hit_rate: f64,
}

fn too_much(what: &str, flags: &str) -> Error {
    Error::Usage(format!("{what}; lower {flags}"))
}

impl RunConfig {
    /// `available_bytes` is the memory that is available now, if known.
    ///
    /// Errors name the flag: values out of range, and runs that do not fit into memory.
    pub fn resolve(args: &L2Args, available_bytes: Option<u64>) -> Result<RunConfig, Error> {
        let num_keys = USAGE.at_least("--num-keys", args.num_keys, 1)?;
        let in_flight = USAGE.at_least("--in-flight", args.in_flight, 1)?;
        let data_size_kb = USAGE.at_least("--data-size-kb", args.data_size_kb, 1)?;
        let rounds = USAGE.at_least("--rounds", args.rounds, 1)?;
        let warmup_rounds = USAGE.at_least("--warmup-rounds", args.warmup_rounds, 0)?;
        if args.l1_align_bytes <= 0 {
            return Err(Error::Usage("Error: --l1-align-bytes must be positive".to_owned()));
        }
        let io_depth = USAGE.within("--io-depth", args.io_depth, 0..=IO_DEPTH_MAX)?;
        if !args.lookup_max_hit_rate.is_finite() {
            return Err(Error::Usage(
                "--lookup-max-hit-rate is not a number; give one from 0 to 1".to_owned(),
            ));
        }
        let object_bytes = data_size_kb
            .checked_mul(KIB)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or_else(|| too_much("an object would be larger than the address space", "--data-size-kb"))?;
        let align_bytes = args.l1_align_bytes.unsigned_abs();
        if !object_bytes.is_multiple_of(align_bytes) {
            return Err(Error::Usage(
                "Error: --data-size-kb must produce a payload size that is a multiple of --l1-align-bytes".to_owned(),
            ));
        }
        if !align_bytes.is_power_of_two() {
            return Err(USAGE.refusal("--l1-align-bytes", align_bytes, "a power of two"));
        }
        let plan = KeyPlan::new(num_keys, in_flight, rounds, warmup_rounds, args.lookup_max_hit_rate)?;
        let operations = operations(args.only);
        // Encrypted objects have buffers of their own.
        let buffers = buffers_per_key(&operations) + u64::from(args.apply_serde);
        check_amounts(&plan, buffers, object_bytes, available_bytes)?;
        Ok(RunConfig {
            plan,
            object_bytes: usize::try_from(object_bytes).expect("checked against the address space"),
            align_bytes: usize::try_from(align_bytes).expect("divides the object size"),
            huge_pages: args.l1_use_hugepages,
            operations,
            verify: !args.skip_verify,
            cold: args.cold,
            probe: args.probe,
            rounds,
            warmup_rounds,
            seed: args.seed,
            round_timeout: round_timeout(args.round_timeout_s)?,
            io_engine: args.io_engine,
            io_depth: usize::try_from(io_depth).expect("checked above"),
            fdatasync: args.fdatasync,
            recycle: args.recycle,
            via: args.via,
            python: args.python.clone(),
            apply_serde: args.apply_serde,
            data_size_kb,
            lookup_max_hit_rate: args.lookup_max_hit_rate,
        })
    }

    pub fn runs(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// Bytes of the L1 buffer: one round's store objects and one round's load objects, each only if that operation runs.
    pub fn buffer_bytes(&self) -> usize {
        buffers_per_key(&self.operations) as usize * self.keys_per_round() * self.object_bytes
    }

    pub fn keys_per_submit(&self) -> usize {
        usize::try_from(self.plan.num_keys()).expect("checked against memory")
    }

    /// Number of files to create for stores to reuse (`--recycle`): one for every object that the run will store.
    pub fn recycle_files(&self) -> usize {
        if !self.recycle {
            return 0;
        }
        let objects = self.plan.total_rounds().saturating_mul(self.plan.keys_per_round());
        usize::try_from(objects).unwrap_or(usize::MAX)
    }

    pub fn keys_per_round(&self) -> usize {
        usize::try_from(self.plan.keys_per_round()).expect("checked against memory")
    }

    /// How long a round waits for its next completion.
    pub fn timeout(&self, operation: Operation) -> Duration {
        self.round_timeout.unwrap_or(match operation {
            Operation::Lookup => LOOKUP_TIMEOUT,
            Operation::Store | Operation::Load => STORE_AND_LOAD_TIMEOUT,
        })
    }
}

fn operations(only: Option<Operation>) -> Vec<Operation> {
    match only {
        None => vec![Operation::Store, Operation::Lookup, Operation::Load],
        Some(operation) => vec![operation],
    }
}

/// Operations that need a buffer for each key of a round.
fn buffers_per_key(operations: &[Operation]) -> u64 {
    let moves = operations.iter().filter(|operation| **operation != Operation::Lookup);
    moves.count() as u64
}

fn round_timeout(seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() && timeout <= ROUND_TIMEOUT_MAX => Ok(Some(timeout)),
        _ => {
            let wanted = format!("a positive number of seconds, at most {}", ROUND_TIMEOUT_MAX.as_secs());
            Err(USAGE.refusal("--round-timeout-s", format!("{seconds:?}"), &wanted))
        }
    }
}

/// Refuses a run that would not fit into memory, before anything is allocated.
fn check_amounts(
    plan: &KeyPlan,
    buffers_per_key: u64,
    object_bytes: u64,
    available_bytes: Option<u64>,
) -> Result<(), Error> {
    let keys = plan.keys_per_round();
    if keys * plan.total_rounds() > TOTAL_KEYS_MAX {
        let what = format!("the run would use more than {TOTAL_KEYS_MAX} keys");
        return Err(too_much(&what, "--num-keys, --in-flight, --rounds or --warmup-rounds"));
    }
    let needed = object_bytes
        .checked_mul(buffers_per_key)
        .and_then(|bytes| bytes.checked_add(KEY_OVERHEAD_BYTES)?.checked_mul(keys))
        .filter(|bytes| isize::try_from(*bytes).is_ok());
    let flags = "--num-keys, --in-flight or --data-size-kb";
    match (needed, available_bytes) {
        (None, _) => Err(too_much(
            "the buffers of one round would be larger than the address space",
            flags,
        )),
        (Some(needed), Some(available)) if needed > available => {
            let (needed, available) = (bytes_text(needed), bytes_text(available));
            Err(too_much(
                &format!("one round needs {needed} of memory but only {available} are available"),
                flags,
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::flags::TABLE;

    fn resolve(change: impl FnOnce(&mut L2Args)) -> Result<RunConfig, String> {
        let mut args = TABLE.presets();
        change(&mut args);
        RunConfig::resolve(&args, Some(1 << 30)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_references() {
        let config = resolve(|_| {}).unwrap();
        assert_eq!((config.keys_per_round(), config.object_bytes), (32, 256 << 10));
        assert_eq!(config.buffer_bytes(), 2 * 32 * (256 << 10));
        assert!(!config.verify);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_flag() {
        type Change = fn(&mut L2Args);
        let cases: [(&str, Change); 13] = [
            ("--num-keys", |args| args.num_keys = 0),
            ("--in-flight", |args| args.in_flight = -1),
            ("--data-size-kb", |args| args.data_size_kb = i64::MAX),
            ("--rounds", |args| args.rounds = i64::MAX),
            ("--warmup-rounds", |args| args.warmup_rounds = -1),
            ("--l1-align-bytes must be positive", |args| args.l1_align_bytes = 0),
            ("multiple of --l1-align-bytes", |args| args.l1_align_bytes = 524_288),
            ("--lookup-max-hit-rate", |args| args.lookup_max_hit_rate = f64::NAN),
            ("--lookup-max-hit-rate", |args| args.lookup_max_hit_rate = f64::INFINITY),
            ("only 1.0 GiB", |args| args.num_keys = 4096),
            ("--round-timeout-s", |args| args.round_timeout_s = Some(0.0)),
            ("--round-timeout-s", |args| args.round_timeout_s = Some(1e18)),
            ("--warmup-rounds", |args| args.warmup_rounds = i64::MAX),
        ];
        for (expected, change) in cases {
            let error = resolve(change).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn only_one_operation_needs_only_its_buffers() {
        let config = resolve(|args| args.only = Some(Operation::Store)).unwrap();
        assert_eq!(config.buffer_bytes(), 32 * (256 << 10));
        let config = resolve(|args| args.only = Some(Operation::Lookup)).unwrap();
        assert_eq!(config.buffer_bytes(), 0);
        // A store alone of 800 MiB fits into 1 GiB, with a load it does not.
        let large = |only| resolve(|args| (args.num_keys, args.only) = (3200, only));
        assert!(large(Some(Operation::Store)).is_ok());
        assert!(large(None).is_err());
    }
}
