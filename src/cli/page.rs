//! Pages: the content of a help text, from which help, man page, completions and docs/cli.md are rendered.

use std::borrow::Cow;

use super::command::Command;
use super::flag::{FlagSpec, Group};

/// The documentation of the program itself or of one subcommand.
pub struct Page {
    /// The subcommand; empty for the program itself.
    pub word: &'static str,
    pub usage: Cow<'static, str>,
    /// One line without a full stop.
    pub summary: &'static str,
    /// Paragraphs.
    pub about: &'static [&'static str],
    pub flags: Vec<&'static FlagSpec>,
    pub notes: Vec<Note>,
}

/// A titled section after the flags.
#[derive(Clone, Copy)]
pub struct Note {
    pub title: &'static str,
    pub body: Body,
}

#[derive(Clone, Copy)]
pub enum Body {
    /// Terms, each with its explanation.
    Terms(&'static [(&'static str, &'static str)]),
    /// The list of commands, shown as terms.
    Commands(&'static [Command]),
    /// Shell commands, each after a sentence about its purpose.
    Examples(&'static [(&'static str, &'static [&'static str])]),
}

impl Body {
    /// The terms with their explanations; empty for examples.
    pub fn terms(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Body::Terms(terms) => terms.to_vec(),
            Body::Commands(commands) => commands.iter().map(|command| (command.term, command.about)).collect(),
            Body::Examples(_) => Vec::new(),
        }
    }
}

impl Page {
    /// Whether the command takes a file besides its flags, which its usage calls FILE.
    pub fn takes_file(&self) -> bool {
        self.usage.contains(" FILE")
    }

    /// The command as messages and headings name it.
    pub fn command(&self) -> String {
        match self.word {
            "" => super::PROGRAM.to_string(),
            word => format!("{} {word}", super::PROGRAM),
        }
    }

    /// The flags by group, in the order in which the groups first appear in the table.
    pub fn groups(&self) -> Vec<(&'static Group, Vec<&'static FlagSpec>)> {
        let mut groups: Vec<(&'static Group, Vec<&'static FlagSpec>)> = Vec::new();
        for &flag in &self.flags {
            match groups.iter_mut().find(|(group, _)| *group == flag.group) {
                Some((_, members)) => members.push(flag),
                None => groups.push((flag.group, vec![flag])),
            }
        }
        groups
    }
}

/// Splits a sentence at its backticks. Each piece comes with whether it is literal.
pub fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`')
        .enumerate()
        .map(|(at, piece)| (at % 2 == 1, piece))
        .filter(|(_, piece)| !piece.is_empty())
}

/// A sentence without its backticks.
pub fn plain(text: &str) -> String {
    pieces(text).map(|(_, piece)| piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_enclose_literals() {
        let cut: Vec<_> = pieces("give `--x` or `--y`").collect();
        assert_eq!(cut, [(false, "give "), (true, "--x"), (false, " or "), (true, "--y")]);
        assert_eq!(plain("`--x` now"), "--x now");
    }
}
