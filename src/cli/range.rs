//! Range checks of typed numbers, with the error messages. A command takes [`SETTINGS`] or [`USAGE`], the two wordings in
//! use, and calls a check for each flag:
//!
//! | check | must be | for |
//! |---|---|---|
//! | [`Range::at_least`] | `at least A` | counts |
//! | [`Range::at_most`] | `at most B` | counts with an upper bound of their own |
//! | [`Range::within`] | `A to B` | counts with both bounds |
//! | [`Range::above_zero`] | as given | finite numbers |
//! | [`Range::seconds`] | `A to B seconds` | durations |
//!
//! [`Range::refusal`] makes the same sentence for a condition that none of them covers.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;

/// The wording of a refusal and its kind of error.
#[derive(Clone, Copy)]
pub struct Range {
    error: fn(String) -> Error,
    /// From flag, value and what the value must be.
    sentence: fn(&str, &str, &str) -> String,
}

/// `--x must be at least 1, got 0`, exit code 1: as LMCache refuses settings of `bench engine`.
pub const SETTINGS: Range = Range {
    error: Error::Settings,
    sentence: |flag, value, wanted| format!("{flag} must be {wanted}, got {value}"),
};

/// `--x is 0 but must be at least 1`, exit code 2: a mistake on the command line.
pub const USAGE: Range = Range {
    error: Error::Usage,
    sentence: |flag, value, wanted| format!("{flag} is {value} but must be {wanted}"),
};

impl Range {
    /// The error about a flag (with its dashes) whose value is not `wanted`.
    pub fn refusal(&self, flag: &str, value: impl Display, wanted: &str) -> Error {
        (self.error)((self.sentence)(flag, &value.to_string(), wanted))
    }

    /// `least` is 0 or more.
    pub fn at_least(&self, flag: &str, value: i64, least: i64) -> Result<u64, Error> {
        self.checked(flag, value, least..=i64::MAX, || format!("at least {least}"))
    }

    pub fn at_most(&self, flag: &str, value: u64, most: u64) -> Result<u64, Error> {
        if value <= most {
            return Ok(value);
        }
        Err(self.refusal(flag, value, &format!("at most {most}")))
    }

    /// The lower bound is 0 or more.
    pub fn within(&self, flag: &str, value: i64, bounds: RangeInclusive<i64>) -> Result<u64, Error> {
        let wanted = format!("{} to {}", bounds.start(), bounds.end());
        self.checked(flag, value, bounds, || wanted)
    }

    /// A finite number above 0; `wanted` is how the sentence says that.
    pub fn above_zero(&self, flag: &str, value: f64, wanted: &str) -> Result<f64, Error> {
        if value > 0.0 && value.is_finite() {
            return Ok(value);
        }
        Err(self.refusal(flag, value, wanted))
    }

    /// Bounds are finite and not negative.
    pub fn seconds(&self, flag: &str, value: f64, bounds: RangeInclusive<f64>) -> Result<Duration, Error> {
        if bounds.contains(&value) {
            return Ok(Duration::from_secs_f64(value));
        }
        let wanted = format!("{} to {} seconds", bounds.start(), bounds.end());
        Err(self.refusal(flag, format!("{value:?}"), &wanted))
    }

    fn checked(
        &self,
        flag: &str,
        value: i64,
        bounds: RangeInclusive<i64>,
        wanted: impl FnOnce() -> String,
    ) -> Result<u64, Error> {
        match u64::try_from(value) {
            Ok(number) if bounds.contains(&value) => Ok(number),
            _ => Err(self.refusal(flag, value, &wanted())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
        outcome.expect_err("out of bounds").to_string()
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!(USAGE.at_least("--x", 1, 1).unwrap(), 1);
        assert_eq!(USAGE.at_least("--x", i64::MAX, 0).unwrap(), i64::MAX as u64);
        assert_eq!(USAGE.at_most("--x", 7, 7).unwrap(), 7);
        assert_eq!(USAGE.within("--x", 0, 0..=1024).unwrap(), 0);
        assert_eq!(USAGE.within("--x", 1024, 0..=1024).unwrap(), 1024);
        let seconds = USAGE.seconds("--x", 0.5, 0.0..=86_400.0).unwrap();
        assert_eq!(seconds, Duration::from_millis(500));
        assert_eq!(SETTINGS.above_zero("--x", 1e-300, "above 0").unwrap(), 1e-300);
    }

    #[test]
    fn a_usage_error_names_the_value_first() {
        assert_eq!(
            refused(USAGE.at_least("--rounds", 0, 1)),
            "--rounds is 0 but must be at least 1"
        );
        assert_eq!(
            refused(USAGE.at_least("--rounds", i64::MIN, 0)),
            "--rounds is -9223372036854775808 but must be at least 0"
        );
        assert_eq!(
            refused(USAGE.within("--io-depth", 2000, 0..=1024)),
            "--io-depth is 2000 but must be 0 to 1024"
        );
        assert_eq!(
            refused(USAGE.seconds("--interval", f64::NAN, 0.0..=86_400.0)),
            "--interval is NaN but must be 0 to 86400 seconds"
        );
        assert_eq!(
            refused(USAGE.seconds("--rpc-timeout-s", 0.0, 0.001..=86_400.0)),
            "--rpc-timeout-s is 0.0 but must be 0.001 to 86400 seconds"
        );
    }

    #[test]
    fn a_settings_error_names_the_value_last() {
        assert_eq!(
            refused(SETTINGS.at_least("--n", -1, 1)),
            "--n must be at least 1, got -1"
        );
        assert_eq!(refused(SETTINGS.at_most("--n", 8, 7)), "--n must be at most 7, got 8");
        for (value, shown) in [(0.0, "0"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (-2.5, "-2.5")] {
            let text = refused(SETTINGS.above_zero("--f", value, "above 0"));
            assert_eq!(text, format!("--f must be above 0, got {shown}"));
        }
    }

    #[test]
    fn the_wordings_have_different_kinds() {
        assert!(matches!(USAGE.refusal("--x", 1, "2"), Error::Usage(_)));
        assert!(matches!(SETTINGS.refusal("--x", 1, "2"), Error::Settings(_)));
    }
}
