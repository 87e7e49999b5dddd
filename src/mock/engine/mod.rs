//! `mock engine`.

use crate::args::mock_engine::MockEngineArgs;
use crate::error::Error;
use crate::status::Status;

/// Serves until a signal asks for the end.
pub fn run(_args: &MockEngineArgs) -> Result<Status, Error> {
    Err(Error::Environment(
        "lmcache-bench: mock engine is not in this build yet".into(),
    ))
}
