//! The counters of one page, each a sum over its samples, and their growth between two readings.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::shortened;
use crate::http::prometheus::{Families, label};

/// More than all servers together look up or compute.
pub const TOKENS_PER_S_MAX: f64 = 1e9;
/// Above 2^53 a float does not count single tokens.
const COUNT_MAX: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
/// Of a counter's key in a message: a server chooses its labels.
const COUNTER_CHARS_MAX: usize = 200;
/// Label values of one family that are told apart. A page has a few sources, tiers or models.
const VALUES_MAX: usize = 1000;

/// The key of the samples of a family that have this label: `family{label="value"}`.
pub fn key(family: &str, label: &str, value: &str) -> String {
    format!("{family}{{{label}={value:?}}}")
}

/// The value of the label in a [`key`], as it is written there; `None` for the key of a whole family.
pub fn label_of(key: &str) -> Option<&str> {
    let (_, label) = key.split_once('{')?;
    let (_, value) = label.strip_suffix("\"}")?.split_once("=\"")?;
    Some(value)
}

/// Sums of one page. A family that could not be read has no sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageCounts {
    sums: BTreeMap<String, f64>,
    /// Families with a line that is no valid sample.
    unread: BTreeSet<&'static str>,
    /// What identifies one life of the server, from the page itself: it is another one after a restart.
    life: BTreeSet<String>,
}

impl PageCounts {
    /// Reads the families `whole` as one sum each, and those of `split` as one sum for each value of a label. Samples without
    /// the label count under the family's name. Problems begin with the address.
    pub fn read(
        url: &str,
        families: &Families,
        whole: &[&'static str],
        split: &[(&'static str, &'static str)],
        problems: &mut Vec<String>,
    ) -> PageCounts {
        let mut counts = PageCounts::default();
        let whole = whole.iter().map(|family| (*family, None));
        let split = split.iter().map(|(family, label)| (*family, Some(*label)));
        for (family, by) in whole.chain(split) {
            match counts.add(families, family, by) {
                Ok(()) => {}
                Err(why) => {
                    counts.unread.insert(family);
                    problems.push(format!("{url}: {why}"));
                }
            }
        }
        counts
    }

    fn add(&mut self, families: &Families, family: &str, by: Option<&str>) -> Result<(), String> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for (labels, value) in families.samples(family)? {
            let name = match by.and_then(|by| Some((by, label(labels, by)?))) {
                Some((by, value)) => key(family, by, value),
                None => family.to_owned(),
            };
            *sums.entry(name).or_default() += value;
            if sums.len() > VALUES_MAX {
                return Err(format!("{family} has more than {VALUES_MAX} values of one label"));
            }
        }
        self.sums.extend(sums);
        Ok(())
    }

    /// Notes what identifies this life of the server: the labels and values of the samples of these families.
    pub fn add_life(&mut self, families: &Families, names: &[&'static str]) {
        for name in names {
            for (labels, value) in families.samples(name).into_iter().flatten().take(VALUES_MAX) {
                self.life.insert(format!("{name}{labels:?} {value}"));
            }
        }
    }

    /// Whether the page has a sample of this family.
    pub fn has(&self, family: &str) -> bool {
        self.sums.keys().any(|key| family_of(key) == family)
    }

    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }
}

fn family_of(key: &str) -> &str {
    &key[..key.find('{').unwrap_or(key.len())]
}

/// What the pages of one server, or of several engines together, counted between two moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grown {
    counts: BTreeMap<String, u64>,
    /// Families that some page does not give.
    unread: BTreeSet<&'static str>,
    /// Why these are no counts: counters that went back, or grew by more than can be.
    pub voids: Vec<Void>,
}

/// A counter whose growth says nothing about the phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Void {
    pub counter: String,
    pub before: f64,
    pub after: f64,
    pub kind: VoidKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidKind {
    /// It is smaller than before, or gone.
    WentBack,
    /// It grew by more than any server can do.
    Impossible,
    /// The page says that it is of another start of the server.
    Restarted,
}

impl Void {
    /// A clause: what the counter did, and what that means.
    pub fn text(&self) -> String {
        let counter = shortened(&self.counter, COUNTER_CHARS_MAX);
        let [before, after] = [self.before, self.after].map(count_text);
        match self.kind {
            VoidKind::WentBack => format!(
                "{counter} went back from {before} to {after}, as after a restart, or where several servers answer at one \
                 address"
            ),
            VoidKind::Impossible => {
                format!("{counter} went from {before} to {after}, which is more than any server can do")
            }
            VoidKind::Restarted => {
                "the page is of another start of the server, or several servers answer at one address".to_owned()
            }
        }
    }
}

/// Whole numbers as such, and what no counter reaches by its size.
fn count_text(count: f64) -> String {
    match count.abs() < COUNT_MAX {
        true => format!("{count}"),
        false => format!("{count:e}"),
    }
}

impl Grown {
    /// The growth of each page, added up. `absent_is_0`: the server shows a counter from its first count on; otherwise a counter
    /// that was not there before has no growth, nor has one that a page lacks and others have.
    pub fn between(before: &[PageCounts], after: &[PageCounts], seconds: f64, absent_is_0: bool) -> Grown {
        let most = (TOKENS_PER_S_MAX * seconds.max(1.0)).min(COUNT_MAX);
        let mut grown = Grown::default();
        for (before, after) in before.iter().zip(after) {
            grown.add(before, after, most, absent_is_0);
            grown.unread.extend(before.unread.union(&after.unread));
        }
        let unread = std::mem::take(&mut grown.unread);
        grown.counts.retain(|key, _| !unread.contains(family_of(key)));
        grown.unread = unread;
        if !absent_is_0 {
            let partly = |key: &String| !after.iter().all(|page| page.has(family_of(key)));
            grown.counts.retain(|key, _| !partly(key));
        }
        grown
    }

    fn add(&mut self, before: &PageCounts, after: &PageCounts, most: f64, absent_is_0: bool) {
        if !after.life.is_empty() && !before.life.is_subset(&after.life) {
            self.voids.push(Void {
                counter: String::new(),
                before: 0.0,
                after: 0.0,
                kind: VoidKind::Restarted,
            });
        }
        let is_read = |key: &str| !before.unread.contains(family_of(key)) && !after.unread.contains(family_of(key));
        for (key, &then) in before.sums.iter().filter(|(key, _)| is_read(key)) {
            let now = after.sums.get(key).copied();
            if now.is_none_or(|now| now < then) && (then > 0.0 || now.is_some()) {
                self.void(key, then, now.unwrap_or(0.0), VoidKind::WentBack);
            }
        }
        for (key, &now) in after.sums.iter().filter(|(key, _)| is_read(key)) {
            let known = before.sums.get(key).copied();
            // Another label value of a family that was there counts from 0.
            let Some(then) = known.or((absent_is_0 || before.has(family_of(key))).then_some(0.0)) else {
                continue;
            };
            if now - then > most || now > COUNT_MAX {
                self.void(key, then, now, VoidKind::Impossible);
            } else if now >= then {
                let count = self.counts.entry(key.clone()).or_default();
                *count = count.saturating_add((now - then).round() as u64);
            }
        }
    }

    fn void(&mut self, counter: &str, before: f64, after: f64, kind: VoidKind) {
        self.voids.push(Void {
            counter: counter.to_owned(),
            before,
            after,
            kind,
        });
    }

    /// The growth of a family over all its labels; `None` where no page has it.
    pub fn total(&self, family: &str) -> Option<u64> {
        let mut counts = self.counts.iter().filter(|(key, _)| family_of(key) == family);
        let first = *counts.next()?.1;
        Some(counts.fold(first, |sum, (_, count)| sum.saturating_add(*count)))
    }

    /// The same where a family that no page has stands for 0; `None` where it could not be read.
    pub fn total_or_0(&self, family: &str) -> Option<u64> {
        self.is_read(family).then(|| self.total(family).unwrap_or(0))
    }

    pub fn is_read(&self, family: &str) -> bool {
        !self.unread.contains(family)
    }

    /// The growth of the samples of a family that have this label.
    pub fn of(&self, family: &str, label: &str, value: &str) -> Option<u64> {
        self.counts.get(&key(family, label, value)).copied()
    }

    /// The counts of a family by their keys.
    pub fn parts<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let of_family = self.counts.iter().filter(move |(key, _)| family_of(key) == family);
        of_family.map(|(key, count)| (key.as_str(), *count))
    }
}
