//! The report of a run with one load, and its exit status.

use super::accounting::Accounted;
use super::{Run, asked};
use crate::engine::config::EngineConfig;
use crate::engine::report::outputs::{Outputs, Results};
use crate::engine::report::saved;
use crate::engine::report::sections::{self, Facts};
use crate::engine::report::warning::{self, Warning};
use crate::engine::results::detail::Detail;
use crate::engine::results::evaluated::Evaluated;
use crate::engine::results::figures::{Figures, SummaryConfig};
use crate::engine::results::judged::Judged;
use crate::engine::run::certificate::ClientError;
use crate::engine::run::evidence::{Evidence, StatedError};
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::workload::Workload;
use crate::run;
use crate::run::output::Output;
use crate::status::Status;
use crate::sys::ending::saving;
use crate::sys::signal;

/// Failure messages repeated on stderr.
const SENTENCES_MAX: usize = 3;

impl Run<'_> {
    pub(super) fn report(
        &mut self,
        samples: &PhaseSamples,
        workload: &mut dyn Workload,
        replay: Option<ClientError>,
        accounted: Accounted,
        files: &Outputs,
        output: &Output,
    ) -> Status {
        let saving = saving();
        let interrupted = signal::received();
        let load = &self.config.load;
        let asked = asked(load, load.offer.as_ref(), &workload.plan());
        let cut_short = interrupted.is_some() || samples.steady_since.is_some();
        let evaluated = Evaluated::of(samples, &self.clock, asked, workload.skipped(), &load.slo, cut_short);
        let Evaluated {
            rows,
            figures,
            detail,
            delivered,
            judged,
        } = &evaluated;
        let run = Evidence::of(samples);
        let client_error = StatedError { replay, run };
        self.warnings.extend(warning::client_bound(&client_error));
        self.warnings.extend(warning::warnings(detail, figures));
        let of_load = warning::load_warnings(delivered, detail.lateness_ms.spread.mean, load.until_steady);
        self.warnings.extend(of_load.into_iter().map(Warning::Load));
        let conclusion = workload.conclude(interrupted.is_some());
        let own = conclusion.warnings.into_iter().map(Warning::Workload);
        self.warnings.extend(own);
        let summary = summary_config(self.config);
        let mut result = sections::result(
            &Facts {
                engine_url: &summary.engine_url,
                model: &summary.model,
                workload: &summary.workload,
                figures,
                detail,
                delivered,
                judged: judged.as_ref(),
                client_error: &client_error,
                prompt_sources: self.prompt_sources.take(),
                ledger: accounted.sections,
                of_workload: conclusion.section,
                warnings: &self.warnings,
                interrupted: interrupted.map(signal::name),
            },
            self.started,
        );
        result.settings = self.config.settings.clone();
        result.target = self.target();
        output.complete(&mut result, || saved::samples(samples));
        drop(saving);
        let mut problems = files.write(&Results {
            rows,
            figures,
            summary: &summary,
            records: &samples.records,
            clock: &self.clock,
            expected: &accounted.expected,
        });
        let own = conclusion.files.iter().map(|(file, contents)| file.write(contents));
        problems.extend(own.filter_map(|outcome| Some(outcome.err()?.to_string())));
        problems.extend(output.write(&result));
        let mut broken = judged.as_ref().map(Judged::broken).unwrap_or_default();
        broken.extend(accounted.broken);
        status(interrupted, figures, detail, problems, broken)
    }
}

/// The status of the run, with the messages for stderr. An output that could not be written counts more than a broken limit,
/// and that more than requests that failed, which limits count too.
fn status(
    interrupted: Option<i32>,
    figures: &Figures,
    detail: &Detail,
    problems: Vec<String>,
    broken: Vec<String>,
) -> Status {
    if interrupted.is_some() {
        return run::ended(interrupted, problems);
    }
    let is_written = problems.is_empty();
    let is_broken = !broken.is_empty();
    let mut sentences = problems;
    sentences.extend(broken.into_iter().map(|text| format!("lmcache-bench engine: {text}")));
    if figures.failed > 0 {
        let all = figures.successful + figures.failed;
        sentences.push(format!(
            "lmcache-bench engine: {} of {all} requests failed",
            figures.failed
        ));
        let messages = detail.messages.iter().take(SENTENCES_MAX);
        sentences.extend(messages.map(|(text, count)| format!("  {count} x {text}")));
    }
    if is_broken && is_written {
        return Status::Broken(sentences);
    }
    run::ended(None, sentences)
}

fn summary_config(config: &EngineConfig) -> SummaryConfig {
    SummaryConfig {
        engine_url: config.engine_url.clone(),
        model: config.model.clone(),
        workload: config.workload.name().text().to_owned(),
        kv_cache_volume_gb: config.kv_cache_volume_gb,
        tokens_per_gb_kvcache: config.tokens_per_gb_kvcache,
        seed: config.seed.clone(),
        output_dir: config.output.folder.display().to_string(),
        export_csv: config.output.csv,
        export_json: config.output.json_summary,
        quiet: config.output.shared.quiet,
        ignore_eos: config.ignore_eos,
        warmup: config.warmup,
    }
}
