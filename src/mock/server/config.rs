//! The settings of a mock server, checked against one another. Nothing is opened here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::service::CHUNK_SIZE_MAX;
use crate::error::Error;
use crate::mock::server::flags::MockServerArgs;
use crate::server::flags::TransferMode;
use crate::server::rpc::{Generation, Operation};

/// One hour.
const DELAY_MS_MAX: f64 = 3_600_000.0;

#[derive(Debug)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub http_port: u16,
    pub generation: Generation,
    /// The release as given, for the HTTP API.
    pub release: String,
    pub chunk_size: u64,
    pub memory_bytes: u64,
    pub lmcache_driven: bool,
    pub engine_driven: bool,
    /// Name of the shared memory, if chunks are kept there.
    pub shm_name: Option<String>,
    pub api_key_files: Vec<PathBuf>,
    delays: Vec<Delay>,
    faults: Vec<Fault>,
}

/// The operations that a delay or fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    One(Operation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    DropReply,
    UnknownOp,
    Refuse,
    TruncateReply,
    WrongType,
    Disconnect,
    PartialHit,
    Corrupt,
    MoveNothing,
    WrongChecksum,
    Die,
}

#[derive(Debug)]
struct Delay {
    scope: Scope,
    time: Duration,
    count: Count,
}

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    scope: Scope,
    count: Count,
}

/// Counts the matching requests.
#[derive(Debug)]
struct Count {
    /// Only the Nth one, counted from 1; `die` applies from it on.
    only: Option<u64>,
    seen: AtomicU64,
}

impl Count {
    /// The number of this request, and the one that is meant.
    fn next(&self) -> (u64, Option<u64>) {
        (self.seen.fetch_add(1, Ordering::Relaxed) + 1, self.only)
    }

    /// Splits `@N` off; `flag` begins the refusal of an N that is none.
    fn parse<'a>(text: &'a str, flag: &str) -> Result<(&'a str, Count), String> {
        let (rest, only) = match text.split_once('@') {
            None => (text, None),
            Some((rest, number)) => match number.parse::<u64>() {
                Ok(number @ 1..) => (rest, Some(number)),
                _ => return Err(format!("{flag} '{text}': '{number}' is no count from 1 on")),
            },
        };
        let seen = AtomicU64::new(0);
        Ok((rest, Count { only, seen }))
    }
}

const KINDS: [(&str, FaultKind); 11] = [
    ("drop-reply", FaultKind::DropReply),
    ("unknown-op", FaultKind::UnknownOp),
    ("refuse", FaultKind::Refuse),
    ("truncate-reply", FaultKind::TruncateReply),
    ("wrong-type", FaultKind::WrongType),
    ("disconnect", FaultKind::Disconnect),
    ("partial-hit", FaultKind::PartialHit),
    ("corrupt", FaultKind::Corrupt),
    ("move-nothing", FaultKind::MoveNothing),
    ("wrong-checksum", FaultKind::WrongChecksum),
    ("die", FaultKind::Die),
];

const OPERATIONS: [(&str, Operation); 20] = [
    ("register_kv_cache", Operation::RegisterKvCache),
    ("unregister_kv_cache", Operation::UnregisterKvCache),
    ("store", Operation::Store),
    ("retrieve", Operation::Retrieve),
    ("lookup", Operation::Lookup),
    ("query_prefetch_status", Operation::QueryPrefetchStatus),
    ("wait_prefetch_status", Operation::WaitPrefetchStatus),
    ("free_lookup_locks", Operation::FreeLookupLocks),
    ("end_session", Operation::EndSession),
    ("register_engine_context", Operation::RegisterEngineContext),
    ("unregister_engine_context", Operation::UnregisterEngineContext),
    ("prepare_store", Operation::PrepareStore),
    ("commit_store", Operation::CommitStore),
    ("prepare_retrieve", Operation::PrepareRetrieve),
    ("commit_retrieve", Operation::CommitRetrieve),
    ("clear", Operation::Clear),
    ("get_chunk_size", Operation::GetChunkSize),
    ("get_experimental", Operation::GetExperimental),
    ("ping", Operation::Ping),
    ("noop", Operation::Noop),
];

impl Config {
    pub fn resolve(args: &MockServerArgs) -> Result<Config, Error> {
        resolve(args).map_err(|text| Error::Usage(format!("lmcache-bench mock server: {text}")))
    }

    /// The shortest time between this request and its answer. Counts the matching requests.
    pub fn delay(&self, operation: Operation) -> Duration {
        let fits = self.delays.iter().filter(|delay| delay.scope.covers(operation));
        let now = fits.filter(|delay| match delay.count.next() {
            (number, Some(only)) => number == only,
            (_, None) => true,
        });
        // Each is counted, and the last one that was given decides.
        now.fold(Duration::ZERO, |_, delay| delay.time)
    }

    /// Whether this request gets the fault. Counts the matching requests.
    pub fn fault(&self, kind: FaultKind, operation: Operation) -> bool {
        let fits = self
            .faults
            .iter()
            .filter(|fault| fault.kind == kind && fault.scope.covers(operation));
        fits.fold(false, |any, fault| {
            let now = match (fault.kind, fault.count.next()) {
                (_, (_, None)) => true,
                (FaultKind::Die, (number, Some(from))) => number >= from,
                (_, (number, Some(only))) => number == only,
            };
            any || now
        })
    }
}

impl Scope {
    fn covers(self, operation: Operation) -> bool {
        match self {
            Scope::All => true,
            Scope::One(one) => one == operation,
        }
    }

    fn parse(text: &str) -> Result<Scope, String> {
        if text == "all" {
            return Ok(Scope::All);
        }
        let operation = named(&OPERATIONS, text);
        operation
            .map(Scope::One)
            .map_err(|names| format!("unknown operation '{text}'; the operations are all, {names}"))
    }
}

/// The value of a name, or a list of all names.
fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Result<T, String> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        names.join(", ")
    })
}

fn resolve(args: &MockServerArgs) -> Result<Config, String> {
    let port =
        |flag: &str, port: i64| u16::try_from(port).map_err(|_| format!("{flag} {port} is not between 0 and 65535"));
    let positive = |flag: &str, value: i64, max: u64| match u64::try_from(value) {
        Ok(value) if (1..=max).contains(&value) => Ok(value),
        _ => Err(format!("{flag} {value} is not between 1 and {max}")),
    };
    let generation = Generation::of_release(&args.release).ok_or_else(|| {
        let newest = Generation::NEWEST.label;
        format!("--release '{}' is none of 0.5.0 to {newest}", args.release)
    })?;
    if let Some(name) = &args.shm_name
        && (name.is_empty() || name.len() > 200 || name.contains(['/', '\0']))
    {
        return Err(format!(
            "--shm-name '{name}' must have 1 to 200 characters and no slash"
        ));
    }
    let mode = args.supported_transfer_mode;
    Ok(Config {
        host: args.host.clone(),
        port: port("--port", args.port)?,
        http_port: port("--http-port", args.http_port)?,
        generation,
        release: args.release.clone(),
        chunk_size: positive("--chunk-size", args.chunk_size, CHUNK_SIZE_MAX)?,
        memory_bytes: positive("--l1-size-mb", args.l1_size_mb, 1 << 20)? << 20,
        lmcache_driven: mode != TransferMode::EngineDriven,
        engine_driven: mode != TransferMode::LmcacheDriven,
        shm_name: args.shm_name.as_ref().map(|name| format!("lmcache_l1_pool_{name}")),
        api_key_files: args.api_key_file.clone(),
        delays: args.delay.iter().map(|text| delay(text)).collect::<Result<_, _>>()?,
        faults: args.fault.iter().map(|text| fault(text)).collect::<Result<_, _>>()?,
    })
}

fn delay(text: &str) -> Result<Delay, String> {
    let wrong = || format!("--delay '{text}' is not OPERATION=MS, as in lookup=2.5");
    let (requests, ms) = text.split_once('=').ok_or_else(wrong)?;
    match ms.parse::<f64>() {
        Ok(ms) if (0.0..=DELAY_MS_MAX).contains(&ms) => {
            let (operation, count) = Count::parse(requests, "--delay")?;
            let scope = Scope::parse(operation).map_err(|why| format!("--delay: {why}"))?;
            let time = Duration::from_secs_f64(ms / 1e3);
            Ok(Delay { scope, time, count })
        }
        _ => Err(wrong()),
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    let (rest, count) = Count::parse(text, "--fault")?;
    let (name, scope) = match rest.split_once(':') {
        None => (rest, Scope::All),
        Some((name, operation)) => (name, Scope::parse(operation).map_err(|why| format!("--fault: {why}"))?),
    };
    let kind = named(&KINDS, name).map_err(|names| format!("unknown --fault '{name}'; the faults are {names}"))?;
    Ok(Fault { kind, scope, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::server::flags::TABLE;

    fn resolved(change: impl FnOnce(&mut MockServerArgs)) -> Result<Config, String> {
        let mut args = TABLE.presets();
        change(&mut args);
        resolve(&args)
    }

    #[test]
    fn delays_and_faults_fit_their_operations() {
        let config = resolved(|args| {
            args.delay = vec!["all=1".into(), "lookup=2.5".into(), "ping@2=7".into()];
            args.fault = vec!["drop-reply:store@2".into(), "die@3".into()];
        })
        .unwrap();
        assert_eq!(config.delay(Operation::Lookup), Duration::from_micros(2500));
        assert_eq!(config.delay(Operation::Store), Duration::from_millis(1));
        let pings = [(); 3].map(|()| config.delay(Operation::Ping).as_millis());
        assert_eq!(pings, [1, 7, 1]);
        let drops: Vec<bool> = (0..3)
            .map(|_| config.fault(FaultKind::DropReply, Operation::Store))
            .collect();
        assert_eq!(drops, [false, true, false]);
        assert!(!config.fault(FaultKind::DropReply, Operation::Lookup));
        let dead: Vec<bool> = (0..4).map(|_| config.fault(FaultKind::Die, Operation::Noop)).collect();
        assert_eq!(dead, [false, false, true, true]);
    }

    #[test]
    fn nonsense_is_named() {
        let text = |change: fn(&mut MockServerArgs)| resolved(change).unwrap_err();
        assert!(text(|args| args.port = 70000).contains("--port 70000"));
        assert!(text(|args| args.chunk_size = 0).contains("--chunk-size 0"));
        assert!(text(|args| args.release = "0.6".into()).contains("0.5.0 to 0.5.7"));
        assert!(text(|args| args.delay = vec!["lookup".into()]).contains("OPERATION=MS"));
        assert!(text(|args| args.delay = vec!["look=1".into()]).contains("unknown operation 'look'"));
        assert!(text(|args| args.delay = vec!["lookup=-1".into()]).contains("OPERATION=MS"));
        assert!(text(|args| args.delay = vec!["lookup@0=1".into()]).contains("no count"));
        assert!(text(|args| args.fault = vec!["explode".into()]).contains("unknown --fault 'explode'"));
        assert!(text(|args| args.fault = vec!["die@0".into()]).contains("no count"));
        assert!(text(|args| args.shm_name = Some("a/b".into())).contains("--shm-name"));
    }
}
