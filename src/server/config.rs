//! Turns the typed flags into a [`RunConfig`]: checks ranges, parses the KV shape, and compares the memory that the run needs
//! with what is available. Does no I/O: the caller passes in what the machine has.

use std::time::Duration;

use super::checksum::Kind;
use super::rpc::{Endpoint, LIBZMQ_ABSENT, WireKind};
use super::shape::Shape;
use super::warning::Warning;
use crate::cli::range::USAGE;
use crate::error::Error;
use crate::server::flags::{BlockAllocation, Checksum, Mode, ServerArgs, TransferMode};
use crate::units::{MIB, bytes_text};

const DEFAULT_BLOCKS: i64 = 1024;
const DEFAULT_BLOCK_TOKENS: i64 = 16;
/// Tokens of one request. Every message carries them: a token is four bytes in memory and five on the wire.
const TOKENS_MAX: i64 = 1 << 20;
const RANKS_MAX: i64 = 128;
/// Clients, each with a connection.
const CLIENTS_MAX: i64 = 256;
/// The sequence number is used as a token id, which has 32 bits.
const SEQUENCE_END_MAX: i64 = 1 << 32;
const SECONDS_MAX: f64 = 86_400.0;
/// Memory that a run needs besides the tensors, and of it what each client after the first adds, mostly histograms.
const OWN_BYTES: u64 = 32 * MIB;
const CLIENT_BYTES: u64 = 2 * MIB;

/// Which side copies the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Engine,
    Lmcache,
}

/// The checked settings of a run, before it connects.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    pub rpc_url: Endpoint,
    pub http_url: Option<String>,
    pub mode: Mode,
    /// The CUDA device of `--mode gpu`.
    pub device: i64,
    /// As typed, for the report.
    pub transfer_mode: TransferMode,
    pub driver: Driver,
    pub ranks: u32,
    pub shape: Shape,
    pub num_tokens: usize,
    pub start: u64,
    /// Exclusive; `None` runs until a signal.
    pub end: Option<u64>,
    pub interval: Duration,
    /// `--concurrency`.
    pub clients: u32,
    pub block_allocation: BlockAllocation,
    pub salted: bool,
    pub checksum: Kind,
    pub wire: WireKind,
    pub seed: u64,
    pub connect_timeout: Duration,
    pub rpc_timeout: Duration,
    pub warnings: Vec<Warning>,
}

/// Free memory of the machine, where known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    pub available_bytes: Option<u64>,
    pub shared_memory_bytes: Option<u64>,
}

impl RunConfig {
    pub fn resolve(args: &ServerArgs, machine: Machine) -> Result<RunConfig, Error> {
        let ranks = USAGE.within("--tp-size", args.tp_size, 1..=RANKS_MAX)?;
        let num_tokens = USAGE.within("--num-tokens", args.num_tokens, 1..=TOKENS_MAX)?;
        let start = USAGE.within("--start", args.start, 0..=SEQUENCE_END_MAX - 1)?;
        let end = args
            .end
            .map(|end| USAGE.within("--end", end, 1..=SEQUENCE_END_MAX))
            .transpose()?;
        if end.is_some_and(|end| end <= start) {
            let end = args.end.unwrap_or_default();
            return Err(USAGE.refusal("--end", end, &format!("above --start, which is {start}")));
        }
        let clients = USAGE.within("--concurrency", args.concurrency, 1..=CLIENTS_MAX)?;
        let (shape, warnings) = shape(args)?;
        if args.use_mla && !shape.is_mla() {
            return Err(Error::Usage(format!(
                "--use-mla requires --kvcache-shape-spec with kv_size=1 in every group, got {shape}"
            )));
        }
        let driver = match (args.transfer_mode, args.mode) {
            (TransferMode::EngineDriven, _) | (TransferMode::Auto, Mode::Cpu) => Driver::Engine,
            (TransferMode::LmcacheDriven, _) | (TransferMode::Auto, Mode::Gpu) => Driver::Lmcache,
        };
        if driver == Driver::Engine && shape.groups.len() > 1 {
            return Err(Error::Usage(
                "engine_driven supports only one KV group; use --transfer-mode lmcache_driven for multiple groups"
                    .into(),
            ));
        }
        // Device memory is checked in device.rs, once the device is known.
        if args.mode == Mode::Cpu {
            check_memory(&shape, (ranks, clients), driver, machine)?;
        }
        Ok(RunConfig {
            http_url: Some(args.url.clone()).filter(|url| !url.is_empty()),
            mode: args.mode,
            device: args.device,
            transfer_mode: args.transfer_mode,
            driver,
            ranks: u32::try_from(ranks).expect("checked above"),
            shape,
            num_tokens: usize::try_from(num_tokens).expect("checked above"),
            start,
            end,
            interval: USAGE.seconds("--interval", args.interval, 0.0..=SECONDS_MAX)?,
            clients: u32::try_from(clients).expect("checked above"),
            block_allocation: args.block_allocation,
            salted: args.salt,
            checksum: match (args.checksum, driver, args.url.is_empty()) {
                (Checksum::Md5, ..) | (Checksum::Auto, Driver::Lmcache, false) => Kind::Md5,
                (Checksum::Fast | Checksum::Auto, ..) => Kind::Fast,
            },
            wire: wire(args.wire)?,
            seed: args.seed,
            connect_timeout: USAGE.seconds("--connect-timeout-s", args.connect_timeout_s, 0.001..=SECONDS_MAX)?,
            rpc_timeout: USAGE.seconds("--rpc-timeout-s", args.rpc_timeout_s, 0.001..=SECONDS_MAX)?,
            rpc_url: Endpoint::parse(&args.rpc_url).map_err(|text| Error::Usage(format!("--rpc-url: {text}")))?,
            warnings,
        })
    }
}

impl RunConfig {
    /// Whether the server's own digests can be compared: it can digest only memory that it has mapped, and only with MD5.
    pub fn compares_with_server(&self) -> bool {
        self.driver == Driver::Lmcache && self.checksum == Kind::Md5
    }
}

fn wire(kind: WireKind) -> Result<WireKind, Error> {
    match kind.is_built() {
        true => Ok(kind),
        false => Err(Error::Usage(LIBZMQ_ABSENT.into())),
    }
}

/// The typed spec, or LMCache's default spec with --num-blocks and --block-size.
fn shape(args: &ServerArgs) -> Result<(Shape, Vec<Warning>), Error> {
    let Some(spec) = &args.kvcache_shape_spec else {
        let blocks = args.num_blocks.unwrap_or(DEFAULT_BLOCKS);
        let block_tokens = args.block_size.unwrap_or(DEFAULT_BLOCK_TOKENS);
        let spec = format!("(2,{blocks},{block_tokens},8,128):float16:32");
        return match Shape::parse(&spec) {
            Ok(shape) => Ok((shape, Vec::new())),
            Err(text) => Err(Error::Usage(format!("--num-blocks or --block-size: {text}"))),
        };
    };
    let shape = Shape::parse(spec).map_err(|text| Error::Usage(format!("--kvcache-shape-spec: {text}")))?;
    let typed = [
        ("--num-blocks", args.num_blocks, shape.blocks()),
        ("--block-size", args.block_size, shape.block_tokens()),
    ];
    let differs = |typed: Option<i64>, used: usize| typed.filter(|typed| usize::try_from(*typed) != Ok(used));
    let warnings = typed.into_iter().filter_map(|(flag, typed, used)| {
        let typed = differs(typed, used)?;
        Some(Warning::FlagWithoutEffect { flag, typed, used })
    });
    let warnings = warnings.collect();
    Ok((shape, warnings))
}

/// Counts the whole tensors: pages are touched only when requests use them, but a long run uses them all.
fn check_memory(shape: &Shape, (ranks, clients): (u64, u64), driver: Driver, machine: Machine) -> Result<(), Error> {
    let tensors = (shape.bytes() as u64).saturating_mul(ranks).saturating_mul(clients);
    let needed = tensors.saturating_add(OWN_BYTES + (clients - 1) * CLIENT_BYTES);
    let fewer = match clients {
        1 => "a lower --tp-size",
        _ => "a lower --tp-size or --concurrency",
    };
    let advice = format!("use fewer blocks or layers in --kvcache-shape-spec, or {fewer}");
    if let Some(available) = machine.available_bytes.filter(|available| needed > *available) {
        return Err(Error::Environment(format!(
            "the KV tensors need {} of memory but only {} are available; {advice}",
            bytes_text(tensors),
            bytes_text(available)
        )));
    }
    let shared = machine.shared_memory_bytes.filter(|free| tensors > *free);
    if let (Driver::Lmcache, Some(free)) = (driver, shared) {
        return Err(Error::Environment(format!(
            "the KV tensors need {} of shared memory but /dev/shm has only {} free; {advice}, or enlarge /dev/shm",
            bytes_text(tensors),
            bytes_text(free)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::flags::TABLE;

    fn args(change: impl FnOnce(&mut ServerArgs)) -> ServerArgs {
        let mut args = ServerArgs {
            mode: Mode::Cpu,
            ..TABLE.presets()
        };
        change(&mut args);
        args
    }

    fn refused(change: impl FnOnce(&mut ServerArgs)) -> String {
        RunConfig::resolve(&args(change), Machine::default())
            .expect_err("refused")
            .to_string()
    }

    fn resolved(change: impl FnOnce(&mut ServerArgs)) -> RunConfig {
        RunConfig::resolve(&args(change), Machine::default()).unwrap()
    }

    #[test]
    fn the_default_shape_takes_num_blocks_and_block_size() {
        let config = resolved(|_| {});
        assert_eq!(config.shape.to_string(), "(2,1024,16,8,128):float16:32");
        let config = resolved(|args| (args.num_blocks, args.block_size) = (Some(64), Some(32)));
        assert_eq!(config.shape.to_string(), "(2,64,32,8,128):float16:32");
        assert!(refused(|args| args.num_blocks = Some(0)).contains("NB is 0"));
    }

    #[test]
    fn a_spec_overrides_num_blocks_and_block_size_with_a_warning() {
        let config = resolved(|args| {
            args.kvcache_shape_spec = Some("(2,16,4,1,4):float16:2".into());
            (args.num_blocks, args.block_size) = (Some(16), Some(8));
        });
        let warning = Warning::FlagWithoutEffect {
            flag: "--block-size",
            typed: 8,
            used: 4,
        };
        assert_eq!(config.warnings, [warning]);
    }

    #[test]
    fn modes_choose_the_driver_and_the_checksum() {
        use TransferMode::{Auto, EngineDriven, LmcacheDriven};
        for (mode, transfer, url, driver, kind) in [
            (Mode::Cpu, Auto, "http://h", Driver::Engine, Kind::Fast),
            (Mode::Gpu, Auto, "http://h", Driver::Lmcache, Kind::Md5),
            (Mode::Cpu, LmcacheDriven, "http://h", Driver::Lmcache, Kind::Md5),
            (Mode::Cpu, LmcacheDriven, "", Driver::Lmcache, Kind::Fast),
            (Mode::Gpu, EngineDriven, "http://h", Driver::Engine, Kind::Fast),
        ] {
            let config = resolved(|args| {
                (args.mode, args.transfer_mode, args.url) = (mode, transfer, url.into());
            });
            assert_eq!(
                (config.driver, config.checksum),
                (driver, kind),
                "{mode:?} {transfer:?}"
            );
        }
        let multi = |args: &mut ServerArgs| {
            args.kvcache_shape_spec = Some("(2,16,4,1,4):float16:2;(1,16,4,1,4):uint8:1".into());
        };
        assert!(refused(multi).starts_with("engine_driven supports only one KV group"));
    }

    #[test]
    fn values_out_of_range_are_refused_with_their_flag() {
        for (change, want) in [
            ((|args| args.tp_size = 0) as fn(&mut ServerArgs), "--tp-size is 0"),
            (|args| args.num_tokens = 0, "--num-tokens is 0"),
            (|args| args.start = -1, "--start is -1"),
            (|args| args.end = Some(1 << 33), "--end is 8589934592"),
            (
                |args| (args.start, args.end) = (3, Some(3)),
                "--end is 3 but must be above --start",
            ),
            (|args| args.interval = -0.5, "--interval is -0.5"),
            (|args| args.concurrency = 0, "--concurrency is 0"),
            (|args| args.concurrency = 257, "--concurrency is 257"),
            (|args| args.interval = f64::NAN, "--interval is NaN"),
            (|args| args.rpc_timeout_s = 0.0, "--rpc-timeout-s is 0"),
            (
                |args| args.connect_timeout_s = f64::INFINITY,
                "--connect-timeout-s is inf",
            ),
            (|args| args.use_mla = true, "--use-mla requires"),
            (
                |args| args.kvcache_shape_spec = Some(String::new()),
                "--kvcache-shape-spec: KV shape specification cannot be empty",
            ),
        ] {
            let text = refused(change);
            assert!(text.starts_with(want), "{text}");
        }
    }

    #[test]
    fn a_wire_is_taken_only_if_it_was_built() {
        assert_eq!(resolved(|_| {}).wire, WireKind::Native);
        match cfg!(feature = "libzmq") {
            true => assert_eq!(resolved(|args| args.wire = WireKind::Libzmq).wire, WireKind::Libzmq),
            false => assert_eq!(refused(|args| args.wire = WireKind::Libzmq), LIBZMQ_ABSENT),
        }
    }

    #[test]
    fn a_run_that_does_not_fit_into_memory_is_refused() {
        let machine = Machine {
            available_bytes: Some(3 << 30),
            shared_memory_bytes: Some(1 << 30),
        };
        let check = |change: fn(&mut ServerArgs)| RunConfig::resolve(&args(change), machine);
        assert!(check(|_| {}).is_ok());
        let text = check(|args| args.tp_size = 2).unwrap_err().to_string();
        assert!(text.contains("need 4.0 GiB of memory but only 3.0 GiB"), "{text}");
        let text = check(|args| args.concurrency = 3).unwrap_err().to_string();
        assert!(text.contains("need 6.0 GiB of memory but only 3.0 GiB"), "{text}");
        assert!(text.ends_with("or a lower --tp-size or --concurrency"), "{text}");
        let text = check(|args| args.transfer_mode = TransferMode::LmcacheDriven)
            .unwrap_err()
            .to_string();
        assert!(text.contains("/dev/shm has only 1.0 GiB free"), "{text}");
    }
}
