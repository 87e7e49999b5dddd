//! JSON values as Python objects: type names, `repr`, truth, and conversion by `int()` and `float()`.

use serde_json::Value;

use super::float_text::shortest;
use super::quote::repr as string_repr;

/// `type(value).__name__`.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// `str(value)`: a string as it is, anything else as `repr`.
pub fn str_text(value: &Value) -> String {
    value.as_str().map_or_else(|| repr(value), str::to_owned)
}

/// `repr(value)`.
pub fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) if number.is_f64() => shortest(number.as_f64().unwrap_or_default()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => string_repr(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{}: {}", string_repr(name), repr(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// `bool(value)`.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// An `int` above 0. A bool is an int in Python; 8192.0 is not.
pub fn positive_int(value: &Value) -> Option<u64> {
    match value {
        Value::Bool(truth) => Some(u64::from(*truth)),
        _ => value.as_u64(),
    }
    .filter(|number| *number > 0)
}

/// An `int`. A bool is an int in Python; 8192.0 is not.
pub fn as_int(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(truth) => Some(i128::from(*truth)),
        _ => value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from)),
    }
}

/// An `int` or a `float`. A bool is an int in Python.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => value.as_f64(),
    }
}

/// `int(value)` within 64 bits, with Python's error messages.
pub fn int(value: &Value) -> Result<i64, String> {
    let range = "is beyond 64 bits";
    match value {
        Value::Bool(truth) => Ok(i64::from(*truth)),
        Value::Number(number) if number.is_f64() => Ok(number.as_f64().unwrap_or_default() as i64),
        Value::Number(number) => number.as_i64().ok_or_else(|| format!("{number} {range}")),
        Value::String(text) => {
            let shown = repr(value);
            let refused = |_| format!("invalid literal for int() with base 10: {shown}");
            text.trim().parse().map_err(refused)
        }
        _ => Err(format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            type_name(value)
        )),
    }
}

/// `float(value)`, with Python's error messages.
pub fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::String(text) => {
            let refused = |_| format!("could not convert string to float: {}", repr(value));
            text.trim().parse().map_err(refused)
        }
        _ => number(value).ok_or_else(|| {
            let kind = type_name(value);
            format!("float() argument must be a string or a real number, not '{kind}'")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_print_as_in_python() {
        let value = json!({"a": [1, 1.5, true, null, "it's"], "b": "x\n\u{1}'\""});
        assert_eq!(
            repr(&value),
            r#"{'a': [1, 1.5, True, None, "it's"], 'b': 'x\n\x01\'"'}"#
        );
        assert_eq!(
            repr(&json!([1.0, 1e16, 1e-5, -0.0, 1e22])),
            "[1.0, 1e+16, 1e-05, -0.0, 1e+22]"
        );
        let names: Vec<_> = value["a"].as_array().unwrap().iter().map(type_name).collect();
        assert_eq!(names, ["int", "float", "bool", "NoneType", "str"]);
        assert_eq!((type_name(&value), type_name(&value["a"])), ("dict", "list"));
    }

    #[test]
    fn ints_and_numbers_are_pythons() {
        let ints = [
            json!(true),
            json!(8192),
            json!(8192.0),
            json!(0),
            json!(-1),
            json!(false),
            json!("1"),
        ];
        assert_eq!(
            ints.each_ref().map(positive_int),
            [Some(1), Some(8192), None, None, None, None, None]
        );
        assert_eq!(
            [json!(true), json!(0.5), json!("1")].each_ref().map(number),
            [Some(1.0), Some(0.5), None]
        );
    }

    #[test]
    fn truth_is_pythons() {
        for value in [
            json!(null),
            json!(false),
            json!(0),
            json!(0.0),
            json!(""),
            json!([]),
            json!({}),
        ] {
            assert!(!is_true(&value), "{value}");
        }
        for value in [json!(true), json!(-1), json!("no"), json!([0]), json!({"a": 0})] {
            assert!(is_true(&value), "{value}");
        }
    }
}
