//! Units of sizes and times. What LMCache calls KB, MB or GB is a power of two.

use std::str::FromStr;
use std::time::Duration;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Nanoseconds of a duration, at most `u64::MAX` (584 years).
pub fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Parses a whole number as protocols define it: digits only. `str::parse` accepts a plus sign too.
pub fn decimal<Number: FromStr>(text: &str) -> Option<Number> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A byte count for display: `24.0 MiB`, `512 B`.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        MIB..GIB => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        _ => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_accepts_digits_only() {
        for (text, number) in [("0", Some(0)), ("007", Some(7)), ("255", Some(255))] {
            assert_eq!(decimal::<u8>(text), number);
        }
        for text in ["", "+5", "-5", " 5", "5 ", "5.0", "0x5", "256", "\u{665}"] {
            assert_eq!(decimal::<u8>(text), None, "{text:?}");
        }
    }
}
