//! The warnings that only kv-tier-pressure has.

use crate::engine::ask::lookups::Unknown;
use crate::engine::workload::WorkloadWarning;
use crate::engine::workload::lookups::no_tokens;
use crate::result::warning::{self, Message, message};

#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    NoLmcacheUrl,
    /// The server does not say how large its L1 is.
    NoL1Capacity {
        why: String,
    },
    /// The server says nothing of itself.
    NoStatus {
        why: String,
    },
    NoBlendModule,
    /// It is not known what was looked up in the sweep.
    Unconfirmed(Unknown),
    /// The measured requests were looked up by prefix.
    NotBlended,
    /// It is not known what was looked up in the measured phase.
    NoLookupTokens(Unknown),
}

impl warning::Warning for Warning {
    fn code(&self) -> &'static str {
        match self {
            Warning::NoLmcacheUrl => "no-lmcache-url",
            Warning::NoL1Capacity { .. } => "no-l1-capacity",
            Warning::NoStatus { .. } => "no-status",
            Warning::NoBlendModule => "no-blend-module",
            Warning::Unconfirmed(_) => "unconfirmed",
            Warning::NotBlended => "not-blended",
            Warning::NoLookupTokens(_) => "no-lookup-tokens",
        }
    }

    fn message(&self) -> Message {
        match self {
            Warning::NoLmcacheUrl => message!(
                "Without --lmcache-url it is not known how many tokens came from the cache, nor whether the documents \
                 exceed its memory: a run that reused nothing looks like one that did.",
                "Give the address of the LMCache server."
            ),
            Warning::NoL1Capacity { why } => {
                message!("Whether the documents exceed the memory of L1 is not known: {why}.")
            }
            Warning::NoStatus { why } => {
                message!("Whether the server blends, and whether the documents exceed its L1, is not known: {why}.")
            }
            Warning::NoBlendModule => message!(
                "The LMCache server has not loaded the module for blending (its /status has no active_cb_lookups), so \
                 documents behind other text are not found again",
                "start it with blending, or give --ktp-docs-per-request 1."
            ),
            Warning::Unconfirmed(why) => {
                let why = why.sentence("the warmup");
                message!(
                    "{why}, so it is not known whether it blends",
                    "if few tokens came from the cache, see whether the engine uses CBKVConnector."
                )
            }
            Warning::NotBlended => message!(
                "The measured requests were looked up by prefix and not blended, so documents behind other text were not \
                 found again",
                "use a server with blending and CBKVConnector in the engine, or give --ktp-docs-per-request 1."
            ),
            Warning::NoLookupTokens(why) => no_tokens(*why),
        }
    }
}

impl From<Warning> for WorkloadWarning {
    fn from(warning: Warning) -> WorkloadWarning {
        WorkloadWarning {
            code: warning::Warning::code(&warning),
            message: warning::Warning::message(&warning),
        }
    }
}
