//! `--staircase`: working sets and prompts are sent, and where their tokens came from says how large and how fast each tier is.
//! What was measured before a signal or a failure is reported.

mod climb;
mod shares;
mod until;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tracking::Tracking;
use super::{Opened, Run};
use crate::engine::ask::discover::Engine;
use crate::engine::ask::server_counters::ServerCounters;
use crate::engine::config::EngineConfig;
use crate::engine::config::load::{RunPlan, Staircase};
use crate::engine::report::staircase::{self, Climbed};
use crate::engine::report::warning::{StepsWarning, Warning};
use crate::engine::run::certificate::ClientError;
use crate::engine::run::live::{Goal, Stage};
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::tokens::Tokenizer;
use crate::engine::workload::circle::Documents;
use crate::engine::workload::{Phase, Workload};
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::ledger::staircase::circle::{Circle, document_tokens};
use crate::ledger::staircase::plan::{Action, Plan, Settings};
use crate::ledger::staircase::probes::{Sent, Source};
use crate::ledger::staircase::{Point, Tiers};
use crate::ledger::tiers::{EXACT_LRU, L2};
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::ending::saving;
use crate::sys::signal;
use crate::units::with_commas;

use climb::{Measure, climb};
use shares::{ByAnswers, ByCounters, Shares};
use until::Until;

/// Working sets that grow geometrically.
const GROWING: u32 = 8;
/// L1 of LMCache evicts once a second: two of these and what stores take.
const SETTLE: Duration = Duration::from_millis(2300);
/// Prompts have their numbers from here on, far above those of other documents.
const FIRST_PROMPT: u64 = 1 << 40;

/// What is going to be measured, and with which documents.
pub struct Planned {
    staircase: Staircase,
    plan: Plan,
    documents: Arc<Documents>,
    /// What the model takes.
    longest: Option<u64>,
    /// How long tiers go on after the last answer.
    settle: Duration,
    /// What is known of the tiers.
    known: Tracking,
}

impl Planned {
    /// `None` for a run that is no staircase.
    pub fn of(
        config: &EngineConfig,
        tokenizer: &Tokenizer,
        key: &ApiKey,
        counters: &ServerCounters,
    ) -> Result<Option<Planned>, Error> {
        let RunPlan::Staircase { staircase, .. } = config.load.plan else {
            return Ok(None);
        };
        let base_url = config.base_url();
        let engine = Engine {
            base_url: &base_url,
            key,
        };
        let longest = engine.max_model_len(&config.model);
        let known = Tracking::begin(config, key, counters);
        let tiers = sizes(&known);
        let settle = settle(config, &known);
        let tokens = staircase.document_tokens;
        check_length(tokens, &tiers)?;
        let document_tokens = tokens.unwrap_or_else(|| document_tokens(&tiers, longest));
        Ok(Some(Planned {
            staircase,
            plan: Plan::new(Settings {
                tiers,
                document_tokens,
                growing: GROWING,
                passes: staircase.passes,
                settle_s: settle.as_secs_f64(),
            }),
            documents: Documents::new(config, tokenizer)?,
            longest,
            settle,
            known,
        }))
    }

    /// The first working set.
    pub fn workload(&self) -> Box<dyn Workload> {
        let first = match self.plan.next(f64::INFINITY) {
            Action::Measure(circle) => circle,
            Action::Done(_) => Circle::default(),
        };
        self.documents.circle(first, 0, self.staircase.passes)
    }
}

/// Refuses documents of which HBM holds nothing.
fn check_length(document_tokens: Option<u64>, tiers: &Tiers) -> Result<(), Error> {
    let Some((tokens, block)) = document_tokens
        .zip(tiers.block)
        .filter(|(tokens, block)| tokens <= block)
    else {
        return Ok(());
    };
    Err(Error::Usage(format!(
        "--staircase-document-length {tokens} is not longer than a block of {block} tokens, so that HBM serves nothing of a document \
         that is sent again; give at least {}",
        block.saturating_add(1)
    )))
}

/// The tiers in tokens, as far as their sizes are known.
fn sizes(known: &Tracking) -> Tiers {
    let tiers = &known.tiers;
    let tokens = |bytes: u64| bytes.checked_div(tiers.bytes_per_token.value?);
    let has_cache = known.has_cache();
    Tiers {
        hbm: tiers.hbm_tokens.value,
        l1: tiers.l1_bytes.value.filter(|_| has_cache).and_then(tokens),
        l1_keeps: tiers
            .l1_keeps_bytes()
            .filter(|_| has_cache)
            .and_then(|bytes| tokens(bytes as u64)),
        l2: match tiers.l2.value {
            Some(L2::Bytes(bytes)) if has_cache => tokens(bytes),
            Some(L2::None) if has_cache => Some(0),
            _ => None,
        },
        block: tiers.block_tokens.value,
        chunk: tiers.chunk_tokens.value.filter(|_| has_cache),
    }
}

/// Without a cache server that evicts by its own clock nothing goes on after an answer.
fn settle(config: &EngineConfig, known: &Tracking) -> Duration {
    let evicts_at_once = known.tiers.l1_policy.value.as_deref() == Some(EXACT_LRU);
    if config.has_lmcache() && !evicts_at_once {
        SETTLE
    } else {
        Duration::ZERO
    }
}

impl Run<'_> {
    /// Measures the staircase and reports it.
    pub(super) fn staircase(
        &mut self,
        planned: Planned,
        opened: Option<Opened>,
        replay: Option<ClientError>,
        output: &Output,
    ) -> Result<Status, Error> {
        let mut climbed = Climbed {
            plan: planned.plan,
            ended: None,
            cut_off: None,
            probes: None,
            bytes_per_token: planned.known.tiers.bytes_per_token.value.map(|bytes| bytes as f64),
            failure: None,
        };
        if let Some(opened) = opened {
            let counted = ByCounters::of(&self.counters, planned.known);
            let shares: Box<dyn Shares> = match counted {
                Some(counted) => Box::new(counted),
                None => Box::new(ByAnswers),
            };
            let ends = Instant::now() + self.budget();
            let mut climber = Climber {
                opened,
                shares,
                documents: planned.documents,
                passes: planned.staircase.passes,
                document_tokens: climbed.plan.settings().document_tokens,
                settle: planned.settle,
                ends,
                until: ends,
                next_document: 0,
                points: 0,
            };
            climber.opened.runner.deadline = Some(self.clock.now().plus(self.budget()));
            let outcome = climb(&mut climbed, &mut climber, planned.longest);
            climber.opened.display.stop();
            if let Err(failure) = outcome {
                // Nothing was measured that a report could show.
                if climbed.plan.points().is_empty() {
                    return Err(failure);
                }
                climbed.failure = Some(failure.to_string());
            }
        }
        Ok(self.report_staircase(&climbed, replay, output))
    }

    fn budget(&self) -> Duration {
        match self.config.load.plan {
            RunPlan::Staircase { budget, .. } => budget,
            _ => Duration::ZERO,
        }
    }

    fn report_staircase(&mut self, climbed: &Climbed, replay: Option<ClientError>, output: &Output) -> Status {
        let saving = saving();
        let interrupted = signal::received();
        let mut warnings = std::mem::take(&mut self.warnings);
        if let Some(cause) = &climbed.failure {
            warnings.push(Warning::Steps(StepsWarning::Failed { cause: cause.clone() }));
        }
        let mut result = staircase::result(self.config, climbed, replay.as_ref(), &warnings, self.started);
        result.partial = interrupted.map(|signal| signal::name(signal).into());
        result.settings = self.config.settings.clone();
        result.target = self.target();
        output.complete(&mut result, || staircase::samples(climbed));
        drop(saving);
        let mut problems = output.write(&result);
        if interrupted.is_none() {
            let problem = climbed.problem();
            problems.extend(problem.map(|text| format!("lmcache-bench engine: {text}")));
        }
        run::ended(interrupted, problems)
    }
}

/// Sends the documents, one in flight.
struct Climber {
    opened: Opened,
    shares: Box<dyn Shares>,
    documents: Arc<Documents>,
    passes: u64,
    /// Of the documents that push prompts out of a tier.
    document_tokens: u64,
    /// How long tiers go on after the last answer.
    settle: Duration,
    ends: Instant,
    /// When what is under way ends: part of the time may be kept back.
    until: Instant,
    /// No document is sent for two working sets.
    next_document: u64,
    points: u64,
}

impl Climber {
    /// One phase; `None` if it is not whole. A request that fails is an error: its tokens would be missing.
    fn phase(&mut self, workload: &mut Until, phase: Phase, requests: u64) -> Result<Option<PhaseSamples>, Error> {
        let Opened { runner, live, .. } = &mut self.opened;
        live.aim(Goal {
            requests: Some(requests),
            time: None,
        });
        let samples = runner.run(workload, phase);
        let is_cut_off = (samples.records.len() as u64) < requests;
        if is_cut_off || runner.is_interrupted() || signal::received().is_some() {
            return Ok(None);
        }
        let failed = samples.records.iter().filter_map(|record| record.why_failed());
        let failed: Vec<_> = failed.collect();
        match failed.first() {
            None => Ok(Some(samples)),
            Some(first) => Err(Error::Environment(format!(
                "{} of {} requests of the staircase failed, the first with: {}",
                failed.len(),
                samples.records.len(),
                first.text
            ))),
        }
    }

    fn enter(&self, title: String) {
        self.opened.live.enter(Stage {
            title,
            all_end: Some(self.ends),
        });
    }

    fn settled(&self) -> bool {
        signal::wait(self.settle, || Instant::now() >= self.until)
    }

    /// The documents from number `first` on, as long as there is time.
    fn circle(&self, circle: Circle, first: u64, passes: u64) -> Until {
        Until {
            workload: self.documents.circle(circle, first, passes),
            ends: self.until,
        }
    }

    /// New documents for this circle.
    fn fresh(&mut self, circle: &Circle) -> u64 {
        let first = self.next_document;
        self.next_document += circle.count();
        first
    }
}

fn ttft_s(samples: &PhaseSamples) -> Vec<f64> {
    let succeeded = samples.records.iter().filter(|record| record.succeeded());
    succeeded.map(|record| record.ttft_s()).collect()
}

impl Measure for Climber {
    fn left_s(&self) -> f64 {
        self.ends.saturating_duration_since(Instant::now()).as_secs_f64()
    }

    fn keep_back(&mut self, seconds: f64) {
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.until = self.ends.checked_sub(seconds).unwrap_or(self.ends);
    }

    fn is_interrupted(&self) -> bool {
        signal::received().is_some()
    }

    fn point(&mut self, circle: Circle) -> Result<Option<Point>, Error> {
        let began = Instant::now();
        self.points += 1;
        let (documents, tokens) = (circle.count(), with_commas(circle.working_set()));
        self.enter(format!(
            "working set {}: {documents} documents, {tokens} tokens",
            self.points
        ));
        let first = self.fresh(&circle);
        let mut workload = self.circle(circle, first, self.passes);
        let is_filled = self.phase(&mut workload, Phase::Warmup, documents)?.is_some();
        let filling_s = began.elapsed().as_secs_f64();
        if !is_filled || !self.settled() {
            return Ok(None);
        }
        self.shares.begin()?;
        let requests = documents.saturating_mul(self.passes);
        let Some(samples) = self.phase(&mut workload, Phase::Measured, requests)? else {
            return Ok(None);
        };
        Ok(Some(Point {
            circle,
            passes: self.passes,
            tokens: self.shares.shares(&samples)?,
            ttft_s: ttft_s(&samples),
            filling_s,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    fn send(&mut self, source: Source, length: u64, prompts: u64) -> Result<Option<Sent>, Error> {
        let began = Instant::now();
        self.enter(format!(
            "{prompts} prompts of {} tokens, {}",
            with_commas(length),
            source.name()
        ));
        let circle = Circle {
            documents: prompts,
            tokens: length,
            rest: 0,
        };
        // The same prompts for every source.
        let first = FIRST_PROMPT.saturating_add(length.saturating_mul(prompts));
        let mut workload = self.circle(circle, first, 1);
        self.shares.begin()?;
        let Some(samples) = self.phase(&mut workload, Phase::Measured, prompts)? else {
            return Ok(None);
        };
        Ok(Some(Sent {
            source,
            length,
            tokens: self.shares.shares(&samples)?,
            ttft_s: ttft_s(&samples),
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    fn fill(&mut self, tokens: u64) -> Result<Option<()>, Error> {
        self.enter(format!(
            "{} tokens that push prompts out of a tier",
            with_commas(tokens)
        ));
        let circle = Circle::of(tokens, self.document_tokens, 1);
        let first = self.fresh(&circle);
        let mut workload = self.circle(circle, first, 0);
        let is_whole = self.settled() && self.phase(&mut workload, Phase::Warmup, circle.count())?.is_some();
        Ok((is_whole && self.settled()).then_some(()))
    }
}
