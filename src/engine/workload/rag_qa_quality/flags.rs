//! The flags of rag-qa-quality and their questions.

use crate::engine::workload::descriptor::{WorkloadFlag, int, text, texts};

pub const DATASET: &str = "rag-dataset";
pub const SAMPLES: &str = "rag-num-samples";
pub const MAX_OUTPUT: &str = "rag-max-output-length";
pub const ALIGN: &str = "rag-doc-align-tokens";
pub const KWARGS: &str = "rag-template-kwargs";
pub const OUTPUT: &str = "rag-output";

pub const FLAGS: &[WorkloadFlag] = &[
    text!("rag-dataset", "PATH")
        .required()
        .help(
            "Questions with passages and answers: a file, or `musique` or `hotpotqa` (required)",
            "A file with one JSON record a line (`.jsonl`), or one JSON list of them: docs/formats.md has the fields. The two \
             names are looked up in the local Hugging Face cache; nothing is downloaded.",
        )
        .question(
            "QA dataset",
            "A file of JSON records with passages, a question and answers; or a dataset of the local\n  \
             Hugging Face cache: musique or hotpotqa.",
        ),
    int!("rag-num-samples", "50")
        .help(
            "Questions to ask, the first of the dataset",
            "Records that cannot be used are left out and not counted.",
        )
        .question("Number of samples", "How many questions are asked, in the dataset's order."),
    int!("rag-max-output-length", "1024")
        .help(
            "Most tokens of an answer",
            "This includes what a model thinks before it answers. An answer that is cut off is not scored.",
        )
        .question(
            "Max output length (tokens)",
            "Room for what the model thinks and for its answer; one that is cut off is not scored.",
        ),
    int!("rag-doc-align-tokens", "256")
        .help(
            "Each passage is padded to a multiple of this many tokens",
            "Set it to the chunk size of the LMCache server: with another value a passage shares only some chunks with its \
             cached copy.",
        )
        .question(
            "Document alignment (tokens)",
            "The chunk size of the LMCache server. Each passage is padded to whole chunks, so that it\n  \
             is found again wherever it stands.",
        ),
    texts!("rag-template-kwargs", "KEY=VALUE")
        .unset("none: the template's own defaults")
        .help(
            "A variable for the model's chat template; may be repeated",
            "`true`, `false` and whole numbers are sent as such, anything else as text. They go into every request as \
             `chat_template_kwargs`.",
        ),
    text!("rag-output", "PATH")
        .unset("`rag_qa_quality.json` in `--output-dir`")
        .help(
            "File for every answer and its score, as JSON",
            "To compare two stacks, run both with the same dataset and compare these files by `sample_id`.",
        ),
];
