//! Warnings about what a raw_block device held when it was opened, and about its checkpoints.

use crate::result::warning::{Message, Warning, message};

#[derive(Debug, Clone, PartialEq)]
pub enum RecoveryWarning {
    /// A checkpoint on the device was invalid, or does not fit the spec.
    CheckpointIgnored { path: String, reason: String },
    /// A periodic checkpoint failed.
    CheckpointNotWritten { reason: String },
    /// A checkpoint named objects in slots that hold something else (`stale`) or cannot exist (`impossible`).
    EntriesDropped { path: String, impossible: u64, stale: u64 },
}

impl Warning for RecoveryWarning {
    fn code(&self) -> &'static str {
        match self {
            RecoveryWarning::CheckpointIgnored { .. } => "checkpoint-ignored",
            RecoveryWarning::CheckpointNotWritten { .. } => "checkpoint-not-written",
            RecoveryWarning::EntriesDropped { .. } => "entries-dropped",
        }
    }

    fn message(&self) -> Message {
        match self {
            RecoveryWarning::CheckpointIgnored { path, reason } => message!(
                "a checkpoint on {path} was ignored ({reason}), so objects it names are not found and their slots \
                 are written anew",
                "use the spec that wrote it, or accept the loss"
            ),
            RecoveryWarning::CheckpointNotWritten { reason } => {
                message!(
                    "a periodic checkpoint failed: {reason}",
                    "the next one may still succeed"
                )
            }
            RecoveryWarning::EntriesDropped {
                path,
                impossible,
                stale,
            } => message!(
                "of the objects that the checkpoint on {path} names, {stale} are not in their slots and {impossible} \
                 have no possible slot, so they count as missing",
                "store them again"
            ),
        }
    }
}
