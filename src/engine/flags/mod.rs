//! The command line of `engine` as typed values. Everything is optional here, because a config file or the interactive
//! mode may give what the command line does not. Must never check a value against another or a range: that is the
//! config's part.

use std::path::PathBuf;

use serde_json::Value;

use crate::choices;
use crate::cli::Format;
use crate::cli::flag::Flag;
use crate::cli::parse::Table;
use crate::python::big_int::BigInt;
use crate::python::quote::quoted;

mod beyond;
mod general;
mod page;
mod workloads;

pub use page::page;

choices! {
    /// The workloads of LMCache 0.5.6, in the order of its help and menu.
    pub enum WorkloadName ("workload") {
        LongDocPermutator = "long-doc-permutator",
        LongDocQa = "long-doc-qa",
        MultiRoundChat = "multi-round-chat",
        PrefixSuffixTuner = "prefix-suffix-tuner",
        RagQaQuality = "rag-qa-quality",
        RandomPrefill = "random-prefill",
    }
}

choices! {
    /// The order of long-doc-qa's requests.
    pub enum ShufflePolicy ("policy") {
        Random = "random",
        Tile = "tile",
    }
}

choices! {
    /// The order of long-doc-permutator's permutations.
    pub enum PermutationOrder ("order") {
        Sorted = "sorted",
        Random = "random",
    }
}

choices! {
    /// What multi-round-chat does with a slot whose session is still busy.
    pub enum ChatPacing ("pacing") {
        /// As the reference: every later slot waits for that session.
        Blocking = "blocking",
        /// The next session without a request in flight takes the slot; with none, the slot is left out.
        FreeSession = "free-session",
    }
}

/// How a value is written in a config file.
trait Stored {
    fn stored(&self) -> Value;
}

/// Declares the struct and how one command line is laid over another.
macro_rules! optional_fields {
    ($($name:ident: $type:ty,)*) => {
        /// What was given, by flag; `None` where nothing was.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct EngineArgs {
            $(pub $name: Option<$type>,)*
        }

        impl EngineArgs {
            /// What is given here, and what `below` gives where nothing is.
            pub fn or(self, below: EngineArgs) -> EngineArgs {
                EngineArgs { $($name: self.$name.or(below.$name),)* }
            }

            /// What is given for a field, as a config file holds it.
            pub fn value(&self, field: &str) -> Option<Value> {
                match field {
                    $(stringify!($name) => self.$name.as_ref().map(Stored::stored),)*
                    _ => None,
                }
            }

            /// Takes back what is given for a field.
            pub fn clear(&mut self, field: &str) {
                match field {
                    $(stringify!($name) => self.$name = None,)*
                    _ => {}
                }
            }
        }
    };
}

optional_fields! {
    config: PathBuf,
    engine_url: String,
    lmcache_url: String,
    model: String,
    workload: WorkloadName,
    kv_cache_volume: f64,
    tokens_per_gb_kvcache: i64,
    seed: BigInt,
    output_dir: PathBuf,
    no_csv: bool,
    json: bool,
    quiet: bool,
    ignore_eos: bool,
    no_warmup: bool,
    no_interactive: bool,
    export_config: PathBuf,
    ldp_num_contexts: i64,
    ldp_context_length: i64,
    ldp_system_prompt_length: i64,
    ldp_num_permutations: i64,
    ldp_num_inflight_requests: i64,
    ldp_max_output_length: i64,
    ldqa_document_length: i64,
    ldqa_query_per_document: i64,
    ldqa_shuffle_policy: ShufflePolicy,
    ldqa_num_inflight_requests: i64,
    ldqa_max_output_length: i64,
    mrc_shared_prompt_length: i64,
    mrc_chat_history_length: i64,
    mrc_user_input_length: i64,
    mrc_output_length: i64,
    mrc_qps: f64,
    mrc_duration: f64,
    psf_context_length: i64,
    psf_prefix_ratio: f64,
    psf_thrash: f64,
    rag_dataset: String,
    rag_num_samples: i64,
    rag_max_output_length: i64,
    rag_doc_align_tokens: i64,
    rag_template_kwargs: Vec<String>,
    rag_output: PathBuf,
    rp_request_length: i64,
    rp_num_requests: i64,
    format: Format,
    output: PathBuf,
    save: Vec<String>,
    requests_jsonl: PathBuf,
    tokenizer: PathBuf,
    exact_lengths: bool,
    ldp_order: PermutationOrder,
    mrc_pacing: ChatPacing,
    usage_per_event: bool,
    connect_timeout_s: f64,
    first_token_timeout_s: f64,
    stall_timeout_s: f64,
    request_timeout_s: f64,
    no_certificate: bool,
}

pub const TABLE: Table<EngineArgs> = Table {
    program: "lmcache-bench engine",
    flags: &FLAGS,
    absent: &[],
};

const COUNT: usize = general::FLAGS.len() + workloads::FLAGS.len() + beyond::FLAGS.len();

/// The rows of three files, one after another.
static FLAGS: [Flag<EngineArgs>; COUNT] = {
    let mut all = [general::FLAGS[0]; COUNT];
    let parts = [general::FLAGS, workloads::FLAGS, beyond::FLAGS];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[at] = parts[part][row];
            row += 1;
            at += 1;
        }
        part += 1;
    }
    all
};

impl EngineArgs {
    /// What holds where neither the command line nor a file says anything.
    pub fn presets() -> EngineArgs {
        TABLE.presets()
    }

    /// Gives a flag by its name a value as text, as the command line would. `None` for a flag that does not exist.
    pub fn set(&mut self, long: &str, text: &str) -> Option<Result<(), String>> {
        let flag = FLAGS.iter().find(|flag| flag.spec.long == long)?;
        let choices = flag.spec.choices;
        if !choices.is_empty() && !choices.contains(&text) {
            let (shown, choices) = (quoted(text), choices.join(", "));
            return Some(Err(format!("invalid choice: {shown}; choose from {choices}")));
        }
        Some((flag.set)(self, text))
    }
}

impl WorkloadName {
    /// In the order of `CHOICES`.
    pub const ALL: [WorkloadName; 6] = [
        WorkloadName::LongDocPermutator,
        WorkloadName::LongDocQa,
        WorkloadName::MultiRoundChat,
        WorkloadName::PrefixSuffixTuner,
        WorkloadName::RagQaQuality,
        WorkloadName::RandomPrefill,
    ];
}

macro_rules! stored {
    ($($type:ty: $value:ident => $stored:expr,)*) => {
        $(impl Stored for $type {
            fn stored(&self) -> Value {
                let $value = self;
                Value::from($stored)
            }
        })*
    };
}

stored! {
    bool: value => *value,
    i64: value => *value,
    f64: value => *value,
    String: value => value.as_str(),
    Vec<String>: value => value.clone(),
    PathBuf: value => value.to_string_lossy().as_ref(),
    WorkloadName: value => value.text(),
    ShufflePolicy: value => value.text(),
    PermutationOrder: value => value.text(),
    ChatPacing: value => value.text(),
    Format: value => value.text(),
}

impl Stored for BigInt {
    /// A number where JSON readers take it as one, else its digits.
    fn stored(&self) -> Value {
        let digits = self.to_string();
        digits.parse::<i64>().map_or(Value::from(digits), Value::from)
    }
}

#[cfg(test)]
mod tests;
