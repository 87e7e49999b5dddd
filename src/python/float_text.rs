//! Floats as Python rounds and prints them, so that reports of both tools can be compared as text.

/// `round(value, decimals)`: rounds the exact binary value, ties to even. 2.675 is stored slightly below the tie and gives
/// 2.67.
pub fn round(value: f64, decimals: u8) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let digits = usize::from(decimals);
    format!("{value:.digits$}")
        .parse()
        .expect("a printed finite number parses")
}

/// `repr(value)`, the shortest text that reads back as the same number: `27.2`, `0.0`, `1e-05`, `1e+16`.
///
/// Plain digits from 1e-4 up to below 1e16, otherwise an exponent of at least two digits.
pub fn shortest(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let magnitude = value.abs();
    if value.is_infinite() || magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("the exponent form has an exponent");
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

/// `f"{value:.{decimals}f}"`; also `inf`, `-inf` and `nan`.
pub fn fixed(value: f64, decimals: u8) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let digits = usize::from(decimals);
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_the_exact_value_and_ties_to_even() {
        for (value, decimals, want) in [
            (0.125, 2, 0.12),
            (0.375, 2, 0.38),
            (2.675, 2, 2.67),
            (0.5, 0, 0.0),
            (1.5, 0, 2.0),
            (2.5, 0, 2.0),
            (27.2, 2, 27.2),
            (1e300, 2, 1e300),
            (0.0005, 3, 0.001),
            (1.0005, 3, 1.0),
        ] {
            assert_eq!(round(value, decimals), want, "{value} to {decimals}");
        }
        assert!(round(-0.001, 2).is_sign_negative());
        assert_eq!(round(f64::INFINITY, 2), f64::INFINITY);
        assert!(round(f64::NAN, 2).is_nan());
    }

    #[test]
    fn prints_as_python_prints() {
        for (value, want) in [
            (27.2, "27.2"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (100.0, "100.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.2345e123, "1.2345e+123"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(shortest(value), want);
        }
    }

    #[test]
    fn fixed_prints_the_number_of_decimals() {
        assert_eq!(fixed(0.576, 2), "0.58");
        assert_eq!(fixed(0.125, 2), "0.12");
        assert_eq!(fixed(3.0, 0), "3");
        assert_eq!(fixed(f64::INFINITY, 2), "inf");
        assert_eq!(fixed(f64::NAN, 2), "nan");
    }
}
