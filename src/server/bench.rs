//! The story of one `server` run.

use std::time::Instant;

use crate::args::server::ServerArgs;
use crate::error::Error;
use crate::status::Status;

/// Runs `server` as the command line asks. `started` is when the process began.
pub fn run(_args: &ServerArgs, _started: Instant) -> Result<Status, Error> {
    Err(Error::Environment(
        "lmcache-bench: server is not in this build yet".into(),
    ))
}
