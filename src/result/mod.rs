//! The result of a run: figures, the samples behind them, the settings, and the machine. It can be written to a file and read
//! back (`file`); the renderers in `report` make every output form from it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use self::model::{Name, Section};
use self::samples::Samples;
use crate::sys::machine::Machine;

pub mod file;
pub mod model;
mod number;
mod read;
pub mod samples;
pub mod warning;
mod weigh;

/// The first member of every result file.
pub const KIND: &str = "lmcache-bench result";
/// The schema number. Raised by changes that older readers would misread; new members alone do not raise it.
pub const SCHEMA: u32 = 1;

/// Everything that is known about one run. docs/result.schema.json describes its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    pub kind: Name,
    pub schema: u32,
    /// `engine`, `server` or `l2`.
    pub command: Name,
    /// The report's heading.
    pub title: Name,
    pub build: Build,
    /// Start of the process, in seconds of Unix time.
    pub started_unix_s: f64,
    /// Why the run ended early, or null.
    pub partial: Option<Name>,
    pub machine: Machine,
    /// What was measured: versions, file system, device. Names and texts depend on the command.
    pub target: Map<String, Json>,
    /// The value of every setting (typed, default or looked up) by flag name without leading dashes; no secrets.
    pub settings: Map<String, Json>,
    pub sections: Vec<Section>,
    pub samples: Samples,
}

/// The build of the program that measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Build {
    pub version: Name,
    pub target: Name,
    /// `release` or `debug`.
    pub profile: Name,
    /// Whether the C library is linked statically.
    #[serde(rename = "static")]
    pub is_static: bool,
}

impl Build {
    /// This program.
    pub fn this() -> Build {
        Build {
            version: env!("CARGO_PKG_VERSION").into(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS).into(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
            is_static: cfg!(target_feature = "crt-static"),
        }
    }
}

impl RunResult {
    /// A result of this program without figures and without facts about the machine; `started` is the start of the process.
    pub fn new(command: &'static str, title: impl Into<Name>, started: Instant) -> RunResult {
        RunResult {
            kind: KIND.into(),
            schema: SCHEMA,
            command: command.into(),
            title: title.into(),
            build: Build::this(),
            started_unix_s: unix_seconds(started),
            partial: None,
            machine: Machine::default(),
            target: Map::new(),
            settings: Map::new(),
            sections: Vec::new(),
            samples: Samples::default(),
        }
    }
}

/// The Unix time of an earlier moment of this process, in seconds.
fn unix_seconds(moment: Instant) -> f64 {
    let then = SystemTime::now().checked_sub(moment.elapsed());
    let since = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64())
}
