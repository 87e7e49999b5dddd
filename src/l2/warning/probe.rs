//! Warnings about the raw-device probe, which every ratio to it depends on.

use crate::result::warning::{Message, Warning, message};

#[derive(Debug, Clone, PartialEq)]
pub enum ProbeWarning {
    /// Slices differ by `spread`, largest over smallest.
    Noisy { spread: f64 },
    /// The measured throughput is `ratio` times what the probe reached.
    BelowResult { ratio: f64 },
}

impl Warning for ProbeWarning {
    fn code(&self) -> &'static str {
        match self {
            ProbeWarning::Noisy { .. } => "noisy-probe",
            ProbeWarning::BelowResult { .. } => "probe-above-device",
        }
    }

    fn message(&self) -> Message {
        match self {
            ProbeWarning::Noisy { spread } => message!(
                "the slices of the device probe differ by a factor of {spread:.2}, so ratios to it are not sound",
                "repeat while nothing else uses the device"
            ),
            ProbeWarning::BelowResult { ratio } => message!(
                "the measured throughput is {ratio:.2} times what the device probe reached, so a cache took part or \
                 the device changed speed",
                "repeat with --cold and more rounds"
            ),
        }
    }
}
