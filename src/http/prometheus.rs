//! Pages of metrics in the text format of Prometheus or of OpenMetrics: <https://prometheus.io/docs/instrumenting/exposition_formats>
//! and <https://prometheus.io/docs/specs/om/open_metrics_spec>. A line that is neither is no sample.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A page of vLLM has 0.1 MiB; one of many engines and models behind one exporter has up to 50.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Samples of one family. vLLM has one for each engine of a server and label value.
const SAMPLES_MAX: usize = 1 << 16;
/// Labels of one sample. Each is compared with those before it.
const LABELS_MAX: usize = 256;
/// Ends a page of OpenMetrics.
const END: &str = "# EOF";

/// The labels of a sample, sorted by name.
pub type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// One line of a page: the value of one metric with these labels.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: Cow<'a, str>,
    labels: Labels<'a>,
    value: f64,
}

/// Metrics of a page by name, read in one pass over it. Their values are finite and not negative.
#[derive(Debug)]
pub struct Families<'a>(BTreeMap<&'static str, Result<Family<'a>, String>>);

type Family<'a> = BTreeMap<Labels<'a>, f64>;

impl<'a> Families<'a> {
    /// The metrics that have these names.
    pub fn read(page: &'a str, names: impl IntoIterator<Item = &'static str>) -> Families<'a> {
        let names = names.into_iter().map(|name| (name, Ok(Family::new())));
        let mut families = BTreeMap::from_iter(names);
        for (number, line) in lines(page) {
            let plain = &line[..line.find(|c| !in_name(c)).unwrap_or(line.len())];
            if !line.starts_with('{') && !families.contains_key(plain) {
                continue;
            }
            let (name, read) = match Reader(line).sample() {
                Some(Sample { name, labels, value }) => (name, Some((labels, value))),
                None => (Cow::Borrowed(plain), None),
            };
            let Some(slot) = families.get_mut(name.as_ref()) else {
                continue;
            };
            let Ok(family) = slot else { continue };
            let added = match read {
                Some((labels, value)) => add(family, number, &name, labels, value),
                None => Err(format!("line {number} is no sample of {name}")),
            };
            if let Err(why) = added {
                *slot = Err(why);
            }
        }
        Families(families)
    }

    /// The samples of one of the names, by their labels. An error names a line that is not a valid sample: a sum without it
    /// would look complete.
    pub fn samples(&self, name: &str) -> Result<&Family<'a>, String> {
        self.0[name].as_ref().map_err(Clone::clone)
    }
}

fn add<'a>(family: &mut Family<'a>, number: u64, name: &str, labels: Labels<'a>, value: f64) -> Result<(), String> {
    if !(0.0..f64::INFINITY).contains(&value) {
        return Err(format!("line {number} counts {value} for {name}"));
    }
    if family.len() == SAMPLES_MAX {
        return Err(format!(
            "line {number} is one of more than {SAMPLES_MAX} samples of {name}"
        ));
    }
    match family.entry(labels) {
        Entry::Occupied(_) => Err(format!("line {number} repeats a sample of {name}")),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

/// The value of a label of a sample.
pub fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_ref())
}

/// The sum of the samples of counter `name` that have the label `wanted`, or of all its samples; `None` where the page has none.
/// An error names a line that is not a valid sample of a counter: a sum without it would look complete.
pub fn counter(page: &str, name: &str, wanted: Option<(&str, &str)>) -> Result<Option<f64>, String> {
    let mut family = Family::new();
    for (number, line) in lines(page) {
        let plain = line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(in_name));
        if !plain && !line.starts_with('{') {
            continue;
        }
        let Some(sample) = Reader(line).sample() else {
            if plain {
                return Err(format!("line {number} is no sample of {name}"));
            }
            continue;
        };
        if sample.name == name && wanted.is_none_or(|(key, value)| label(&sample.labels, key) == Some(value)) {
            add(&mut family, number, name, sample.labels, sample.value)?;
        }
    }
    Ok((!family.is_empty()).then(|| family.values().sum()))
}

/// The lines up to the end that the page names, each with its number and without blanks before it.
fn lines(page: &str) -> impl Iterator<Item = (u64, &str)> {
    let lines = page.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let lines = (1_u64..).zip(lines).take_while(|(_, line)| *line != END);
    lines.map(|(number, line)| (number, line.trim_start_matches(BLANKS)))
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
        let (quoted, mut labels) = self.labels()?.unwrap_or_default();
        labels.sort();
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
                if labels.len() == LABELS_MAX || labels.iter().any(|(known, _)| *known == key) {
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

    #[test]
    fn many_families_are_read_in_one_pass_and_each_has_its_own_problem() {
        let page =
            "a{x=\"1\",b=\"2\"} 1\nab 7\na{x=\"2\"} 2\nbad 1\nbad{ 2\n{\"quoted\"} 3\nnan NaN\n# a 5\n# EOF\na 9\n";
        let families = Families::read(page, ["a", "bad", "quoted", "nan", "absent"]);
        let sums = |name| families.samples(name).map(|samples| samples.values().sum::<f64>());
        assert_eq!((sums("a"), sums("quoted")), (Ok(3.0), Ok(3.0)));
        assert!(families.samples("absent").unwrap().is_empty());
        assert_eq!(sums("bad"), Err("line 5 is no sample of bad".to_owned()));
        assert_eq!(sums("nan"), Err("line 7 counts NaN for nan".to_owned()));
        let labels = families.samples("a").unwrap().keys().next().unwrap();
        assert_eq!((label(labels, "x"), label(labels, "y")), (Some("1"), None));
        let many: String = (0..=SAMPLES_MAX)
            .map(|number| format!("a{{x=\"{number}\"}} 1\n"))
            .collect();
        let why = Families::read(&many, ["a"]).samples("a").unwrap_err();
        assert_eq!(why, "line 65537 is one of more than 65536 samples of a");
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(page in "[c{}\"\\\\ =,#0-9.e\\n\\t\u{e9}-]{0,60}") {
            let families = Families::read(&page, ["c"]);
            let sum = families.samples("c").map(|samples| (!samples.is_empty()).then(|| samples.values().sum()));
            assert_eq!(sum, counter(&page, "c", None));
            let _ = counter(&page, "c", Some(("c", "1")));
        }
    }
}
