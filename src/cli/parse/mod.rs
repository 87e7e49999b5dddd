//! Parses a command line by a table of flags, following Python's argparse: unique prefixes of flags, `--flag=value`, and
//! values such as `-5`.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use super::flag::{Absent, Flag, FlagSpec, Kind, Preset};
use super::nearest::nearest;
use crate::error::Error;
use crate::python::number::float;
use crate::python::quote::quoted;

/// The flags of one subcommand.
pub struct Table<C: 'static> {
    /// Precedes every error message.
    pub program: &'static str,
    pub flags: &'static [Flag<C>],
    pub absent: &'static [Absent],
}

/// Why parsing stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    End,
    Help {
        long: bool,
    },
    /// A word that is neither a flag nor the value of one.
    Word(OsString),
}

/// What a long spelling refers to: a flag with the setter's "on" or "off", or a flag that does not exist here.
enum Target<C: 'static> {
    Flag(&'static Flag<C>, &'static str),
    Absent(&'static Absent),
}

struct Name<C: 'static> {
    text: String,
    of_reference: bool,
    target: Target<C>,
}

impl<C: 'static> Name<C> {
    fn is_absent(&self) -> bool {
        matches!(self.target, Target::Absent(_))
    }
}

impl<C: 'static> Table<C> {
    pub fn specs(&self) -> Vec<&'static FlagSpec> {
        self.flags.iter().map(|flag| &flag.spec).collect()
    }

    /// The arguments of a command line without flags.
    pub fn presets(&self) -> C
    where
        C: Default,
    {
        let mut args = C::default();
        self.apply_presets(&mut args)
            .expect("a test passes every default to its setter");
        args
    }

    /// Passes every default to its setter. Fails only if the table has a default that its setter refuses.
    pub fn apply_presets(&self, into: &mut C) -> Result<(), Error> {
        for flag in self.flags {
            if let Preset::Text(text) = flag.spec.preset {
                (flag.set)(into, text)
                    .map_err(|why| Error::Internal(format!("default of --{}: {why}", flag.spec.long)))?;
            }
        }
        Ok(())
    }

    /// Parses flags into `into`, up to the end, a request for help or the first word that is not a flag.
    pub fn walk(&self, parser: &mut Parser, into: &mut C) -> Result<Stop, Error> {
        self.steps(parser, into)
            .map_err(|text| Error::Usage(format!("{}: {text}", self.program)))
    }

    fn steps(&self, parser: &mut Parser, into: &mut C) -> Result<Stop, String> {
        loop {
            let (flag, typed, sense) = match parser.next().map_err(unwanted_value)? {
                None => return Ok(Stop::End),
                Some(Arg::Value(word)) => return Ok(Stop::Word(word)),
                Some(Arg::Short(letter)) => (self.short(letter)?, format!("-{letter}"), "on"),
                Some(Arg::Long(typed)) => {
                    let (flag, name, sense) = self.long(typed)?;
                    (flag, format!("--{name}"), sense)
                }
            };
            let outcome = match flag.spec.kind {
                Kind::Help => {
                    return Ok(Stop::Help {
                        long: typed.starts_with("--"),
                    });
                }
                Kind::Switch | Kind::Negatable => (flag.set)(into, sense),
                Kind::Value => value(parser, &flag.spec, &typed).and_then(|text| (flag.set)(into, &text)),
            };
            outcome.map_err(|why| format!("argument {typed}: {why}"))?;
        }
    }

    fn short(&self, letter: char) -> Result<&'static Flag<C>, String> {
        let found = self.flags.iter().find(|flag| flag.spec.short == Some(letter));
        found.ok_or_else(|| format!("unknown argument -{}; {}", letter.escape_debug(), self.where_to_look()))
    }

    /// Resolves a spelling or a unique prefix: the flag, its full spelling, and "on" or "off".
    fn long(&self, typed: &str) -> Result<(&'static Flag<C>, String, &'static str), String> {
        let names = self.names();
        let exact = names.iter().find(|name| name.text == typed);
        let name = match exact {
            Some(name) => name,
            None => self.abbreviated(typed, &names)?,
        };
        match name.target {
            Target::Flag(flag, sense) => Ok((flag, name.text.clone(), sense)),
            Target::Absent(absent) => Err(format!("argument --{}: {}", name.text, absent.advice)),
        }
    }

    fn abbreviated<'n>(&self, typed: &str, names: &'n [Name<C>]) -> Result<&'n Name<C>, String> {
        let candidates: Vec<&Name<C>> = names
            .iter()
            .filter(|name| !typed.is_empty() && name.text.starts_with(typed))
            .collect();
        for of_reference in [true, false] {
            let meant: Vec<&Name<C>> = candidates
                .iter()
                .copied()
                .filter(|name| name.of_reference == of_reference)
                .collect();
            let all_absent = meant.iter().all(|name| name.is_absent());
            match meant[..] {
                [] => {}
                [only] => return Ok(only),
                [first, ..] if all_absent => return Ok(first),
                _ => {
                    let spellings: Vec<String> = candidates
                        .iter()
                        .filter(|name| !name.is_absent())
                        .map(|name| format!("--{}", name.text))
                        .collect();
                    let spellings = spellings.join(" or ");
                    return Err(format!(
                        "ambiguous argument --{typed}: it could be {spellings}; write it out"
                    ));
                }
            }
        }
        let shown = quoted(&format!("--{typed}"));
        let texts = names
            .iter()
            .filter(|name| !name.is_absent())
            .map(|name| name.text.as_str());
        Err(match nearest(typed, texts) {
            Some(name) => format!("unknown argument {shown}; did you mean --{name}?"),
            None => format!("unknown argument {shown}; {}", self.where_to_look()),
        })
    }

    fn names(&self) -> Vec<Name<C>> {
        let mut names = Vec::new();
        for flag in self.flags {
            let of_reference = flag.spec.group.of_reference;
            for (text, sense) in flag.spec.spellings() {
                names.push(Name {
                    text,
                    of_reference,
                    target: Target::Flag(flag, sense),
                });
            }
        }
        for absent in self.absent {
            names.push(Name {
                text: absent.long.to_string(),
                of_reference: true,
                target: Target::Absent(absent),
            });
        }
        names
    }

    fn where_to_look(&self) -> String {
        format!("`{} -h` lists all arguments", self.program)
    }
}

/// The value after `=` or in the next argument.
fn value(parser: &mut Parser, spec: &FlagSpec, typed: &str) -> Result<String, String> {
    let raw = match parser.optional_value() {
        Some(joined) => joined,
        None => separate_value(parser).map_err(|found| {
            let form = format!("{typed} {}", spec.placeholder());
            match found {
                None => format!("expected one argument, but the command line ends there; write {form}"),
                Some(found) => {
                    let equals = format!("{typed}={}", spec.value_name);
                    format!("expected one argument, but found {found}; write {form} (or {equals} if it begins with -)")
                }
            }
        })?,
    };
    let text = raw.into_string().map_err(|raw| {
        format!(
            "the value {} is not valid UTF-8; give it in UTF-8",
            quoted(&raw.to_string_lossy())
        )
    })?;
    if !spec.choices.is_empty() && !spec.choices.contains(&text.as_str()) {
        return Err(format!(
            "invalid choice: {}; choose from {}",
            quoted(&text),
            spec.choices.join(", ")
        ));
    }
    Ok(text)
}

/// Takes the next argument unless it looks like a flag. The error is that argument, or `None` at the end.
fn separate_value(parser: &mut Parser) -> Result<OsString, Option<String>> {
    let mut rest = parser.try_raw_args().ok_or(None)?;
    match rest.peek() {
        Some(next) if looks_like_flag(next) => Err(Some(quoted(&next.to_string_lossy()))),
        _ => rest.next().ok_or(None),
    }
}

/// argparse's rule: an argument with a leading dash is a flag, except a lone dash, a number, and a text with a blank before
/// any `=`.
fn looks_like_flag(arg: &OsStr) -> bool {
    let text = arg.to_string_lossy();
    let Some(after_dash) = text.strip_prefix('-') else {
        return false;
    };
    let number = after_dash.starts_with(|c: char| c.is_ascii_digit() || c == '.') && float(&text).is_ok();
    let name = text.split('=').next().unwrap_or_default();
    !after_dash.is_empty() && !number && !name.contains(' ')
}

fn unwanted_value(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            let value = quoted(&value.to_string_lossy());
            format!("argument {option}: takes no value, but {value} was given; write it without one")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
