//! The command line of `engine` as typed values. Everything is optional, because a config file or the interactive mode may
//! give what the command line does not; ranges are checked later. `flags` has the table that fills it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::choices;
use crate::cli::Format;
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::number::{float, int};

choices! {
    /// Where requests go, which decides their form.
    pub enum Endpoint ("endpoint") {
        /// `/chat/completions`, with `messages`.
        Chat = "chat",
        /// `/completions`, with a `prompt`.
        Completions = "completions",
    }
}

impl Endpoint {
    /// What is added to `<base>`.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/chat/completions",
            Endpoint::Completions => "/completions",
        }
    }
}

/// The name of a workload in the list of `workload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadName(pub &'static str);

impl WorkloadName {
    pub fn text(self) -> &'static str {
        self.0
    }
}

choices! {
    /// How the gaps between requests of an open loop are drawn.
    pub enum ArrivalName ("arrival") {
        Constant = "constant",
        Poisson = "poisson",
        Gamma = "gamma",
    }
}

choices! {
    /// What a search raises.
    pub enum AxisName ("load") {
        Rate = "rate",
        Concurrency = "concurrency",
    }
}

/// The value of one workload flag.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadValue {
    Int(i64),
    Float(f64),
    /// One of the flag's choices.
    Choice(&'static str),
    /// Any text, such as a path.
    Text(String),
    /// The texts of a flag that may be repeated.
    Texts(Vec<String>),
}

/// The values of workload flags, sorted by the flag's name without its dashes in front.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadValues(Vec<(&'static str, WorkloadValue)>);

impl WorkloadValues {
    pub fn set(&mut self, flag: &'static str, value: WorkloadValue) {
        match self.place(flag) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (flag, value)),
        }
    }

    pub fn read_int(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        int(text).map(|value| self.set(flag, WorkloadValue::Int(value)))
    }

    pub fn read_float(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        float(text).map(|value| self.set(flag, WorkloadValue::Float(value)))
    }

    pub fn read_text(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        self.set(flag, WorkloadValue::Text(text.to_owned()));
        Ok(())
    }

    /// Adds a text to those of a flag that may be repeated.
    pub fn push_text(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        let mut texts = self.texts(flag).to_vec();
        texts.push(text.to_owned());
        self.set(flag, WorkloadValue::Texts(texts));
        Ok(())
    }

    fn place(&self, flag: &str) -> Result<usize, usize> {
        self.0.binary_search_by_key(&flag, |(name, _)| name)
    }

    /// `None` for a flag that has no default and was not given.
    pub fn get(&self, flag: &str) -> Option<&WorkloadValue> {
        self.place(flag).ok().map(|at| &self.0[at].1)
    }

    pub fn int(&self, flag: &str) -> Result<i64, Error> {
        match self.get(flag) {
            Some(WorkloadValue::Int(value)) => Ok(*value),
            other => Err(unexpected(flag, other)),
        }
    }

    pub fn float(&self, flag: &str) -> Result<f64, Error> {
        match self.get(flag) {
            Some(WorkloadValue::Float(value)) => Ok(*value),
            other => Err(unexpected(flag, other)),
        }
    }

    pub fn text(&self, flag: &str) -> Result<&str, Error> {
        match self.get(flag) {
            Some(WorkloadValue::Text(text)) => Ok(text),
            other => Err(unexpected(flag, other)),
        }
    }

    /// None where the flag was not given.
    pub fn texts(&self, flag: &str) -> &[String] {
        match self.get(flag) {
            Some(WorkloadValue::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// A choice as the enum that `read` makes of its text.
    pub fn choice<T>(&self, flag: &str, read: fn(&str) -> Result<T, String>) -> Result<T, Error> {
        match self.get(flag) {
            Some(WorkloadValue::Choice(text)) => read(text).map_err(Error::Internal),
            other => Err(unexpected(flag, other)),
        }
    }
}

fn unexpected(flag: &str, found: Option<&WorkloadValue>) -> Error {
    Error::Internal(format!("--{flag} is {found:?}"))
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
            /// What was given by the flags of the workloads.
            pub workload_values: WorkloadValues,
        }

        impl EngineArgs {
            /// What is given here, and what `below` gives where nothing is.
            pub fn or(self, below: EngineArgs) -> EngineArgs {
                let mut workload_values = below.workload_values;
                self.workload_values.0.into_iter().for_each(|(flag, value)| workload_values.set(flag, value));
                EngineArgs {
                    $($name: self.$name.or(below.$name),)*
                    workload_values,
                }
            }

            /// What is given for a key of config files, which is the flag's name with underscores.
            pub fn value(&self, key: &str) -> Option<Value> {
                match key {
                    $(stringify!($name) => self.$name.as_ref().map(Stored::stored),)*
                    _ => self.workload_values.get(&key.replace('_', "-")).map(Stored::stored),
                }
            }

            /// Takes back what is given for a key.
            pub fn clear(&mut self, key: &str) {
                match key {
                    $(stringify!($name) => self.$name = None,)*
                    _ => {
                        let flag = key.replace('_', "-");
                        self.workload_values.0.retain(|(name, _)| *name != flag);
                    }
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
    format: Format,
    output: PathBuf,
    save: Vec<String>,
    requests_jsonl: PathBuf,
    tokenizer: PathBuf,
    exact_lengths: bool,
    endpoint: Endpoint,
    extra_body: String,
    usage_per_event: bool,
    connect_timeout_s: f64,
    first_token_timeout_s: f64,
    stall_timeout_s: f64,
    request_timeout_s: f64,
    no_certificate: bool,
    request_rate: f64,
    arrival: ArrivalName,
    burstiness: f64,
    max_concurrency: i64,
    num_requests: i64,
    duration: Duration,
    ramp_up: Duration,
    warmup_time: Duration,
    until_steady: Duration,
    steady_window: Duration,
    slo: Vec<String>,
    sweep: String,
    repeats: i64,
    cooldown: Duration,
    reuse: bool,
    find_max: bool,
    find_max_over: AxisName,
    budget: f64,
    metrics_url: Vec<String>,
    kv_tiers: String,
    no_ledger: bool,
    require_ledger: bool,
    require_hits: Vec<String>,
    clear_cache: bool,
    staircase: bool,
    staircase_document_length: i64,
    staircase_passes: i64,
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
    Format: value => value.text(),
    ArrivalName: value => value.text(),
    AxisName: value => value.text(),
    Duration: value => value.as_secs_f64(),
    Endpoint: value => value.text(),
}

impl Stored for WorkloadValue {
    fn stored(&self) -> Value {
        match self {
            WorkloadValue::Int(value) => Value::from(*value),
            WorkloadValue::Float(value) => Value::from(*value),
            WorkloadValue::Choice(text) => Value::from(*text),
            WorkloadValue::Text(text) => Value::from(text.as_str()),
            WorkloadValue::Texts(texts) => Value::from(texts.clone()),
        }
    }
}

impl Stored for BigInt {
    /// A number where JSON readers take it as one, else its digits.
    fn stored(&self) -> Value {
        let digits = self.to_string();
        digits.parse::<i64>().map_or(Value::from(digits), Value::from)
    }
}
