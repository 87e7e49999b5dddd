//! `mock server`.

use crate::args::mock_server::MockServerArgs;
use crate::error::Error;
use crate::status::Status;

/// Serves until a signal asks for the end.
pub fn run(_args: &MockServerArgs) -> Result<Status, Error> {
    Err(Error::Environment(
        "lmcache-bench: mock server is not in this build yet".into(),
    ))
}
