//! Warnings about the raw-device probe, and so about every ratio to it.

#[derive(Debug, Clone, PartialEq)]
pub enum ProbeWarning {
    /// Slices differ by `spread`, largest over smallest.
    Noisy { spread: f64 },
    /// The measured throughput is `ratio` times what the probe reached.
    BelowResult { ratio: f64 },
}

impl ProbeWarning {
    pub fn code(&self) -> &'static str {
        match self {
            ProbeWarning::Noisy { .. } => "noisy-probe",
            ProbeWarning::BelowResult { .. } => "probe-above-device",
        }
    }

    pub fn text(&self) -> String {
        match self {
            ProbeWarning::Noisy { spread } => format!(
                "the slices of the device probe differ by a factor of {spread:.2}, so ratios to it are not sound; \
                 repeat while nothing else uses the device"
            ),
            ProbeWarning::BelowResult { ratio } => format!(
                "the measured throughput is {ratio:.2} times what the device probe reached, so a cache took part or \
                 the device changed speed; repeat with --cold and more rounds"
            ),
        }
    }
}
