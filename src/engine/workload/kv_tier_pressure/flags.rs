//! The flags of kv-tier-pressure and their questions.

use crate::choices;
use crate::cli::flag::Flag;
use crate::engine::args::{EngineArgs, WorkloadValue};
use crate::engine::workload::descriptor::{Input, WorkloadFlag, choice, float, int};
use crate::python::number;

pub const POOL_SIZE: &str = "ktp-pool-size";

choices! {
    /// What happens when all documents fit into L1.
    pub enum Fitting ("choice") {
        Refuse = "refuse",
        Run = "run",
    }
}

pub const FLAGS: &[WorkloadFlag] = &[
    WorkloadFlag::new(
        Flag::value(POOL_SIZE, "N", |args: &mut EngineArgs, text| {
            let given = number::int(text)?;
            if given < 0 {
                return Err(format!("must be 0 or more, got {given}"));
            }
            args.workload_values.set(POOL_SIZE, WorkloadValue::Int(given));
            Ok(())
        })
        .unset("derived from the L1 of the server at `--lmcache-url`"),
        Input::Int,
    )
    .help(
        "Documents in all",
        "Without it, or with `0`, they are as many as make `--ktp-overflow-factor` times the L1 memory of the server at \
         `--lmcache-url`.",
    )
    .question(
        "Document pool size",
        "Documents in all. 0 takes as many as overflow the L1 memory of the\n  LMCache server by the factor below.",
    )
    .with_server("0"),
    float!("ktp-overflow-factor", "2.0")
        .help(
            "Size of all documents as a multiple of the server's L1 memory",
            "Has an effect only without `--ktp-pool-size`. Above 1 some of them must go to the next tier.",
        )
        .question(
            "Overflow factor",
            "All documents as a multiple of the server's L1 memory, where no number is given.",
        ),
    int!("ktp-docs-per-request", "16")
        .help(
            "Documents in every request",
            "They are drawn for each request. With more than one, only a server that blends can reuse them, because they \
             stand in another order in each prompt; this is checked after the warmup where `--lmcache-url` is given.",
        )
        .question("Documents per request", "How many of them are in a prompt."),
    int!("ktp-context-length", "2560")
        .help(
            "Tokens of one document",
            "Exact: the words are single tokens of the model's or the engine's tokenizer. Where neither can be had, words \
             are made up as in LMCache 0.5.2, and a warning says so.",
        )
        .question("Document length (tokens)", "Tokens of one document."),
    int!("ktp-system-prompt-length", "256")
        .help(
            "Tokens of the system prompt",
            "It is the same in every request; with `0` there is none.",
        )
        .question(
            "System prompt length (tokens)",
            "Tokens of the prompt before the documents; 0 for none.",
        ),
    int!("ktp-num-requests", "200")
        .help(
            "Measured requests",
            "The warmup, which sends every document once, is not among them.",
        )
        .question("Measured requests", "How many are measured; the warmup comes on top."),
    float!("ktp-access-skew", "0.0")
        .help(
            "How much more often the first documents are drawn",
            "The exponent of Zipf's law: document r has the weight 1 / r^F. `0` draws all equally often.",
        )
        .question("Access skew", "Zipf exponent of how often documents are drawn; 0 for all alike."),
    int!("ktp-num-inflight-requests", "8")
        .help("Requests in flight, also in the warmup", "The next one is sent as soon as any one ends.")
        .question("Max inflight requests", "How many requests may be in flight."),
    int!("ktp-max-output-length", "1")
        .help("Tokens of an answer", "With `1` only prefill is measured.")
        .question(
            "Max output length (tokens)",
            "Tokens of an answer; 1 leaves prefill alone.",
        ),
];

pub const ADDED_FLAGS: &[WorkloadFlag] = &[choice!("ktp-fitting", "CHOICE", "refuse", Fitting, &[]).help(
    "What happens when all documents fit into L1",
    "Then no other tier is used, and the run would not measure what it is for. `run` measures anyway, as LMCache does.",
)];
