//! rag-qa-quality, which LMCache 0.5.6 has and this build does not: its name and its flags are known, and refused.

use super::descriptor::{Descriptor, Support, lmcache_group};
use crate::cli::flag::Absent;
use crate::engine::config::PromptText;

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "rag-qa-quality",
    about: "Graded answers (not in this build)",
    group: lmcache_group("Workload rag-qa-quality"),
    flags: &[],
    added_flags: &[],
    prompt_text: PromptText::RepeatedWord,
    sets_answer_length: false,
    chat_only: true,
    support: Support::Absent(
        "rag-qa-quality is not in this build: it grades answers instead of measuring the cache; run it with LMCache 0.5.4 \
         or later, or choose another --workload",
    ),
};

const ADVICE: &str =
    "the workload rag-qa-quality is not in this build; leave the flag out, or run it with LMCache 0.5.4 or later";

/// The flags of LMCache that only this workload has.
pub const ABSENT_FLAGS: &[Absent] = &[
    Absent::new("rag-dataset", ADVICE),
    Absent::new("rag-num-samples", ADVICE),
    Absent::new("rag-max-output-length", ADVICE),
    Absent::new("rag-doc-align-tokens", ADVICE),
    Absent::new("rag-template-kwargs", ADVICE),
    Absent::new("rag-output", ADVICE),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Sizes;
    use crate::engine::testing::workload_values;
    use crate::engine::workload::check;

    #[test]
    fn it_is_refused_by_name() {
        let refused = check(&DESCRIPTOR, &workload_values(&[]), &Sizes::new(100.0, 6553));
        let text = refused.expect_err("a refusal").to_string();
        assert!(text.starts_with("rag-qa-quality is not in this build: "), "{text}");
    }
}
