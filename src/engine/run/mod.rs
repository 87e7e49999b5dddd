//! Runs a workload with many requests in flight: the runner, its workers, and the numbers for the display. Also how exact the
//! run was: `certificate` replays it against the mock, `evidence` derives it from the run's own records.

pub mod certificate;
pub mod evidence;
pub mod gathered;
pub mod live;
pub mod runner;
pub mod worker;
