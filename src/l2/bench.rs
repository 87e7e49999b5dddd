//! The story of one `l2` run: spec, buffers, adapter, phases, report, clean-up. Every step that can fail ends in a sentence;
//! whatever was measured before is still reported.

use std::env;
use std::sync::Arc;
use std::time::Instant;

use crate::cli::Format;
use crate::error::Error;
use crate::l2::adapter::{Adapter, Environment, IoEngine, Operation};
use crate::l2::adapters;
use crate::l2::adapters::bridge::BridgeRequest;
use crate::l2::config::RunConfig;
use crate::l2::device::DeviceMeter;
use crate::l2::flags::{L2Args, Via};
use crate::l2::runner::{Event, Runner};
use crate::l2::samples::PhaseSamples;
use crate::l2::spec::{self, AdapterSpec, AesGcmConfig, SerdeConfig};
use crate::l2::summary::{self, RunFacts};
use crate::report::model::Report;
use crate::report::output::{OutputFile, write_stdout};
use crate::report::progress::Progress;
use crate::report::warning::{SpecDoubt, Warning};
use crate::report::{json, terminal};
use crate::status::Status;
use crate::sys::arena::{Arena, Slot};
use crate::sys::{counters, limits, panic, signal};
use crate::units::bytes_text;
use crate::url::literal_path_note;

/// Runs `l2` as the command line asks. `started` is when the process began.
pub fn run(args: &L2Args, started: Instant) -> Result<Status, Error> {
    let specs = given_specs(args);
    let config = RunConfig::resolve(args, counters::available_memory_bytes())?;
    let parsed = spec::parse_specs(&specs)?;
    let output = args.output.as_deref().map(OutputFile::check).transpose()?;
    let mut progress = match (args.quiet, args.format) {
        (true, _) => Progress::silent(),
        (false, Format::Terminal) => Progress::stdout(),
        (false, Format::Json) => Progress::stderr(),
    };
    let bridge = bridge_request(args, &parsed.first, &config)?;
    let encryption = encryption(args, &parsed.first)?;
    let mut slots = Slots::allocate(&config, bridge.is_some())?;
    progress.line("");
    progress.line("[Init] Creating adapter...");
    let mut adapter = create_adapter(&parsed.first, &config, &slots, bridge.as_ref(), encryption)?;
    let mut warnings = parsed.warnings;
    if encryption.is_some() {
        warnings.retain(|warning| !matches!(warning, Warning::Spec(SpecDoubt::FieldWithoutEffect { field, .. }) if field == "serde"));
    }
    let (class_name, keeps_data) = (adapter.capabilities().class_name, adapter.capabilities().keeps_data);
    progress.line(&format!("[Init] Adapter created successfully ({class_name})."));
    progress.line("");
    if config.verify && !keeps_data {
        return Err(Error::Usage(
            "--no-skip-verify cannot check a null device, which keeps no data; give mock_bandwidth_gb a number".into(),
        ));
    }
    if !keeps_data {
        warnings.push(Warning::NullDevice);
    }
    let note = args
        .output
        .as_deref()
        .and_then(|path| literal_path_note("--output", path));
    warnings.extend(note.map(|note| Warning::LiteralPath { note }));
    if config.verify && !config.runs(Operation::Load) {
        warnings.push(Warning::NothingToVerify);
    }
    let meter = DeviceMeter::new(adapter.capabilities().storage_path.as_deref(), adapter.helper_pid());
    let mut run = phases(&config, adapter.as_mut(), &meter, started, &mut slots, &mut progress);
    warnings.extend(adapter.take_warnings());
    // Read once: a signal that comes later does not make the report partial.
    let interrupted = signal::received();
    let facts = RunFacts {
        config: &config,
        adapter_json: &parsed.first.shown,
        knows_device: meter.knows_device(),
        storage_path: adapter
            .capabilities()
            .storage_path
            .as_ref()
            .map(|path| path.display().to_string()),
        interrupted: interrupted.map(signal::name),
        adapter_sections: adapter.sections(),
    };
    print_verification(&run.phases, &mut progress);
    let report = summary::report(&facts, &run.phases, warnings);
    let written = write_report(&report, args, output.as_ref());
    progress.line("[Cleanup] Closing adapter...");
    if let Err(sentence) = adapter.close() {
        run.problems
            .push(format!("[Cleanup] adapter.close() failed: {sentence}"));
    }
    progress.line("[Cleanup] Done.");
    written?;
    Ok(status(&run, interrupted))
}

fn given_specs(args: &L2Args) -> Vec<String> {
    if !args.l2_adapter.is_empty() {
        return args.l2_adapter.clone();
    }
    env::var("L2_ADAPTER_JSON")
        .ok()
        .filter(|json| !json.is_empty())
        .into_iter()
        .collect()
}

/// The L1 buffer: store slots and load slots, each one round's worth, made only if their operation runs.
struct Slots {
    arena: Arc<Arena>,
    store: Vec<Slot>,
    load: Vec<Slot>,
}

impl Slots {
    /// `shared` when a helper process works on the buffers.
    fn allocate(config: &RunConfig, shared: bool) -> Result<Slots, Error> {
        let bytes = config.buffer_bytes();
        let make = if shared { Arena::shared } else { Arena::new };
        let arena = make(bytes, config.align_bytes, config.huge_pages).map_err(|error| {
            let advice = limits::advice(&error).unwrap_or(if config.huge_pages {
                "--l1-use-hugepages needs free 2 MiB pages: raise the sysctl vm.nr_hugepages"
            } else {
                "lower --num-keys, --in-flight or --data-size-kb"
            });
            Error::Environment(format!(
                "could not allocate {} of L1 buffers: {error}; {advice}",
                bytes_text(bytes as u64)
            ))
        })?;
        let (arena, mut store) = arena.into_slots(config.object_bytes);
        let stored = if config.runs(Operation::Store) {
            config.keys_per_round()
        } else {
            0
        };
        let load = store.split_off(stored);
        Ok(Slots { arena, store, load })
    }
}

/// How to reach LMCache's own adapter, if it is that one which is measured.
fn bridge_request(args: &L2Args, spec: &AdapterSpec, config: &RunConfig) -> Result<Option<BridgeRequest>, Error> {
    let native = spec.kind.is_native();
    let request = || BridgeRequest {
        python: args.python.clone(),
        keys_per_submit: config.keys_per_submit(),
        align_bytes: config.align_bytes,
        create_timeout: config.timeout(Operation::Store),
    };
    let bridged = args.via == Some(Via::Lmcache) || !native;
    let native_only = [
        ("--io-engine", config.io_engine != IoEngine::Auto),
        ("--io-depth", config.io_depth > 0),
        ("--fdatasync", config.fdatasync),
        ("--recycle", config.recycle),
        ("--probe", config.probe),
    ];
    if let (true, Some((flag, _))) = (bridged, native_only.iter().find(|(_, given)| *given)) {
        return Err(Error::Usage(format!(
            "{flag} is for the native adapters, LMCache's own have nothing like it; leave it out with --via lmcache"
        )));
    }
    match args.via {
        Some(Via::Native) if !native => Err(Error::Usage(format!(
            "--via native: this program has no adapter of its own for type '{}'; leave the flag out, and LMCache's is \
             run through its Python",
            spec.type_name
        ))),
        _ if bridged => Ok(Some(request())),
        _ => Ok(None),
    }
}

/// How objects are encrypted, if they are.
fn encryption<'a>(args: &L2Args, spec: &'a AdapterSpec) -> Result<Option<&'a AesGcmConfig>, Error> {
    let refused = |why: String| Err(Error::Usage(format!("--apply-serde: {why}")));
    match &spec.serde {
        _ if !args.apply_serde => Ok(None),
        _ if args.probe => {
            refused("--probe compares with whole blocks, which encrypted objects are not; drop one".into())
        }
        None => refused("the adapter JSON has no serde block; give one of type aesgcm or leave the flag out".into()),
        Some(Err(message)) => refused(format!("{message}; mend the serde block of the adapter JSON")),
        Some(Ok(SerdeConfig::Other(name))) => refused(format!("type '{name}' cannot be applied here, only aesgcm can")),
        Some(Ok(SerdeConfig::AesGcm(config))) => Ok(Some(config)),
    }
}

fn create_adapter(
    spec: &AdapterSpec,
    config: &RunConfig,
    slots: &Slots,
    bridge: Option<&BridgeRequest>,
    encryption: Option<&AesGcmConfig>,
) -> Result<Box<dyn Adapter>, Error> {
    let environment = Environment {
        arena: Arc::clone(&slots.arena),
        object_bytes: config.object_bytes,
        align_bytes: config.align_bytes,
        run_objects: config.plan.total_rounds() * config.plan.keys_per_round(),
        io_engine: config.io_engine,
        io_depth: config.io_depth,
        fdatasync: config.fdatasync,
        recycle_files: config.recycle_files(),
        stores: config.runs(Operation::Store),
    };
    let objects = config.keys_per_round();
    let encryption = encryption.map(|config| (config, objects));
    adapters::create(spec, environment, bridge, encryption)
}

/// What the phases left behind.
struct Run {
    phases: Vec<PhaseSamples>,
    /// Sentences that make the exit code 1.
    problems: Vec<String>,
}

fn phases(
    config: &RunConfig,
    adapter: &mut dyn Adapter,
    meter: &DeviceMeter,
    started: Instant,
    slots: &mut Slots,
    progress: &mut Progress,
) -> Run {
    let mut run = Run {
        phases: Vec::new(),
        problems: Vec::new(),
    };
    let mut on_event = |event| print_event(config, progress, event);
    for &operation in &config.operations {
        let stored = run.phases.iter().find(|phase| phase.operation == Operation::Store);
        let all_stored = stored.is_some_and(|phase| phase.failures.count == 0 && phase.rounds_timed_out == 0);
        let mut none = Vec::new();
        let slots = match operation {
            Operation::Store => &mut slots.store,
            Operation::Load => &mut slots.load,
            Operation::Lookup => &mut none,
        };
        let mut runner = Runner {
            config,
            adapter,
            meter,
            started,
            on_event: &mut on_event,
            all_stored,
        };
        match panic::caught(|| runner.run(operation, slots)) {
            // The phases before it are kept.
            None => break,
            Some(Ok(phase)) => {
                let over = phase.interrupted.is_some() || phase.aborted.is_some();
                run.problems.extend(phase.aborted.clone());
                run.phases.push(phase);
                if over {
                    break;
                }
            }
            Some(Err(sentence)) => {
                run.problems.push(sentence);
                break;
            }
        }
    }
    run
}

fn print_event(config: &RunConfig, progress: &mut Progress, event: Event) {
    match event {
        Event::PhaseBegins { operation } => {
            let (label, warmup, rounds) = (operation.label(), config.warmup_rounds, config.rounds);
            progress.line(&format!(
                "[{label}] Running {warmup} warmup + {rounds} measurement rounds..."
            ));
        }
        Event::RoundEnds {
            operation,
            round,
            duration,
            success,
            keys,
        } => {
            let (label, verb) = (operation.label(), counted(operation));
            let ms = duration.as_secs_f64() * 1e3;
            progress.line(&format!(
                "  [{label}] Round {round}: {ms:.2} ms, {verb}={success}/{keys}"
            ));
        }
        Event::RoundTimedOut {
            operation,
            round,
            tasks_done,
            tasks,
            success,
            keys,
        } => {
            let (label, verb) = (operation.label(), counted(operation));
            progress.line(&format!(
                "  [{label}] Round {round}: TIMEOUT ({tasks_done}/{tasks} tasks completed, {verb}={success}/{keys})"
            ));
        }
        Event::PhaseEnds => progress.line(""),
    }
}

/// The word the reference uses for a key that succeeded.
fn counted(operation: Operation) -> &'static str {
    match operation {
        Operation::Store => "success_keys",
        Operation::Lookup => "found",
        Operation::Load => "loaded",
    }
}

fn print_verification(phases: &[PhaseSamples], progress: &mut Progress) {
    let Some(tally) = phases.iter().find_map(|phase| phase.verify.as_ref()) else {
        return;
    };
    progress.line("[Verify] Checking store -> load data integrity for every measured round...");
    if tally.objects == 0 {
        progress.line("  [Verify] Nothing was loaded, so nothing could be verified.");
    } else if tally.bad_count() == 0 {
        progress.line(&format!("  [Verify] All {} keys data verified OK.", tally.objects));
    } else {
        let (bad, all) = (tally.bad_count(), tally.objects);
        progress.line(&format!("  [Verify] {bad}/{all} keys have data mismatches!"));
    }
    progress.line("");
}

fn write_report(report: &Report, args: &L2Args, output: Option<&OutputFile>) -> Result<(), Error> {
    let text = match args.format {
        Format::Terminal => terminal::render(report),
        Format::Json => json::render(report),
    };
    // The file first: it is the copy that outlives a closed pipe.
    let saved = output.map_or(Ok(()), |file| file.write(&text));
    saved.and(write_stdout(&text))
}

/// What the exit code says, and the sentences for standard error.
fn status(run: &Run, interrupted: Option<i32>) -> Status {
    let mut sentences = run.problems.clone();
    for phase in &run.phases {
        let label = phase.operation.label();
        let failures = &phase.failures;
        sentences.extend(failures.kept.iter().cloned());
        let more = failures.count.saturating_sub(failures.kept.len() as u64);
        if more > 0 {
            sentences.push(format!("{label}: {more} more keys failed"));
        }
        if phase.rounds_timed_out > 0 {
            sentences.push(format!(
                "{label}: {} rounds timed out and are not in the figures; look at the store, or raise --round-timeout-s",
                phase.rounds_timed_out
            ));
        }
    }
    match interrupted {
        Some(signal) => Status::Interrupted { signal, sentences },
        None if sentences.is_empty() => Status::Done,
        None => Status::Failed(sentences),
    }
}
