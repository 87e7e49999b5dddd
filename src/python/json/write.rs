//! JSON as Python's `json.dumps` writes it: strings in ASCII, floats as `repr` prints them. Infinities and NaN become null,
//! because what Python writes for them (`Infinity`) is not JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::python::float_text::shortest;

/// `json.dumps(value, indent=2)`, without a newline at its end.
pub fn dumps_indented(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Indented(PrettyFormatter::new()));
    value
        .serialize(&mut serializer)
        .expect("values in memory have text keys and are written to memory");
    String::from_utf8(out).expect("the formatter writes ASCII")
}

/// JSON text in ASCII, as Python's `ensure_ascii` makes it: DEL and everything beyond ASCII as `\uXXXX`, in UTF-16. In JSON
/// text such characters occur within strings only.
pub fn ascii(json: &str) -> Cow<'_, str> {
    let is_kept = |character: char| character < '\x7f';
    if json.chars().all(is_kept) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_kept(character) {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").expect("writing to a String cannot fail");
        }
    }
    Cow::Owned(out)
}

/// serde_json's indentation, which is Python's for `indent=2`, with Python's strings and floats.
struct Indented<'a>(PrettyFormatter<'a>);

/// Passes layout on to the wrapped formatter.
macro_rules! layout {
    ($($name:ident($($argument:ident: $kind:ty)?)),* $(,)?) => {
        $(
            fn $name<W: ?Sized + io::Write>(&mut self, out: &mut W $(, $argument: $kind)?) -> io::Result<()> {
                self.0.$name(out $(, $argument)?)
            }
        )*
    };
}

impl Formatter for Indented<'_> {
    layout!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        begin_object_value(),
        end_object_value(),
    );

    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(shortest(value).as_bytes())
    }

    /// `fragment` is a part of a string without quotes, backslashes and control characters; serde_json escapes those as
    /// Python does.
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        out.write_all(ascii(fragment).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    // Every text below is what CPython 3.11 writes for the same value.
    #[test]
    fn values_are_written_as_python_writes_them() {
        for (value, want) in [
            (
                json!([0.1, 27.0, 1e16, 1e-5, -0.0]),
                "[\n  0.1,\n  27.0,\n  1e+16,\n  1e-05,\n  -0.0\n]",
            ),
            (
                json!([u64::MAX, i64::MIN]),
                "[\n  18446744073709551615,\n  -9223372036854775808\n]",
            ),
            (
                json!({"a": {"b": []}, "c": {}}),
                "{\n  \"a\": {\n    \"b\": []\n  },\n  \"c\": {}\n}",
            ),
            (json!([true, null]), "[\n  true,\n  null\n]"),
            (json!("\u{e9}"), r#""\u00e9""#),
            (json!({"\u{1f600}": 1}), "{\n  \"\\ud83d\\ude00\": 1\n}"),
            (
                json!("q\" b\\ \u{1}\u{1f}\n\r\t\u{8}\u{c}/~\u{7f}\u{80}"),
                r#""q\" b\\ \u0001\u001f\n\r\t\b\f/~\u007f\u0080""#,
            ),
        ] {
            assert_eq!(dumps_indented(&value), want);
        }
    }

    #[test]
    fn what_json_cannot_hold_is_null() {
        assert_eq!(dumps_indented(&[f64::NAN]), "[\n  null\n]");
        assert_eq!(dumps_indented(&f64::NEG_INFINITY), "null");
    }

    #[test]
    fn what_was_written_can_be_read() {
        let value = json!({"text": "q\" \\ \u{7f}\u{e9}\u{1f600}\n", "list": [1, 2.5, {"k": null}]});
        assert_eq!(serde_json::from_str::<Value>(&dumps_indented(&value)).unwrap(), value);
    }
}
