//! The warnings of a `server` run, about its numbers and about its verification.

use crate::result::warning::{self, Message, message};
use crate::server::http::HttpError;

#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The shape spec overrides the flag.
    FlagWithoutEffect {
        flag: &'static str,
        typed: i64,
        used: usize,
    },
    /// Cold lookups hit entries of an earlier run.
    EarlierEntries {
        sequences: u64,
    },
    /// The server offered no checksums to compare with.
    NoServerChecksums {
        reason: String,
    },
    /// No usable answer at `--url`.
    NoHttp {
        reason: HttpError,
    },
    /// Shared memory of killed runs was removed.
    AbandonedMemory {
        names: Vec<String>,
    },
    /// A lookup right after a store missed, and a later one hit.
    LateCommits {
        sequences: u64,
        longest_ms: f64,
    },
    /// Something of this run could not be released at the server.
    LeftBehind {
        what: String,
    },
    FewSequences {
        sequences: u64,
    },
    /// The server's release is later than those that are known here.
    NewerRelease {
        release: String,
        /// The releases whose protocol it is spoken to in.
        spoken: &'static str,
    },
    /// The server had to be asked for its chunk size, which ends its negotiation.
    ChunkSizeFixed {
        chunk_tokens: u64,
    },
    /// Several clients spent most of their time filling and checking.
    ClientBound {
        percent: f64,
    },
    /// A path begins with `~` or `file://`, which only a shell or a browser replaces.
    LiteralPath {
        note: String,
    },
}

impl warning::Warning for Warning {
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
            Warning::NewerRelease { .. } => "newer-release",
            Warning::ChunkSizeFixed { .. } => "chunk-size-fixed",
            Warning::ClientBound { .. } => "client-bound",
            Warning::LiteralPath { .. } => "literal-path",
        }
    }

    fn message(&self) -> Message {
        match self {
            Warning::FlagWithoutEffect { flag, typed, used } => message!(
                "{flag} {typed} had no effect, because the shape spec says {used}",
                "leave the flag out or change the spec"
            ),
            Warning::EarlierEntries { sequences } => message!(
                "{sequences} cold lookups hit entries of an earlier run, so these sequences prove nothing about \
                 storing and do not count as passed",
                "drop --no-salt, or clear the server"
            ),
            Warning::NoServerChecksums { reason } => message!(
                "the server's own checksums were not compared ({reason}), so only what came back was checked here",
                "point --url at the server's HTTP port, and set its key where it wants one"
            ),
            Warning::NoHttp {
                reason: HttpError::Key { cause, advice },
            } => message!(
                "{cause}, so the server was recognised by its ZMQ replies alone",
                "{advice}"
            ),
            Warning::NoHttp { reason } => message!(
                "nothing useful answered at --url ({reason}), so the server was recognised by its ZMQ replies alone",
                "point --url at its HTTP port, or give --url \"\""
            ),
            Warning::AbandonedMemory { names } => {
                let names = names.join(", ");
                message!(
                    "shared memory of runs that were killed was removed ({names})",
                    "stop runs with Ctrl-C instead"
                )
            }
            Warning::LateCommits { sequences, longest_ms } => message!(
                "after {sequences} stores the chunks could be looked up only later, at most {longest_ms:.1} ms after \
                 the reply",
                "engines that look up at once will miss"
            ),
            Warning::LeftBehind { what } => {
                message!(
                    "{what}, so the server may keep state of this run",
                    "it expires, or restart the server"
                )
            }
            Warning::FewSequences { sequences } => message!(
                "percentiles over {sequences} sequences are single requests",
                "use --end 100 or more and a short --interval"
            ),
            Warning::NewerRelease { release, spoken } => message!(
                "the server's release {release} is later than those that this program knows; it answered the questions that \
                 tell releases apart as {spoken} does and was spoken to like that",
                "use an lmcache-bench that knows it"
            ),
            Warning::ChunkSizeFixed { chunk_tokens } => message!(
                "the server had to be asked for its chunk size over ZeroMQ, which fixes it at {chunk_tokens} tokens until the \
                 server is restarted, so that engines whose blocks do not divide it are refused",
                "point --url at its HTTP port, which tells the size without fixing it"
            ),
            Warning::ClientBound { percent } => message!(
                "the clients spent {percent:.0} % of their time filling and checking their tensors, so the requests per second \
                 are limited by this program",
                "use a smaller shape, fewer clients, or --checksum fast"
            ),
            Warning::LiteralPath { note } => message!("{note}"),
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
            Warning::NoHttp {
                reason: HttpError::Missing("x".into()),
            },
            Warning::AbandonedMemory {
                names: vec!["a".into()],
            },
            Warning::LateCommits {
                sequences: 1,
                longest_ms: 2.5,
            },
            Warning::LeftBehind { what: "x".into() },
            Warning::FewSequences { sequences: 3 },
            Warning::NewerRelease {
                release: "0.5.9".into(),
                spoken: "0.5.7",
            },
            Warning::ChunkSizeFixed { chunk_tokens: 256 },
            Warning::ClientBound { percent: 62.5 },
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
            let is_note = matches!(warning, Warning::LiteralPath { .. });
            assert!(is_note || !warning.message().advice.is_empty(), "{text}");
        }
    }
}
