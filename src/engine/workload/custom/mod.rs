//! custom, which LMCache does not have: prompts from a file, in its order. There is no warmup. The formats of the file are in
//! docs/formats.md.

use std::fs;
use std::path::Path;

use super::body::Bodies;
use super::descriptor::{Descriptor, Settings, Support, WorkloadFlag, count, int, length, text};
use super::window::Window;
use super::{Workload, WorkloadWarning};
use crate::cli::flag::Group;
use crate::engine::args::{Endpoint, WorkloadValue, WorkloadValues};
use crate::engine::config::{EngineConfig, PromptText, Sizes};
use crate::engine::tokens::Tokenizer;
use crate::error::Error;
use crate::result::warning::message;

mod file;
pub mod intake;
mod lengths;
mod line;
mod prompts;
mod sessions;

use file::load;
use intake::Loaded;
use lengths::Lengths;
use prompts::Prompts;
use sessions::Sessions;

const PROMPTS: &str = "prompts";
const MAX_TOKENS: &str = "custom-max-tokens";
const IN_FLIGHT: &str = "custom-num-inflight-requests";

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "custom",
    about: "Prompts from a file of your own",
    group: Group {
        title: "Workload custom",
        of_reference: false,
    },
    flags: FLAGS,
    added_flags: &[],
    prompt_text: PromptText::Given,
    sets_answer_length: true,
    chat_only: false,
    support: Support::built::<Custom>(),
};

const FLAGS: &[WorkloadFlag] = &[
    text!("prompts", "PATH")
        .required()
        .help(
            "File of prompts, one JSON object per line (required)",
            "With `messages`, or `prompt`, or only `prompt_length`, and `max_tokens`; optional `session` and `delay_s`. Files \
             of vLLM (`custom`), ShareGPT and others are read too: docs/formats.md. LMCache does not have this workload.",
        )
        .question("Prompts file", "One JSON object per line: a prompt or messages, and max_tokens."),
    int!("custom-max-tokens")
        .unset("none: each line has its own")
        .help(
            "Tokens of an answer where the line has none",
            "Without it, a line without `max_tokens` is an error.",
        )
        .question("Max tokens", "Tokens of an answer whose line has no length."),
    int!("custom-num-inflight-requests", "1")
        .help(
            "Requests in flight",
            "Lines are sent in the order of the file. A line waits for the line before it of the same session.",
        )
        .question("Max inflight requests", "How many requests may be in flight."),
];

/// Refuses a pipe or a device beside `flag`, whose every step reads the file again.
pub fn check_read_again(values: &WorkloadValues, flag: &str) -> Result<(), Error> {
    let Some(WorkloadValue::Text(path)) = values.get(PROMPTS) else {
        return Ok(());
    };
    // What is not there, or is a folder, is told where the file is read.
    let reads_once = fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir());
    if !reads_once {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--{PROMPTS} {path} is not a regular file, and {flag} reads it again for every step; write the prompts to a file and \
         give its name"
    )))
}

/// What the lines of the file are read with.
struct Rules<'a> {
    endpoint: Endpoint,
    /// Tokens of an answer where a line has no length.
    max_tokens: Option<u64>,
    lengths: Lengths<'a>,
}

struct Custom {
    path: String,
    max_tokens: Option<u64>,
    in_flight: u64,
}

impl Settings for Custom {
    fn resolve(values: &WorkloadValues, _: &Sizes) -> Result<Custom, Error> {
        let path = values.get(PROMPTS).map(|_| values.text(PROMPTS)).transpose()?;
        let path = path.filter(|path| !path.is_empty()).ok_or_else(|| {
            Error::Settings(format!(
                "the workload {} needs --{PROMPTS} PATH, a file with one JSON object per line",
                DESCRIPTOR.name
            ))
        })?;
        Ok(Custom {
            path: path.to_owned(),
            max_tokens: values.get(MAX_TOKENS).map(|_| length(values, MAX_TOKENS)).transpose()?,
            in_flight: count(values, IN_FLIGHT)?,
        })
    }

    fn create(self, config: &EngineConfig, tokenizer: &Tokenizer) -> Result<Box<dyn Workload>, Error> {
        let rules = Rules {
            endpoint: config.endpoint,
            max_tokens: self.max_tokens,
            lengths: Lengths::new(tokenizer, config.exact_lengths),
        };
        let loaded = load(Path::new(&self.path), &rules)?;
        let warnings = warnings(&loaded, tokenizer);
        let prompts = Prompts {
            bodies: Bodies::new(config),
            path: self.path,
            in_flight: self.in_flight,
            loaded,
            warnings,
        };
        if prompts.loaded.sessions > 0 {
            return Ok(Box::new(Sessions::new(prompts)));
        }
        let body_bytes = prompts.body_bytes();
        Ok(Box::new(Window::new(prompts, body_bytes)))
    }
}

/// Reads the bytes of a file in pieces of this size, without a tokenizer. Complaints begin behind the file's name.
#[cfg(any(test, fuzzing))]
pub fn read(text: &[u8], piece: usize, endpoint: Endpoint, max_tokens: Option<u64>) -> Result<Loaded, String> {
    let tokenizer = Tokenizer::Words(None);
    let rules = Rules {
        endpoint,
        max_tokens,
        lengths: Lengths::new(&tokenizer, false),
    };
    file::read(text.chunks(piece.max(1)), &rules)
}

fn warnings(loaded: &Loaded, tokenizer: &Tokenizer) -> Vec<WorkloadWarning> {
    let mut warnings = Vec::new();
    let why = match tokenizer {
        Tokenizer::Words(why) => why.as_deref().unwrap_or("none was looked for"),
        _ => "",
    };
    if loaded.counted > 0 && !why.is_empty() {
        let counted = loaded.counted;
        warnings.push(WorkloadWarning {
            code: "prompt-lengths",
            message: message!(
                "no tokenizer ({why}), so the lengths of {counted} prompts or answers are counted in words",
                "give --tokenizer PATH for tokens"
            ),
        });
    }
    if loaded.skipped > 0 {
        let skipped = loaded.skipped;
        warnings.push(WorkloadWarning {
            code: "skipped-prompts",
            message: message!(
                "{skipped} conversations of the prompts file were left out: no question with an answer to it",
                "take them out of the file, or give them both"
            ),
        });
    }
    warnings
}

#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
