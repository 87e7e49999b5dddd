//! The story of one `engine` run.

use std::time::Instant;

use crate::args::engine::EngineArgs;
use crate::error::Error;
use crate::status::Status;

/// Runs `engine` as the command line asks. `started` is when the process began.
pub fn run(_args: &EngineArgs, _started: Instant) -> Result<Status, Error> {
    Err(Error::Environment(
        "lmcache-bench: engine is not in this build yet".into(),
    ))
}
