//! The result of a run: figures, the samples behind them, the settings, and the machine it ran on. It can be written to a
//! file and read back (`file`), and every output form is made from it (`report`). It prints and measures nothing.

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
/// Raised when a reader of the number before would misread a file. New members alone do not raise it.
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
    /// When the process began, in seconds of Unix time.
    pub started_unix_s: f64,
    /// Why the run ended before its plan was done, or null.
    pub partial: Option<Name>,
    pub machine: Machine,
    /// What was measured: versions, file system, device. Names and texts depend on the command.
    pub target: Map<String, Json>,
    /// Every setting after defaults and look-ups, by flag name without dashes in front; no secrets.
    pub settings: Map<String, Json>,
    pub sections: Vec<Section>,
    pub samples: Samples,
}

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Build {
    pub version: Name,
    pub target: Name,
    /// `release` or `debug`.
    pub profile: Name,
    /// Whether the C library is in the file.
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
    /// A result of this program on this machine; `started` is when the process began.
    pub fn new(command: &'static str, title: impl Into<Name>, started: Instant) -> RunResult {
        RunResult {
            kind: KIND.into(),
            schema: SCHEMA,
            command: command.into(),
            title: title.into(),
            build: Build::this(),
            started_unix_s: unix_seconds(started),
            partial: None,
            machine: Machine::read(),
            target: Map::new(),
            settings: Map::new(),
            sections: Vec::new(),
            samples: Samples::default(),
        }
    }
}

/// The wall clock's time at an earlier moment of this process.
fn unix_seconds(moment: Instant) -> f64 {
    let then = SystemTime::now().checked_sub(moment.elapsed());
    let since = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64())
}
