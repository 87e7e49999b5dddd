//! Warnings about the numbers or the proof of a `server` run, as one enum: each is one warning and one piece of advice. Nothing
//! here prints.

use crate::result;

#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The shape spec says something else than the flag.
    FlagWithoutEffect {
        flag: &'static str,
        typed: i64,
        used: usize,
    },
    /// Cold lookups hit what an earlier run left.
    EarlierEntries {
        sequences: u64,
    },
    /// The server did not compute checksums to compare with.
    NoServerChecksums {
        reason: String,
    },
    /// Nothing answered at `--url`.
    NoHttp {
        reason: String,
    },
    /// Objects of killed runs were found and removed.
    AbandonedMemory {
        names: Vec<String>,
    },
    /// A lookup right after a store missed, and a later one hit.
    LateCommits {
        sequences: u64,
        longest_ms: f64,
    },
    /// Something at the server could not be given back.
    LeftBehind {
        what: String,
    },
    FewSequences {
        sequences: u64,
    },
    /// A path begins with what only a shell or a browser replaces.
    LiteralPath {
        note: String,
    },
}

impl result::warning::Warning for Warning {
    fn code(&self) -> &'static str {
        match self {
            Warning::FlagWithoutEffect { .. } => "flag-without-effect",
            Warning::EarlierEntries { .. } => "earlier-entries",
            Warning::NoServerChecksums { .. } => "no-server-checksums",
            Warning::NoHttp { .. } => "no-http",
            Warning::AbandonedMemory { .. } => "abandoned-memory",
            Warning::LateCommits { .. } => "late-commits",
            Warning::LeftBehind { .. } => "left-behind",
            Warning::FewSequences { .. } => "few-sequences",
            Warning::LiteralPath { .. } => "literal-path",
        }
    }

    fn text(&self) -> String {
        match self {
            Warning::FlagWithoutEffect { flag, typed, used } => format!(
                "{flag} {typed} had no effect, because the shape spec says {used}; leave the flag out or change the spec"
            ),
            Warning::EarlierEntries { sequences } => format!(
                "{sequences} cold lookups hit entries of an earlier run, so these sequences prove nothing about storing \
                 and do not count as passed; drop --no-salt, or clear the server"
            ),
            Warning::NoServerChecksums { reason } => format!(
                "the server's own checksums were not compared ({reason}), so only what came back was checked here; \
                 point --url at the server's HTTP port"
            ),
            Warning::NoHttp { reason } => format!(
                "nothing useful answered at --url ({reason}), so the server was recognised by its ZMQ replies alone; \
                 point --url at its HTTP port, or give --url \"\""
            ),
            Warning::AbandonedMemory { names } => format!(
                "shared memory of runs that were killed was removed ({}); stop runs with Ctrl-C instead",
                names.join(", ")
            ),
            Warning::LateCommits { sequences, longest_ms } => format!(
                "after {sequences} stores the chunks could be looked up only later, at most {longest_ms:.1} ms after \
                 the reply; engines that look up at once will miss"
            ),
            Warning::LeftBehind { what } => {
                format!("{what}, so the server may keep state of this run; it expires, or restart the server")
            }
            Warning::FewSequences { sequences } => format!(
                "percentiles over {sequences} sequences are single requests; use --end 100 or more and a short --interval"
            ),
            Warning::LiteralPath { note } => note.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::warning::Warning as _;

    #[test]
    fn codes_are_distinct_and_texts_carry_advice() {
        let all = [
            Warning::FlagWithoutEffect {
                flag: "--block-size",
                typed: 8,
                used: 4,
            },
            Warning::EarlierEntries { sequences: 2 },
            Warning::NoServerChecksums { reason: "x".into() },
            Warning::NoHttp { reason: "x".into() },
            Warning::AbandonedMemory {
                names: vec!["a".into()],
            },
            Warning::LateCommits {
                sequences: 1,
                longest_ms: 2.5,
            },
            Warning::LeftBehind { what: "x".into() },
            Warning::FewSequences { sequences: 3 },
            Warning::LiteralPath { note: "a; b".into() },
        ];
        let mut codes: Vec<_> = all.iter().map(Warning::code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all.len());
        for warning in all {
            let text = warning.text();
            assert!(
                text.contains("; ") && !text.contains("  ") && !text.contains('\n'),
                "{text}"
            );
        }
    }
}
