//! The loads of a sweep, as typed: `rate=1:32:x2`, `rate=1:32:+5`, `concurrency=1,2,4`.

use std::fmt;

use super::arrivals::{PER_SECOND_MAX, rate};
use crate::python::quote::quoted;
use crate::units::decimal;

/// A sweep has at most as many loads.
pub const STEPS_MAX: usize = 100;
/// A thread and a connection each.
pub const CONCURRENCY_MAX: u64 = 65_536;
/// A step this much behind the end still counts, so that rounding does not leave out the end.
const ROUNDING: f64 = 1e-9;

/// What is raised from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Requests per second of an open loop.
    Rate,
    /// Requests in flight of a closed loop: whole numbers.
    Concurrency,
}

impl Axis {
    pub fn name(self) -> &'static str {
        match self {
            Axis::Rate => "rate",
            Axis::Concurrency => "concurrency",
        }
    }

    /// The greatest load of this kind.
    pub fn most(self) -> f64 {
        match self {
            Axis::Rate => PER_SECOND_MAX,
            Axis::Concurrency => CONCURRENCY_MAX as f64,
        }
    }

    /// One load as typed.
    pub fn load(self, text: &str) -> Result<f64, String> {
        match self {
            Axis::Rate => rate(text),
            Axis::Concurrency => decimal::<u64>(text)
                .filter(|n| (1..=CONCURRENCY_MAX).contains(n))
                .map(|n| n as f64)
                .ok_or_else(|| {
                    let shown = quoted(text);
                    format!("a concurrency must be a whole number from 1 to {CONCURRENCY_MAX}, got {shown}")
                }),
        }
    }

    /// A load of this kind: rounded down to a whole number for concurrency, at least 1.
    pub fn rounded(self, load: f64) -> f64 {
        match self {
            Axis::Rate => load.min(PER_SECOND_MAX),
            Axis::Concurrency => load.floor().clamp(1.0, CONCURRENCY_MAX as f64),
        }
    }
}

/// A load without digits that nobody set.
pub fn load_text(load: f64) -> String {
    let text = format!("{load:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Loads in ascending order, at least one, none twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    pub axis: Axis,
    pub loads: Vec<f64>,
}

/// The list of loads, whatever way it was typed.
impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.axis.name())?;
        for (index, load) in self.loads.iter().enumerate() {
            write!(f, "{}{load}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl Sweep {
    pub fn parse(text: &str) -> Result<Sweep, String> {
        let form = || {
            format!(
                "{} is no sweep; write rate=1:32:x2, rate=5:50:+5, rate=1,2,4 or concurrency=1,2,4",
                quoted(text)
            )
        };
        let (name, loads) = text.split_once('=').ok_or_else(form)?;
        let axis = [Axis::Rate, Axis::Concurrency];
        let axis = axis.into_iter().find(|axis| axis.name() == name).ok_or_else(form)?;
        let mut loads = match loads.split(':').collect::<Vec<&str>>()[..] {
            [list] => listed(axis, list)?,
            [first, last, step] => stepped(axis, first, last, step)?,
            _ => return Err(form()),
        };
        loads.sort_by(f64::total_cmp);
        if let Some(twice) = loads.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{} has {} twice; give each load once", quoted(text), twice[0]));
        }
        Ok(Sweep { axis, loads })
    }
}

fn too_many(count: usize) -> String {
    format!("a sweep has at most {STEPS_MAX} steps, and this one has {count}; take larger steps")
}

fn listed(axis: Axis, list: &str) -> Result<Vec<f64>, String> {
    let count = list.split(',').count();
    if count > STEPS_MAX {
        return Err(too_many(count));
    }
    list.split(',').map(|load| axis.load(load.trim())).collect()
}

/// From `first` to at most `last`, each times a factor (`x2`) or plus a step (`+5`).
fn stepped(axis: Axis, first: &str, last: &str, step: &str) -> Result<Vec<f64>, String> {
    let (first, last) = (axis.load(first)?, axis.load(last)?);
    if last < first {
        return Err(format!(
            "a sweep goes up, and {first}:{last} does not; give the lower load first"
        ));
    }
    let wrong = || {
        format!(
            "{} is no step of a sweep; write x2 (a factor above 1) or +5 (a number above 0)",
            quoted(step)
        )
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (factor, added) = match (step.strip_prefix('x'), step.strip_prefix('+')) {
        (Some(factor), _) => (number(factor).filter(|factor| *factor > 1.0).ok_or_else(wrong)?, 0.0),
        (_, Some(added)) => (1.0, number(added).filter(|added| *added > 0.0).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    let steps = match added > 0.0 {
        true => (last - first) / added,
        false => (last / first).ln() / factor.ln(),
    };
    // A cast of a number that is too large gives the largest.
    let count = ((steps + ROUNDING).floor() as usize).saturating_add(1);
    if count > STEPS_MAX {
        return Err(too_many(count));
    }
    let load = |index: usize| match added > 0.0 {
        true => first + added * index as f64,
        false => first * factor.powi(index as i32),
    };
    let loads: Vec<f64> = (0..count).map(|index| load(index).min(last)).collect();
    let is_whole = |load: &f64| (load - load.round()).abs() < ROUNDING;
    if axis == Axis::Concurrency && !loads.iter().all(is_whole) {
        return Err(format!(
            "step {} gives concurrencies that are not whole; take a whole step or a list",
            quoted(step)
        ));
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(text: &str) -> Vec<f64> {
        Sweep::parse(text).unwrap().loads
    }

    #[test]
    fn loads_are_listed_multiplied_or_added() {
        assert_eq!(loads("rate=1:32:x2"), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(loads("rate=1:33:x2"), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(loads("rate=1:32:+10"), [1.0, 11.0, 21.0, 31.0]);
        assert_eq!(
            loads("rate=0.1:0.5:+0.1").len(),
            5,
            "the end is there in spite of rounding"
        );
        assert_eq!(loads("rate=1:10:x10"), [1.0, 10.0]);
        assert_eq!(loads("rate=0.001:1000:x10").len(), 7);
        assert_eq!(loads("rate=7:7:x2"), [7.0]);
        assert_eq!(loads("rate=4, 1,2.5"), [1.0, 2.5, 4.0], "in ascending order");
        assert_eq!(loads("concurrency=8,1,4"), [1.0, 4.0, 8.0]);
        assert_eq!(loads("concurrency=1:256:x4"), [1.0, 4.0, 16.0, 64.0, 256.0]);
    }

    #[test]
    fn it_is_shown_as_a_list() {
        let shown = |text: &str| Sweep::parse(text).unwrap().to_string();
        assert_eq!(shown("concurrency=1:8:x2"), "concurrency=1,2,4,8");
        assert_eq!(shown("rate=4,0.5"), "rate=0.5,4");
        assert_eq!(loads(&shown("rate=1:9:x1.7")), loads("rate=1:9:x1.7"));
    }

    #[test]
    fn impossible_sweeps_are_refused_with_the_cause() {
        let form = "is no sweep; write rate=1:32:x2, rate=5:50:+5, rate=1,2,4 or concurrency=1,2,4";
        let step = "is no step of a sweep; write x2 (a factor above 1) or +5 (a number above 0)";
        let bound = "a rate must be above 0 and at most 1000000 requests per second, got";
        for (text, want) in [
            (
                "rate=1:10000:+1",
                "a sweep has at most 100 steps, and this one has 10000; take larger steps".into(),
            ),
            (
                "rate=1:2:x1.000001",
                "a sweep has at most 100 steps, and this one has 693148; take larger steps".into(),
            ),
            ("rate=1:1:x2:x2", format!("'rate=1:1:x2:x2' {form}")),
            ("rate=1:2", format!("'rate=1:2' {form}")),
            ("rate", format!("'rate' {form}")),
            ("users=1,2", format!("'users=1,2' {form}")),
            (
                "rate=2:1:x2",
                "a sweep goes up, and 2:1 does not; give the lower load first".into(),
            ),
            ("rate=1:8:2", format!("'2' {step}")),
            ("rate=1:8:x1", format!("'x1' {step}")),
            ("rate=1:8:x0.5", format!("'x0.5' {step}")),
            ("rate=1:8:+0", format!("'+0' {step}")),
            ("rate=1:8:+-1", format!("'+-1' {step}")),
            ("rate=1:8:xnan", format!("'xnan' {step}")),
            ("rate=1:8:xinf", format!("'xinf' {step}")),
            ("rate=0:8:x2", format!("{bound} '0'")),
            ("rate=1,-2", format!("{bound} '-2'")),
            ("rate=1,nan", format!("{bound} 'nan'")),
            ("rate=inf", format!("{bound} 'inf'")),
            ("rate=1e9", format!("{bound} '1e9'")),
            ("rate=1,2,1.0", "'rate=1,2,1.0' has 1 twice; give each load once".into()),
            ("rate=", "invalid float value: ''; give a number".into()),
            (
                "concurrency=1.5",
                "a concurrency must be a whole number from 1 to 65536, got '1.5'".into(),
            ),
            (
                "concurrency=0",
                "a concurrency must be a whole number from 1 to 65536, got '0'".into(),
            ),
            (
                "concurrency=1:8:x1.5",
                "step 'x1.5' gives concurrencies that are not whole; take a whole step or a list".into(),
            ),
        ] {
            let want: String = want;
            assert_eq!(Sweep::parse(text).unwrap_err(), want, "{text}");
        }
        let many = vec!["1"; 101].join(",");
        assert!(
            Sweep::parse(&format!("rate={many}"))
                .unwrap_err()
                .contains("this one has 101")
        );
    }
}
