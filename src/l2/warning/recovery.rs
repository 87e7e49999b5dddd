//! Warnings about what a raw_block device held when it was opened, and about its checkpoints.

#[derive(Debug, Clone, PartialEq)]
pub enum RecoveryWarning {
    /// A checkpoint on the device was not believed.
    CheckpointIgnored { path: String, reason: String },
    /// One while the run went on.
    CheckpointNotWritten { reason: String },
    /// A checkpoint named objects that are not there.
    EntriesDropped { path: String, impossible: u64, stale: u64 },
}

impl RecoveryWarning {
    pub fn code(&self) -> &'static str {
        match self {
            RecoveryWarning::CheckpointIgnored { .. } => "checkpoint-ignored",
            RecoveryWarning::CheckpointNotWritten { .. } => "checkpoint-not-written",
            RecoveryWarning::EntriesDropped { .. } => "entries-dropped",
        }
    }

    pub fn text(&self) -> String {
        match self {
            RecoveryWarning::CheckpointIgnored { path, reason } => format!(
                "a checkpoint on {path} was ignored ({reason}), so objects it names are not found and their slots are \
                 written anew; use the spec that wrote it, or accept the loss"
            ),
            RecoveryWarning::CheckpointNotWritten { reason } => {
                format!("a periodic checkpoint failed: {reason}; the next one may still succeed")
            }
            RecoveryWarning::EntriesDropped {
                path,
                impossible,
                stale,
            } => format!(
                "of the objects that the checkpoint on {path} names, {stale} are not in their slots and {impossible} \
                 have no possible slot, so they count as missing; store them again"
            ),
        }
    }
}
