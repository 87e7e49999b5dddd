//! One `l2` run from spec to exit code: buffers, adapter, phases, report, clean-up. When a step fails, what was measured before
//! it is still reported.

use std::time::Instant;

use crate::error::Error;
use crate::l2::adapter::{Adapter, Operation};
use crate::l2::config::RunConfig;
use crate::l2::device::DeviceMeter;
use crate::l2::flags::L2Args;
use crate::l2::result::samples;
use crate::l2::runner::{Event, Runner};
use crate::l2::samples::PhaseSamples;
use crate::l2::setup::{self, Slots};
use crate::l2::spec;
use crate::l2::summary::{self, RunFacts};
use crate::l2::warning::{SpecWarning, Warning};
use crate::report::progress::Progress;
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::storage::Storage;
use crate::sys::{counters, panic, signal};

/// Runs `l2`. `started` is the start of the process.
pub fn run(args: &L2Args, started: Instant) -> Result<Status, Error> {
    let config = RunConfig::resolve(args, counters::available_memory_bytes())?;
    let parsed = spec::parse_specs(&setup::given_specs(args))?;
    let output = Output::check(&args.output)?;
    let mut progress = output.progress();
    let bridge = setup::bridge_request(&config, &parsed.first)?;
    let encryption = setup::encryption(&config, &parsed.first)?;
    let mut slots = Slots::allocate(&config, bridge.is_some())?;
    progress.line("");
    progress.line("[Init] Creating adapter...");
    let mut adapter = setup::create_adapter(&parsed.first, &config, &slots, bridge.as_ref(), encryption)?;
    let mut warnings = parsed.warnings;
    if encryption.is_some() {
        let is_about_serde = |warning: &Warning| matches!(warning, Warning::Spec(SpecWarning::FieldWithoutEffect { field, .. }) if field == "serde");
        warnings.retain(|warning| !is_about_serde(warning));
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
    let notes = output.path_notes.iter().cloned();
    warnings.extend(notes.map(|note| Warning::LiteralPath { note }));
    if config.verify && !config.runs(Operation::Load) {
        warnings.push(Warning::NothingToVerify);
    }
    let storage_path = adapter.capabilities().storage_path.clone();
    let meter = DeviceMeter::new(storage_path.as_deref(), adapter.helper_pid());
    // Read before the run: a file system that stops responding must not keep the report back.
    let storage = storage_path.as_deref().map(Storage::behind).unwrap_or_default();
    let mut run = phases(&config, adapter.as_mut(), &meter, started, &mut slots, &mut progress);
    warnings.extend(adapter.take_warnings());
    // Read once: a later signal does not make the report partial.
    let interrupted = signal::received();
    print_verification(&run.phases, &mut progress);
    let facts = RunFacts {
        config: &config,
        adapter_json: &parsed.first.shown,
        knows_device: meter.knows_device(),
        storage_path: storage_path.map(|path| path.display().to_string()),
        storage,
        interrupted: interrupted.map(signal::name),
        adapter_sections: adapter.sections(),
        adapter_class: class_name,
        started,
    };
    let mut result = summary::result(&facts, &run.phases, warnings);
    output.complete(&mut result, || samples(&run.phases));
    let unwritten = output.write(&result);
    progress.line("[Cleanup] Closing adapter...");
    if let Err(sentence) = adapter.close() {
        run.problems
            .push(format!("[Cleanup] adapter.close() failed: {sentence}"));
    }
    progress.line("[Cleanup] Done.");
    Ok(status(&run, interrupted, unwritten))
}

/// The samples of all phases.
struct Run {
    phases: Vec<PhaseSamples>,
    /// Error messages; any of them makes the exit code 1.
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
            // The samples of earlier phases are kept.
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

/// LMCache's word for the keys that succeeded.
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

/// The status of the run, with the messages for stderr.
fn status(run: &Run, interrupted: Option<i32>, unwritten: Vec<String>) -> Status {
    let mut sentences = unwritten;
    sentences.extend(run.problems.iter().cloned());
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
    run::ended(interrupted, sentences)
}
