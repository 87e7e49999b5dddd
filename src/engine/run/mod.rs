//! Many requests at a time: the runner that obeys a workload, its lanes, the numbers of the moment, and the same runner
//! against the mock and the run's own records as checks of this program itself. Must never print or compute a figure of the report.

pub mod certificate;
pub mod evidence;
pub mod lane;
pub mod live;
pub mod runner;
