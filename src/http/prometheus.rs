//! Pages of metrics in the text format of Prometheus or of OpenMetrics: <https://prometheus.io/docs/instrumenting/exposition_formats>
//! and <https://prometheus.io/docs/specs/om/open_metrics_spec>. A line that is neither is no sample.

use std::borrow::Cow;
use std::collections::HashSet;

/// A page of vLLM has 0.1 MiB.
pub const PAGE_BYTES_MAX: usize = 16 << 20;
/// Ends a page of OpenMetrics.
const END: &str = "# EOF";

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// One line of a page: the value of one metric with these labels.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: Cow<'a, str>,
    labels: Labels<'a>,
    value: f64,
}

/// The sum of the samples of counter `name` that have `label`, or of all its samples; `None` where the page has none. An
/// error names a line that is not a valid sample of a counter: a sum without it would look complete.
pub fn counter(page: &str, name: &str, label: Option<(&str, &str)>) -> Result<Option<f64>, String> {
    let mut sum = None;
    let mut seen = HashSet::new();
    for (number, line) in (1_u64..).zip(page.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line == END {
            break;
        }
        let line = line.trim_start_matches(BLANKS);
        let plain = line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(in_name));
        if !plain && !line.starts_with('{') {
            continue;
        }
        let Some(mut sample) = Reader(line).sample() else {
            if plain {
                return Err(format!("line {number} is no sample of {name}"));
            }
            continue;
        };
        let is_wanted = |(key, value): &(&str, &str)| sample.labels.iter().any(|(k, v)| k == key && v == value);
        if sample.name != name || !label.as_ref().is_none_or(is_wanted) {
            continue;
        }
        if !(0.0..f64::INFINITY).contains(&sample.value) {
            return Err(format!("line {number} counts {} for {name}", sample.value));
        }
        sample.labels.sort();
        if !seen.insert(sample.labels) {
            return Err(format!("line {number} repeats a sample of {name}"));
        }
        sum = Some(sum.unwrap_or(0.0) + sample.value);
    }
    Ok(sum)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Whether a character may be part of a metric's name.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// The rest of a line.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// `name{labels} value [time] [# {labels} value [time]]`, or `{"name",labels} value ...`.
    fn sample(mut self) -> Option<Sample<'a>> {
        let name = self.name(in_name);
        let (quoted, labels) = self.labels()?.unwrap_or_default();
        let name = match (name, quoted) {
            (Some(name), None) => Cow::Borrowed(name),
            (None, Some(name)) => name,
            _ => return None,
        };
        let value = self.value()?;
        if self.0.starts_with('#') {
            self.exemplar()?;
        }
        self.0.is_empty().then_some(Sample { name, labels, value })
    }

    /// A value, and the time that may follow it.
    fn value(&mut self) -> Option<f64> {
        let value = self.number()?;
        if !self.0.is_empty() && !self.0.starts_with('#') {
            self.number()?;
        }
        Some(value)
    }

    fn exemplar(&mut self) -> Option<()> {
        self.0 = self.0.strip_prefix('#')?;
        self.blanks();
        let (None, _) = self.labels()?? else { return None };
        self.value()?;
        Some(())
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(BLANKS);
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A name without quotes, and the blanks behind it.
    fn name(&mut self, belongs: fn(char) -> bool) -> Option<&'a str> {
        let end = self.0.find(|c| !belongs(c)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        self.blanks();
        Some(name)
    }

    /// The metric's name in quotes and the labels inside braces, if there are any. The outer `None` is a syntax error.
    fn labels(&mut self) -> Option<Option<(Option<Cow<'a, str>>, Labels<'a>)>> {
        if !self.take('{') {
            return Some(None);
        }
        let (mut metric, mut labels) = (None, Vec::new());
        self.blanks();
        while !self.take('}') {
            let quoted = self.0.starts_with('"');
            let key = if quoted {
                self.quoted()?
            } else {
                Cow::Borrowed(self.name(|c| c != ':' && in_name(c))?)
            };
            if self.take('=') {
                self.blanks();
                let value = self.quoted()?;
                if labels.iter().any(|(known, _)| *known == key) {
                    return None;
                }
                labels.push((key, value));
            } else if quoted && metric.is_none() && labels.is_empty() {
                metric = Some(key);
            } else {
                return None;
            }
            // The last label may have a comma behind it too.
            if self.take(',') {
                self.blanks();
            } else if !self.0.starts_with('}') {
                return None;
            }
        }
        self.blanks();
        Some(Some((metric, labels)))
    }

    /// A text in quotes, and the blanks behind it.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?;
        let end = closing_quote(text)?;
        self.0 = &text[end + 1..];
        self.blanks();
        let text = &text[..end];
        if !text.contains('\\') {
            return Some(Cow::Borrowed(text));
        }
        let mut plain = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match (c, c == '\\') {
                (c, false) => plain.push(c),
                (_, true) => match rest.next()? {
                    'n' => plain.push('\n'),
                    escaped @ ('\\' | '"') => plain.push(escaped),
                    // OpenMetrics keeps such a pair as it is.
                    other => plain.extend(['\\', other]),
                },
            }
        }
        Some(Cow::Owned(plain))
    }

    /// A number, and the blanks behind it.
    fn number(&mut self) -> Option<f64> {
        let end = self.0.find(BLANKS).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        self.blanks();
        number(word)
    }
}

/// The position of the quote that ends a text.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// `[+-]digits[.digits][e[+-]digits]`, or the words for numbers that are not finite.
fn number(word: &str) -> Option<f64> {
    let bare = word.strip_prefix(['+', '-']).unwrap_or(word);
    let named = ["inf", "infinity", "nan"]
        .iter()
        .any(|name| bare.eq_ignore_ascii_case(name));
    // Rust's own reader takes exactly these forms besides.
    let digits = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (named || digits).then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_of_both_formats_are_read() {
        for (line, value) in [
            ("c 3", 3.0),
            ("c\t3.5e2", 350.0),
            ("  c  +4 ", 4.0),
            ("c 5.\t1700000000", 5.0),
            ("c{} .5", 0.5),
            ("c {a=\"b\"}7", 7.0),
            ("c{ a = \"b\" , d=\"\" , } 8", 8.0),
            (r#"c{a="} 1 # {",d="x\"} 2",e="\\"} 9"#, 9.0),
            (r#"{"c",a="b"} 10"#, 10.0),
            (r#"{"c"} 11 1.5"#, 11.0),
            (r#"c{"a.b"="x\ny"} 12 # {trace_id="x"} 3"#, 12.0),
            (r#"c 13 17.5 # {} 0.5 1.5e9"#, 13.0),
            ("c 14\r", 14.0),
            ("\u{e9} 1\nc 15", 15.0),
            ("# c 1\n\nc_total 2\ncc 3\nc 16\n# EOF\nc 1", 16.0),
            ("c{a=\"1\"} 8\nc{a=\"2\"} 9", 17.0),
        ] {
            assert_eq!(counter(line, "c", None), Ok(Some(value)), "{line}");
        }
        assert_eq!(counter("c1 7\n", "c", None), Ok(None));
        assert_eq!(counter("{\"other\"} 7\n{\"c\" 7\n", "c", None), Ok(None));
    }

    #[test]
    fn labels_choose_samples() {
        let page =
            "c{a=\"x\",b=\"1\"} 1\nc{b=\"2\",a=\"x\"} 2\nc{b=\"a=\\\"x\\\"\"} 4\nc{aa=\"x\"} 8\nc{a=\"\\\\x\"} 16\n";
        assert_eq!(counter(page, "c", Some(("a", "x"))), Ok(Some(3.0)));
        assert_eq!(counter(page, "c", Some(("a", "\\x"))), Ok(Some(16.0)));
        assert_eq!(counter(page, "c", Some(("a", "y"))), Ok(None));
    }

    #[test]
    fn what_is_no_counter_is_named() {
        for line in [
            "c",
            "c ",
            "c{",
            "c{} ",
            "c{a=\"b\" 5",
            "c{a=b} 5",
            "c{a=\"b\"\"c\"} 5",
            "c{a=\"b\",a=\"c\"} 5",
            "c{a:b=\"\"} 5",
            "c{,} 5",
            "c{\"d\"} 5",
            "c 1 2 3",
            "c 1 x",
            "c 0x5",
            "c 1_0",
            "c +-5",
            "c ++5",
            "c 5 #",
            "c 5 # {} ",
            "c 5 # x 3",
            "c 5 # {\"c\"} 3",
            "c infinit",
            "c 5,0",
            "c{1a=\"b\"} 5",
            "c} 5",
            "c\u{a0}5",
            "c 5\u{0}",
            "c -1",
            "c NaN",
            "c +Inf",
            "c -Inf",
            "c 1e999",
            "c{a=\"b\\\"} 5",
            "c 1\nc 1",
            "c{a=\"1\",b=\"2\"} 1\nc{b=\"2\",a=\"1\"} 1",
            "c 1e",
            "c .",
            "c \r 5",
        ] {
            assert!(counter(line, "c", None).is_err(), "{line:?}");
        }
        let why = counter("\nc -1", "c", None).unwrap_err();
        assert_eq!(why, "line 2 counts -1 for c");
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(page in "[c{}\"\\\\ =,#0-9.e\\n\\t\u{e9}-]{0,60}") {
            let _ = counter(&page, "c", Some(("c", "1")));
        }
    }
}
