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

/// The longest duration that is read: a year.
const DURATION_S_MAX: f64 = 366.0 * 86_400.0;

/// The seconds of a unit of time.
pub fn unit_s(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// Reads a duration: a number of seconds, or a number with the unit `us`, `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[number.len()..] {
        "" => 1.0,
        unit => unit_s(unit).unwrap_or(f64::NAN),
    };
    let seconds = number.parse::<f64>().map_or(f64::NAN, |number| number * scale);
    match (0.0..=DURATION_S_MAX).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(format!(
            "{text:?} is no duration; write seconds, or a number with us, ms, s, m or h, for example 90s or 5m"
        )),
    }
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

/// A number for display: `1,234,567`.
pub fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("2", 2000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        for text in ["", "s", "-1", "nan", "inf", "1e9", "5 m", "5d", "1h5m"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn decimal_accepts_digits_only() {
        for (text, number) in [("0", Some(0)), ("007", Some(7)), ("255", Some(255))] {
            assert_eq!(decimal::<u8>(text), number);
        }
        for text in ["", "+5", "-5", " 5", "5 ", "5.0", "0x5", "256", "\u{665}"] {
            assert_eq!(decimal::<u8>(text), None, "{text:?}");
        }
    }

    #[test]
    fn thousands_have_commas() {
        for (number, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(with_commas(number), want);
        }
    }
}
