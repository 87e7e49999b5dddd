//! The flags of the staircase, which measures the tiers of the KV cache.

use crate::cli::flag::{Flag, Group, on_off};
use crate::engine::args::EngineArgs;
use crate::python::number::int;

type Row = Flag<EngineArgs>;

pub(super) const STAIRCASE: Group = Group {
    title: "Staircase, not in LMCache",
    of_reference: false,
};

pub(super) const FLAGS: &[Row] = &[
    Row::switch("staircase", |args, text| {
        on_off(text).map(|on| args.staircase = Some(on))
    })
    .help(
        "Measure how large and how fast each tier of the KV cache is",
        "In place of `--workload`. Documents are sent in a circle, one request at a time with answers of one token: working sets \
         that grow, then those between which a tier's share of the tokens falls, until its usable size is known within 2 %. Then \
         prompts of several lengths, each computed and each loaded from every tier: TTFT as a fixed part and a part for each \
         token, and the length from which loading is faster than computing. Ends within `--budget`; what that does not reach is \
         left out. The caches are filled with documents that no one else needs.",
    ),
    Row::value("staircase-document-length", "N", |args, text| {
        int(text).map(|tokens| args.staircase_document_length = Some(tokens))
    })
    .unset("a 32nd of HBM, in whole chunks and a few tokens more")
    .help(
        "Tokens of one document of `--staircase`",
        "At most half of what the model takes, unless it is given.",
    ),
    Row::value("staircase-passes", "N", |args, text| {
        int(text).map(|passes| args.staircase_passes = Some(passes))
    })
    .unset("3")
    .help(
        "Measured passes over each working set of `--staircase`",
        "A first pass, which fills the tiers, comes before them.",
    ),
];
