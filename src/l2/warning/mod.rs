//! The warnings of an `l2` run. A new one is a variant, its code and its message.

mod probe;
mod recovery;
mod spec;

pub use self::probe::ProbeWarning;
pub use self::recovery::RecoveryWarning;
pub use self::spec::{FIELD_CHARS_MAX, SpecWarning};

use crate::result::warning::{self, Message, message};
use crate::units::bytes_text;

#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// `share_pct` of the loaded bytes did not come from the device.
    CacheWarmLoad {
        share_pct: f64,
    },
    SlowCreates {
        p50_us: f64,
    },
    ODirectRefused {
        path: String,
        reason: String,
    },
    ODirectLengthUnaligned {
        size: u64,
        block: u64,
    },
    /// Most often because the limit of locked memory is too small for the buffers.
    RegisteredBuffersRefused {
        reason: String,
        needed_bytes: u64,
        advice: String,
    },
    UringUnavailable {
        reason: String,
        advice: String,
    },
    /// A store wrote nothing for `keys` keys, because their objects existed.
    AlreadyStored {
        keys: u64,
    },
    /// A checkpoint of a raw_block device was not used or not written.
    Recovery(RecoveryWarning),
    /// A field of the adapter JSON is ignored or has no effect.
    Spec(SpecWarning),
    /// A path begins with `~` or `file://`, which only a shell or a browser replaces.
    LiteralPath {
        note: String,
    },
    /// The mock adapter without a bandwidth copies nothing.
    NullDevice,
    SingleRound,
    /// Verification was asked for in a run without loads.
    NothingToVerify,
    DeviceUnknown {
        path: String,
    },
    RoundsTimedOut {
        rounds: u64,
    },
    /// Some keys took more than one request to the service.
    RequestsRepeated(Repetitions),
    /// After `--cold` dropped the page cache, some pages stayed, or the device delivered less than was loaded.
    ColdNotProven {
        resident_pages: u64,
        device_share_pct: f64,
    },
    Probe(ProbeWarning),
}

/// Requests beyond one for each key.
#[derive(Debug, Clone, PartialEq)]
pub struct Repetitions {
    /// Sent again after a failure.
    pub repeated: u64,
    /// Redirected to another node.
    pub redirected: u64,
    /// Why the first one was sent again.
    pub reason: Option<String>,
}

impl Repetitions {
    fn message(&self) -> Message {
        let (repeated, redirected) = (self.repeated, self.redirected);
        let reason = self.reason.as_ref();
        let first = reason.map_or(String::new(), |reason| format!(" (the first because {reason})"));
        message!(
            "{repeated} requests were sent again{first} and {redirected} went on to another node, so the figures \
             hold more than one request per key",
            "look at the server's log and repeat"
        )
    }
}

impl warning::Warning for Warning {
    fn code(&self) -> &'static str {
        match self {
            Warning::CacheWarmLoad { .. } => "cache-warm-load",
            Warning::SlowCreates { .. } => "slow-creates",
            Warning::ODirectRefused { .. } => "odirect-refused",
            Warning::ODirectLengthUnaligned { .. } => "odirect-length-unaligned",
            Warning::RegisteredBuffersRefused { .. } => "registered-buffers-refused",
            Warning::UringUnavailable { .. } => "uring-unavailable",
            Warning::AlreadyStored { .. } => "already-stored",
            Warning::Recovery(warning) => warning.code(),
            Warning::Spec(warning) => warning.code(),
            Warning::LiteralPath { .. } => "literal-path",
            Warning::NullDevice => "null-device",
            Warning::SingleRound => "single-round",
            Warning::NothingToVerify => "nothing-to-verify",
            Warning::DeviceUnknown { .. } => "device-unknown",
            Warning::RoundsTimedOut { .. } => "rounds-timed-out",
            Warning::RequestsRepeated(_) => "requests-repeated",
            Warning::ColdNotProven { .. } => "cold-not-proven",
            Warning::Probe(warning) => warning.code(),
        }
    }

    fn message(&self) -> Message {
        match self {
            Warning::CacheWarmLoad { share_pct } => message!(
                "{share_pct:.0}% of the loaded bytes came from the page cache, not from the device: the load figures \
                 are memory speed to that share",
                "use --cold, or \"use_odirect\": true in the adapter JSON"
            ),
            Warning::SlowCreates { p50_us } => message!(
                "creating a file took {p50_us:.0} us at the median, as happens for a while after many deletions, so \
                 the store figures are not the device's",
                "wait a minute and repeat, or use a fresh base_path"
            ),
            Warning::ODirectRefused { path, reason } => message!(
                "the file system of {path} refused O_DIRECT ({reason}), so the page cache took part",
                "choose a base_path on a file system that supports it, or drop use_odirect"
            ),
            Warning::ODirectLengthUnaligned { size, block } => message!(
                "objects of {size} bytes are not whole blocks of {block} bytes, so use_odirect had no effect",
                "choose a --data-size-kb that gives a multiple of {block} bytes"
            ),
            Warning::RegisteredBuffersRefused {
                reason,
                needed_bytes,
                advice,
            } => {
                let needed = bytes_text(*needed_bytes);
                message!(
                    "io_uring could not register {needed} of buffers ({reason}), so each transfer costs more CPU",
                    "{advice}"
                )
            }
            Warning::UringUnavailable { reason, advice } => message!(
                "io_uring could not be used ({reason}), so plain threads did the I/O",
                "{advice}"
            ),
            Warning::AlreadyStored { keys } => message!(
                "{keys} keys were in the store already and nothing was written for them, so the store figures are \
                 not write speed",
                "use a fresh base_path, or delete the objects of the earlier run"
            ),
            Warning::Recovery(warning) => warning.message(),
            Warning::Spec(warning) => warning.message(),
            Warning::LiteralPath { note } => message!("{note}"),
            Warning::NullDevice => message!(
                "the null device copies nothing, so its MB/s are of bytes that never moved and show this program \
                 alone",
                "give mock_bandwidth_gb a number"
            ),
            Warning::SingleRound => message!(
                "percentiles over one measured round are that round",
                "use --rounds 5 or more"
            ),
            Warning::NothingToVerify => message!(
                "--no-skip-verify checks what loads bring back, and this run has none",
                "leave --only out"
            ),
            Warning::DeviceUnknown { path } => message!(
                "no block device was found under {path}, so whether bytes reached one is not known",
                "use a base_path on a local disk to have it checked"
            ),
            Warning::RoundsTimedOut { rounds } => message!(
                "{rounds} rounds timed out and are left out of the figures",
                "look at the store behind the adapter, or lower --in-flight or --num-keys"
            ),
            Warning::RequestsRepeated(repetitions) => repetitions.message(),
            Warning::ColdNotProven {
                resident_pages,
                device_share_pct,
            } => cold_not_proven(*resident_pages, *device_share_pct),
            Warning::Probe(warning) => warning.message(),
        }
    }
}

fn cold_not_proven(resident_pages: u64, device_share_pct: f64) -> Message {
    message!(
        "--cold left {resident_pages} pages in memory and the device delivered {device_share_pct:.0}% of the loaded \
         bytes, so loads may be partly warm",
        "let nothing else use these files and this device"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::warning::Warning as _;

    fn all() -> Vec<Warning> {
        let text = || "x".to_owned();
        vec![
            Warning::CacheWarmLoad { share_pct: 97.6 },
            Warning::SlowCreates { p50_us: 812.4 },
            Warning::ODirectRefused {
                path: text(),
                reason: text(),
            },
            Warning::ODirectLengthUnaligned {
                size: 1000,
                block: 4096,
            },
            Warning::RegisteredBuffersRefused {
                reason: text(),
                needed_bytes: (64 << 20) + 1,
                advice: text(),
            },
            Warning::UringUnavailable {
                reason: text(),
                advice: text(),
            },
            Warning::AlreadyStored { keys: 32 },
            Warning::Recovery(RecoveryWarning::CheckpointIgnored {
                path: text(),
                reason: text(),
            }),
            Warning::Recovery(RecoveryWarning::CheckpointNotWritten { reason: text() }),
            Warning::Recovery(RecoveryWarning::EntriesDropped {
                path: text(),
                impossible: 1,
                stale: 2,
            }),
            Warning::Spec(SpecWarning::OnlyFirstAdapter { given: 2 }),
            Warning::Spec(SpecWarning::UnknownField {
                field: text(),
                nearest: None,
            }),
            Warning::Spec(SpecWarning::MoreUnknownFields { count: 2 }),
            Warning::Spec(SpecWarning::FieldWithoutEffect {
                field: text(),
                why: text(),
            }),
            Warning::Spec(SpecWarning::HalfCredentials {
                given: text(),
                missing: text(),
                instead: text(),
            }),
            Warning::LiteralPath { note: "a; b".into() },
            Warning::NullDevice,
            Warning::SingleRound,
            Warning::NothingToVerify,
            Warning::DeviceUnknown { path: text() },
            Warning::RoundsTimedOut { rounds: 3 },
            Warning::RequestsRepeated(Repetitions {
                repeated: 1,
                redirected: 2,
                reason: Some(text()),
            }),
            Warning::ColdNotProven {
                resident_pages: 7,
                device_share_pct: 41.0,
            },
            Warning::Probe(ProbeWarning::Noisy { spread: 1.5 }),
            Warning::Probe(ProbeWarning::BelowResult { ratio: 1.25 }),
        ]
    }

    #[test]
    fn codes_are_kebab_case_and_distinct() {
        let mut codes: Vec<_> = all().iter().map(Warning::code).collect();
        for code in &codes {
            assert!(
                code.chars()
                    .all(|character| character.is_ascii_lowercase() || character == '-'),
                "{code}"
            );
        }
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn texts_are_one_line_with_advice() {
        for warning in all() {
            let text = warning.text();
            assert!(
                text.contains("; ") && !text.contains('\n') && !text.contains("  "),
                "{text}"
            );
            let is_note = matches!(warning, Warning::LiteralPath { .. });
            assert!(is_note || !warning.message().advice.is_empty(), "{text}");
        }
    }

    #[test]
    fn texts_carry_their_data() {
        let text = Warning::RegisteredBuffersRefused {
            reason: "out of memory".into(),
            needed_bytes: 64 << 20,
            advice: "raise it".into(),
        }
        .text();
        assert!(text.contains("64.0 MiB") && text.ends_with("; raise it"), "{text}");
        let warning = SpecWarning::UnknownField {
            field: "use_odirct".into(),
            nearest: Some("use_odirect".into()),
        };
        assert!(warning.text().ends_with("did you mean 'use_odirect'?"));
    }
}
