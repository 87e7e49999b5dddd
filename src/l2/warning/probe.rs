//! Doubts about the raw-device probe, and so about every ratio to it.

#[derive(Debug, Clone, PartialEq)]
pub enum ProbeDoubt {
    /// Slices differ by `spread`, largest over smallest.
    Noisy { spread: f64 },
    /// The measured throughput is `ratio` times what the probe reached.
    BelowResult { ratio: f64 },
}

impl ProbeDoubt {
    pub fn code(&self) -> &'static str {
        match self {
            ProbeDoubt::Noisy { .. } => "noisy-probe",
            ProbeDoubt::BelowResult { .. } => "probe-above-device",
        }
    }

    pub fn text(&self) -> String {
        match self {
            ProbeDoubt::Noisy { spread } => format!(
                "the slices of the device probe differ by a factor of {spread:.2}, so ratios to it are not sound; \
                 repeat while nothing else uses the device"
            ),
            ProbeDoubt::BelowResult { ratio } => format!(
                "the measured throughput is {ratio:.2} times what the device probe reached, so a cache took part or \
                 the device changed speed; repeat with --cold and more rounds"
            ),
        }
    }
}
