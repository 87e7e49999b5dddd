//! Shares of prompt tokens that a run must reach or may not exceed, as in `l2>=80%,hbm<=5%`.

use std::fmt;

/// What a limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Computed,
    Hbm,
    L1,
    L2,
    /// L1 and L2 together.
    Lmcache,
    /// Everything but computed.
    Cached,
}

impl Source {
    const ALL: [(&'static str, Source); 6] = [
        ("computed", Source::Computed),
        ("hbm", Source::Hbm),
        ("l1", Source::L1),
        ("l2", Source::L2),
        ("lmcache", Source::Lmcache),
        ("cached", Source::Cached),
    ];

    pub fn name(self) -> &'static str {
        let named = Source::ALL.iter().find(|(_, source)| *source == self);
        named.map_or("", |(name, _)| name)
    }
}

/// One limit on one share.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    pub source: Source,
    /// Whether the share must be at least as large; else at most.
    pub at_least: bool,
    /// 0 to 100.
    pub percent: f64,
}

/// As it would be typed.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_least { ">=" } else { "<=" };
        write!(f, "{}{sign}{}%", self.source.name(), self.percent)
    }
}

/// The share of a source in percent, exact where both are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub min: f64,
    pub max: f64,
}

impl Requirement {
    /// Limits separated by commas. An error says what is wrong with which.
    pub fn parse_list(text: &str) -> Result<Vec<Requirement>, String> {
        text.split(',').map(|one| Requirement::parse(one.trim())).collect()
    }

    fn parse(text: &str) -> Result<Requirement, String> {
        let parts = text.split_once(">=").map(|parts| (true, parts));
        let parts = parts.or_else(|| text.split_once("<=").map(|parts| (false, parts)));
        let Some((at_least, (name, number))) = parts else {
            return Err(format!("{text:?} has neither >= nor <=; write for example l2>=80%"));
        };
        let named = Source::ALL.iter().find(|(known, _)| *known == name.trim());
        let Some((_, source)) = named else {
            let known = Source::ALL.map(|(name, _)| name).join(", ");
            return Err(format!("{:?} is no source of tokens; choose from {known}", name.trim()));
        };
        let number = number.trim();
        let percent = number.strip_suffix('%').unwrap_or(number).trim_end().parse::<f64>();
        match percent.ok().filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) => Ok(Requirement {
                source: *source,
                at_least,
                percent,
            }),
            None => Err(format!(
                "{number:?} in {text:?} is no share; write 0 to 100 and a percent sign"
            )),
        }
    }

    /// Whether a run keeps it, and a clause about what the share was. `share`: `None` where that is not known.
    pub fn judged(&self, share: Option<Share>) -> (bool, String) {
        let Some(Share { min, max }) = share else {
            return (false, format!("{self}: the share is not known"));
        };
        let kept = if self.at_least {
            min >= self.percent
        } else {
            max <= self.percent
        };
        // A share just below a limit must not be shown as the limit.
        let digits = |share: f64| if (share - self.percent).abs() < 0.05 { 4 } else { 1 };
        let shown = match min == max {
            true => format!("{min:.*} %", digits(min)),
            false => format!("{min:.*} to {max:.*} %", digits(min), digits(max)),
        };
        (kept, format!("{self}: it was {shown} of the prompt tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written_alike() {
        let limits = Requirement::parse_list("l2>=80%, hbm <= 5 ,cached>=0.5%").unwrap();
        let shown: Vec<String> = limits.iter().map(Requirement::to_string).collect();
        assert_eq!(shown, ["l2>=80%", "hbm<=5%", "cached>=0.5%"]);
    }

    #[test]
    fn what_is_no_limit_is_named() {
        for (text, why) in [
            ("l2=80%", "neither >= nor <="),
            ("l3>=80%", "no source of tokens"),
            ("l2>=80%,", "neither"),
            ("l2>=eighty", "no share"),
            ("l2>=101%", "no share"),
            ("l2>=-1", "no share"),
            ("l2>=nan", "no share"),
        ] {
            let error = Requirement::parse_list(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn all_of_an_interval_must_be_within_the_limit() {
        let limit = |text| Requirement::parse_list(text).unwrap().remove(0);
        let share = |min, max| Some(Share { min, max });
        assert!(limit("l2>=80%").judged(share(80.0, 90.0)).0);
        assert!(limit("l2<=90%").judged(share(80.0, 90.0)).0);
        let (kept, text) = limit("l2>=80%").judged(share(79.97, 90.0));
        assert_eq!(
            (kept, text.as_str()),
            (false, "l2>=80%: it was 79.9700 to 90.0 % of the prompt tokens")
        );
        assert!(!limit("l2<=85%").judged(share(80.0, 90.0)).0);
        let (kept, text) = limit("hbm<=5%").judged(None);
        assert!(!kept && text.contains("not known"));
    }
}
