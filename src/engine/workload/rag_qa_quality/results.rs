//! The answers of a run with their scores: LMCache's results file, its section of the report, and the digests that tell whether
//! two runs can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ring::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::Value as Json;

use super::prompts::{QUESTION, SYSTEM};
use super::record::Sample;
use super::score::{best_f1, final_answer};
use crate::engine::template_kwargs::TemplateKwargs;
use crate::engine::workload::Finished;
use crate::python::float_text::round;
use crate::python::json::{ascii, dumps_indented};
use crate::result::model::{Entry, Section};

/// Bytes of a digest that are shown.
const SHOWN_BYTES: usize = 8;

/// One answer.
#[derive(Debug, PartialEq)]
pub struct Score {
    /// `None` where no answer could be read.
    f1: Option<f64>,
    answer: String,
    ttft_s: f64,
    output_tokens: u64,
}

impl Score {
    pub fn of(sample: &Sample, request: &Finished) -> Score {
        let answer = final_answer(&request.text);
        let parsed = request.succeeded && !answer.is_empty();
        Score {
            f1: parsed.then(|| best_f1(answer, &sample.answers)),
            answer: answer.to_owned(),
            ttft_s: request.ttft_s,
            output_tokens: request.output_tokens,
        }
    }
}

/// The scores by the sample's number.
#[derive(Default)]
pub struct Scores(BTreeMap<usize, Score>);

/// Unrounded, as in the file.
#[derive(Clone, Copy, Serialize)]
pub struct Summary {
    num_samples: u64,
    num_parsed: u64,
    pub parse_rate: f64,
    f1_mean: f64,
}

impl Scores {
    pub fn add(&mut self, number: usize, score: Score) {
        self.0.insert(number, score);
    }

    pub fn summary(&self) -> Summary {
        let parsed: Vec<f64> = self.0.values().filter_map(|score| score.f1).collect();
        let share = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        Summary {
            num_samples: self.0.len() as u64,
            num_parsed: parsed.len() as u64,
            parse_rate: share(parsed.len() as f64, self.0.len()),
            f1_mean: share(parsed.iter().fold(0.0, |sum, f1| sum + f1), parsed.len()),
        }
    }
}

impl Summary {
    pub fn samples(&self) -> u64 {
        self.num_samples
    }

    pub fn unparsed(&self) -> u64 {
        self.num_samples - self.num_parsed
    }

    /// Numbers are rounded as in LMCache's, which has no rows of lookups.
    pub fn section(&self, fingerprints: &Fingerprints, lookups: Vec<Entry>) -> Section {
        let rounded = |key, label, value| Entry::number(key, label, round(value, 4), 2);
        let mut entries = vec![
            Entry::count("samples", "Samples measured", self.num_samples),
            Entry::count("parsed", "Samples scored", self.num_parsed),
            rounded("parse_rate", "Parse rate", self.parse_rate),
            rounded("f1_mean", "Mean F1 (scored only)", self.f1_mean),
            Entry::text("fingerprint", "Run fingerprint", &fingerprints.run),
            Entry::text("prompt_fingerprint", "Prompt fingerprint", &fingerprints.prompt),
        ];
        entries.extend(lookups);
        Section::entries("quality", "Answer Quality", entries)
    }
}

/// The settings that the file records, and that digests cover.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    pub dataset: String,
    pub num_samples: u64,
    pub max_output_length: u64,
    pub doc_align_tokens: u64,
    pub template_kwargs: TemplateKwargs,
    pub output_path: String,
}

/// Digests of what decides the prompts; runs whose digests differ asked different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// LMCache 0.5.6's: the settings, and the ids of the samples.
    pub run: String,
    /// LMCache 0.5.7's: the settings, the measured prompts, and the known answers.
    pub prompt: String,
}

impl Fingerprints {
    /// `prompt` makes the measured prompt of a sample.
    pub fn of(
        recorded: &Recorded,
        (model, seed): (&str, &str),
        samples: &[Sample],
        prompt: impl Fn(usize) -> String,
    ) -> Fingerprints {
        let before = format!(
            r#"{{"dataset": {}, "doc_align_tokens": {}, "max_output_length": {}, "model": {}, "num_samples": {}, "question_template": {}, "#,
            text(&recorded.dataset),
            recorded.doc_align_tokens,
            recorded.max_output_length,
            text(model),
            recorded.num_samples,
            text(QUESTION),
        );
        let after = format!(
            r#"], "seed": {seed}, "system_prompt": {}, "template_kwargs": {}}}"#,
            text(SYSTEM),
            recorded.template_kwargs.sorted()
        );
        let digest = |key: &str, item: &dyn Fn(usize) -> String| {
            let mut context = Context::new(&SHA256);
            context.update(format!("{before}\"{key}\": [").as_bytes());
            for number in 0..samples.len() {
                context.update(if number == 0 { "" } else { ", " }.as_bytes());
                context.update(item(number).as_bytes());
            }
            context.update(after.as_bytes());
            let digest = context.finish();
            let shown = digest.as_ref().iter().take(SHOWN_BYTES);
            shown.fold(String::new(), |mut out, byte| {
                let _ = write!(out, "{byte:02x}");
                out
            })
        };
        Fingerprints {
            run: digest("sample_ids", &|number| text(&samples[number].id)),
            prompt: digest("samples", &|number| {
                let Sample { id, answers, .. } = &samples[number];
                let answers: Vec<String> = answers.iter().map(|answer| text(answer)).collect();
                format!(
                    r#"{{"answers": [{}], "messages": [{{"content": {}, "role": "user"}}], "sample_id": {}}}"#,
                    answers.join(", "),
                    text(&prompt(number)),
                    text(id)
                )
            }),
        }
    }
}

/// A string as Python's `json.dumps` writes it.
fn text(text: &str) -> String {
    ascii(&Json::from(text).to_string()).into_owned()
}

#[derive(Serialize)]
struct File<'a> {
    run_fingerprint: &'a str,
    prompt_fingerprint: &'a str,
    config: &'a Recorded,
    model: &'a str,
    summary: Summary,
    per_sample: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    sample_id: &'a str,
    f1: Option<f64>,
    parsed: bool,
    answer: &'a str,
    /// -1 where the request failed.
    ttft: f64,
    num_output_tokens: u64,
}

/// The results file.
pub fn file(
    recorded: &Recorded,
    model: &str,
    fingerprints: &Fingerprints,
    samples: &[Sample],
    scores: &Scores,
) -> Vec<u8> {
    let lines = scores.0.iter().map(|(number, score)| Line {
        sample_id: &samples[*number].id,
        f1: score.f1.map(|f1| round(f1, 4)),
        parsed: score.f1.is_some(),
        answer: &score.answer,
        ttft: round(score.ttft_s, 4),
        num_output_tokens: score.output_tokens,
    });
    let file = File {
        run_fingerprint: &fingerprints.run,
        prompt_fingerprint: &fingerprints.prompt,
        config: recorded,
        model,
        summary: scores.summary(),
        per_sample: lines.collect(),
    };
    (dumps_indented(&file) + "\n").into_bytes()
}
