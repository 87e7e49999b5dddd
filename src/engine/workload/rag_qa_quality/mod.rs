//! rag-qa-quality, as in LMCache 0.5.6: questions about passages that the cache has seen one by one, and how good the answers
//! are. Reuse that harms shows as a lower F1 than that of a run without it.

use std::fs;
use std::path::{Path, PathBuf};

use super::body::Bodies;
use super::descriptor::{Descriptor, Settings, Support, count, length, lmcache_group};
use super::lookups::Lookups;
use super::window::{Counts, Sequence, Window};
use super::{Conclusion, Finished, Moment, Phase, Request, Workload};
use crate::engine::args::WorkloadValues;
use crate::engine::ask::lookups::LookupCounts;
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::template_kwargs::TemplateKwargs;
use crate::engine::tokens::Tokenizer;
use crate::engine::tokens::chat_prefix::Doubt;
use crate::error::Error;
use crate::report::banner::Banner;
use crate::report::output::OutputFile;
use crate::url::literal_path_note;

pub mod dataset;
mod flags;
mod prompts;
mod record;
mod results;
mod score;
mod warning;

use dataset::Dataset;
use prompts::Prompts;
use results::{Fingerprints, Recorded, Score, Scores};
use warning::{Reuse, Warning};

/// In --output-dir, where no file is named.
const FILE_NAME: &str = "rag_qa_quality.json";
/// What is before the number of a sample in the names of measured requests.
const MEASURED: &str = "sample";

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "rag-qa-quality",
    about: "Questions about passages that the cache has seen; the answers are scored",
    group: lmcache_group("Workload rag-qa-quality"),
    flags: flags::FLAGS,
    added_flags: &[],
    prompt_text: PromptText::Padded,
    sets_answer_length: false,
    chat_only: true,
    support: Support::built::<RagQaQuality>(),
};

struct RagQaQuality {
    dataset: String,
    samples: u64,
    max_tokens: u64,
    align_tokens: u64,
    kwargs: TemplateKwargs,
    /// `None` for the file of the usual name.
    output: Option<String>,
}

impl Settings for RagQaQuality {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<RagQaQuality, Error> {
        let kwargs = values.texts(flags::KWARGS).iter().map(String::as_str);
        let kwargs = TemplateKwargs::parse(kwargs)
            .map_err(|why| Error::Settings(format!("--{}: {why}; give it as enable_thinking=false", flags::KWARGS)))?;
        let text = |flag| values.get(flag).map(|_| values.text(flag)).transpose();
        let dataset = text(flags::DATASET)?.filter(|dataset| !dataset.is_empty());
        let dataset = dataset.ok_or_else(|| {
            Error::Settings(format!(
                "the workload {} needs --{}: a file of JSON records, or musique or hotpotqa",
                DESCRIPTOR.name,
                flags::DATASET
            ))
        })?;
        Ok(RagQaQuality {
            dataset: dataset.to_owned(),
            samples: count(values, flags::SAMPLES)?,
            max_tokens: count(values, flags::MAX_OUTPUT)?,
            align_tokens: length(values, flags::ALIGN)?,
            kwargs,
            output: text(flags::OUTPUT)?.filter(|path| !path.is_empty()).map(str::to_owned),
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let path = match &self.output {
            Some(path) => PathBuf::from(path),
            None => config.output.folder.join(FILE_NAME),
        };
        let file = checked(&path)?;
        let dataset = Dataset::open(&self.dataset, self.samples)?;
        let output_path = path.display().to_string();
        let mut quality = Quality::new(self.recorded(output_path), dataset, config, tokenizer)?;
        quality.file = Some(file);
        let body_bytes = quality.request(Phase::Measured, 0).body.len();
        Ok(Box::new(Window::new(quality, body_bytes)))
    }
}

impl RagQaQuality {
    fn recorded(self, output_path: String) -> Recorded {
        Recorded {
            dataset: self.dataset,
            num_samples: self.samples,
            max_output_length: self.max_tokens,
            doc_align_tokens: self.align_tokens,
            template_kwargs: self.kwargs,
            output_path,
        }
    }
}

/// The results file, with its folders made, so that the answers are not lost at the end.
fn checked(path: &Path) -> Result<OutputFile, Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|cause| {
            Error::Environment(format!(
                "could not make the folder {} for --{}: {cause}; name a file in a writable folder",
                folder.display(),
                flags::OUTPUT
            ))
        })?;
    }
    OutputFile::check_for("--rag-output", "the answers", path)
}

struct Quality {
    recorded: Recorded,
    dataset: Dataset,
    prompts: Prompts,
    bodies: Bodies,
    model: String,
    fingerprints: Fingerprints,
    /// Why passages may not be found again.
    doubt: Option<Doubt>,
    /// `None` where there is nothing to write to.
    file: Option<OutputFile>,
    scores: Scores,
    /// Where the warmup has the engine see the passages.
    reuse: Option<Reuse>,
    /// Where there is an LMCache server.
    lookups: Option<Lookups>,
    /// Measured requests that have ended, however they ended.
    ended: u64,
}

impl Quality {
    fn new(
        recorded: Recorded,
        dataset: Dataset,
        config: &EngineConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Quality, Error> {
        let (seed, model) = (&config.seed, &config.model);
        let kwargs = &recorded.template_kwargs;
        let prefix = tokenizer.chat_prefix(kwargs)?;
        let lengths = (recorded.doc_align_tokens, prefix.tokens);
        let prompts = Prompts::new(&dataset.samples, tokenizer, lengths, seed, model)?;
        let prompt = |number: usize| prompts.measured(number, &dataset.samples[number].question);
        Ok(Quality {
            bodies: Bodies::with_template_kwargs(config, kwargs),
            fingerprints: Fingerprints::of(&recorded, (model, &seed.to_string()), &dataset.samples, prompt),
            recorded,
            dataset,
            prompts,
            model: model.clone(),
            doubt: prefix.doubt,
            file: None,
            scores: Scores::default(),
            reuse: config.warmup.then(Reuse::default),
            lookups: config.has_lmcache().then(Lookups::default),
            ended: 0,
        })
    }

    fn warnings(&self, partial: bool) -> Vec<Warning> {
        let summary = self.scores.summary();
        let repeated = warning::repeated(&self.dataset.samples);
        let found = [
            self.doubt.as_ref().map(Warning::of_prefix),
            Warning::of_unaligned(self.prompts.unaligned),
            Warning::of_unparsed(&summary),
            Warning::of_repeated(repeated),
            self.reuse.as_ref().and_then(Warning::of_reuse),
            // A run that was ended early has no last reading.
            self.lookups.as_ref().filter(|_| !partial).and_then(Warning::of_lookups),
        ];
        found.into_iter().flatten().collect()
    }
}

impl Sequence for Quality {
    fn banner(&self) -> Banner {
        let recorded = &self.recorded;
        let kwargs = match recorded.template_kwargs.is_empty() {
            true => "model default".to_owned(),
            false => recorded.template_kwargs.python(),
        };
        Banner::new(DESCRIPTOR.name, 18)
            .line("Dataset", &recorded.dataset, "")
            .line("Samples", self.dataset.samples.len(), "")
            .line("Distinct docs", self.prompts.passages(), "")
            .line("Max output", recorded.max_output_length, "tokens")
            .line("Doc alignment", recorded.doc_align_tokens, "tokens")
            .line("Template kwargs", kwargs, "")
            .line("Run fingerprint", &self.fingerprints.run, "")
            .line("Results", &recorded.output_path, "")
    }

    fn notes(&self) -> Vec<String> {
        let left_out = self.dataset.left_out();
        let left_out = left_out.map(|why| format!("--{}: {why}", flags::DATASET));
        let path = literal_path_note("--rag-output", Path::new(&self.recorded.output_path));
        left_out.into_iter().chain(path).collect()
    }

    fn counts(&self) -> Counts {
        Counts {
            warmup: self.prompts.passages(),
            warmup_in_flight: 1,
            measured: self.dataset.samples.len() as u64,
            in_flight: 1,
            tokens_per_answer: self.recorded.max_output_length,
        }
    }

    fn request(&mut self, phase: Phase, number: u64) -> Request {
        let at = number as usize;
        match phase {
            Phase::Warmup => {
                let body = self.bodies.user(&self.prompts.prefill(at), 1);
                Request::new(format!("prefill_doc{number}"), body, 1)
            }
            Phase::Measured => {
                let question = &self.dataset.samples[at].question;
                let max_tokens = self.recorded.max_output_length;
                let body = self.bodies.user(&self.prompts.measured(at, question), max_tokens);
                Request {
                    wants_text: true,
                    ..Request::new(format!("{MEASURED}{number}"), body, max_tokens)
                }
            }
        }
    }

    fn watches_lookups(&self) -> bool {
        self.lookups.is_some()
    }

    fn looked_up(&mut self, at: Moment, counts: Option<LookupCounts>) -> Result<(), Error> {
        if let Some(lookups) = &mut self.lookups {
            lookups.take(at, counts);
        }
        Ok(())
    }

    fn ended(&mut self, phase: Phase, request: &Finished) {
        self.ended += u64::from(phase == Phase::Measured);
        // The name of a question that is asked again goes on behind the number; its first answer counts.
        let number = request.id.strip_prefix(MEASURED).and_then(|number| number.parse().ok());
        let (Phase::Measured, Some(number)) = (phase, number) else {
            return;
        };
        self.scores
            .add(number, Score::of(&self.dataset.samples[number], request));
        if let Some(reuse) = &mut self.reuse {
            reuse.add(request.cached_tokens, self.prompts.passage_tokens(number));
        }
    }

    fn conclude(&mut self, partial: bool) -> Conclusion {
        let warnings = self.warnings(partial).into_iter().map(Into::into).collect();
        let samples = &self.dataset.samples;
        let contents = || results::file(&self.recorded, &self.model, &self.fingerprints, samples, &self.scores);
        // As in LMCache, a run that was interrupted writes no file. With flags about load it may have asked only some questions.
        let file = self.file.take().filter(|_| !partial);
        let lookups = self.lookups.as_ref();
        let lookups = lookups.map_or_else(Vec::new, |lookups| lookups.entries(self.ended));
        Conclusion {
            section: Some(self.scores.summary().section(&self.fingerprints, lookups)),
            files: file.map(|file| (file, contents())).into_iter().collect(),
            warnings,
        }
    }
}

#[cfg(test)]
mod tests;
