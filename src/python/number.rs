//! Numbers as Python's `int()` and `float()` read them, so that a command line means the same here and in the reference.
//! Ranges are checked by the callers. Non-ASCII digits, which Python accepts, are refused.

use super::quote::quoted;

/// Python's `int(text)` within 64 bits: `1_000`, `+5`, surrounding blanks; not `1e3`, `0x10`, `1__0`.
pub fn int(text: &str) -> Result<i64, String> {
    let (sign, digits) = int_parts(text)?;
    format!("{sign}{digits}").parse().map_err(|_| {
        let (low, high) = (i64::MIN, i64::MAX);
        format!(
            "int value out of range: {}; give a number from {low} to {high}",
            quoted(text)
        )
    })
}

/// The sign ("" or "-") and the decimal digits of a text that Python's `int(text)` accepts.
pub fn int_parts(text: &str) -> Result<(&'static str, String), String> {
    let body = text.trim_matches(char::is_whitespace);
    let (sign, digits) = match body.as_bytes().first() {
        Some(b'+') => ("", &body[1..]),
        Some(b'-') => ("-", &body[1..]),
        _ => ("", body),
    };
    let invalid = || format!("invalid int value: {}; give a whole number", quoted(text));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return Err(invalid());
    }
    Ok((sign, without_underscores(digits).ok_or_else(invalid)?))
}

/// Python's `float(text)`: `1e3`, `.5`, `inf`, `nan`, `1_0.5`, surrounding blanks; not `0x10`, `1_`.
pub fn float(text: &str) -> Result<f64, String> {
    let invalid = || format!("invalid float value: {}; give a number", quoted(text));
    let plain = without_underscores(text.trim_matches(char::is_whitespace)).ok_or_else(invalid)?;
    plain.parse().map_err(|_| invalid())
}

/// The text without its underscores; `None` when one of them is not between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit_at = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let placed = |(at, _)| digit_at(usize::checked_sub(at, 1)) && digit_at(Some(at + 1));
    text.match_indices('_').all(placed).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Every text below was tried with CPython 3.11.
    #[test]
    fn int_accepts_what_python_accepts() {
        let accepted = [
            ("32", 32),
            ("1_000", 1000),
            ("+5", 5),
            ("-5", -5),
            (" 7\n", 7),
            ("\u{a0}7\u{85}", 7),
            ("007", 7),
            ("0_0", 0),
            ("-0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, value) in accepted {
            assert_eq!(int(text), Ok(value), "{text:?}");
        }
    }

    #[test]
    fn int_refuses_what_python_refuses() {
        for text in [
            "", " ", "abc", "1e3", "0x10", "1__0", "_1", "1_", "+_1", "+-5", "- 5", "1 0", "1.0", "5k", "7\x1f", "-",
            "é1",
        ] {
            let refusal = int(text).expect_err(text);
            assert!(refusal.starts_with("invalid int value: '"), "{refusal}");
        }
    }

    #[test]
    fn an_int_beyond_64_bits_has_its_own_message() {
        let refusal = int("9223372036854775808").expect_err("one more than fits");
        assert!(
            refusal.starts_with("int value out of range: '9223372036854775808'"),
            "{refusal}"
        );
        assert!(int("-9223372036854775809").is_err());
    }

    #[test]
    fn float_accepts_what_python_accepts() {
        let accepted = [
            ("0.5", 0.5),
            ("1e3", 1000.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-1.e2", -100.0),
            (" +2E-1\t", 0.2),
            ("1_0.2_5e1_0", 10.25e10),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
            ("1e-999", 0.0),
        ];
        for (text, value) in accepted {
            assert_eq!(float(text), Ok(value), "{text:?}");
        }
        assert!(float("NaN").is_ok_and(f64::is_nan));
        assert!(float("-nan").is_ok_and(f64::is_nan));
    }

    #[test]
    fn float_refuses_what_python_refuses() {
        let refused = [
            "", ".", "e5", ".e5", "1e", "0x10", "1_", "_1", "1__0", "1_.0", "1._0", "1e_5", "1_e5", "n_an", "infin",
            "1 0", "1,5",
        ];
        for text in refused {
            let refusal = float(text).expect_err(text);
            assert!(refusal.starts_with("invalid float value: '"), "{refusal}");
        }
    }

    /// Digits with an underscore after every third, as people write large numbers.
    fn grouped(digits: &str) -> String {
        let groups: Vec<&str> = digits
            .as_bytes()
            .chunks(3)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect();
        groups.join("_")
    }

    proptest! {
        #[test]
        fn every_int_round_trips(value: i64, blanks in "[ \t\n]{0,3}") {
            let digits = grouped(&value.unsigned_abs().to_string());
            let sign = if value < 0 { "-" } else { "" };
            prop_assert_eq!(int(&format!("{blanks}{sign}{digits}{blanks}")), Ok(value));
        }

        #[test]
        fn every_float_round_trips(value: f64) {
            let back = float(&format!("{value:e}")).unwrap();
            prop_assert!(back == value || (back.is_nan() && value.is_nan()));
        }

        #[test]
        fn what_is_an_int_is_a_float_too(text in "[-+]?[0-9_]{1,12}") {
            prop_assert_eq!(int(&text).ok().map(|value| value as f64), float(&text).ok());
        }

        #[test]
        fn underscores_stand_between_digits(text in "[0-9_]{1,8}") {
            let well_placed = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
            prop_assert_eq!(int(&text).is_ok(), well_placed);
        }
    }
}
