//! Interactive questions: menus for the arrow keys on a terminal, numbered lists elsewhere. Answers come from a [`Keyboard`]
//! that the caller supplies.

use std::io::{self, Write};

use super::screen;
use crate::text::{columns_of, wrapped};

/// Why no answer came.
#[derive(Debug)]
pub enum Ended {
    /// Ctrl-C or Ctrl-D.
    Cancelled,
    /// The input ended and was not a terminal.
    EndOfInput,
    Failed(io::Error),
}

/// An answer, or a request to go back to the previous question.
#[derive(Debug, PartialEq)]
pub enum Reply<T> {
    Value(T),
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    Enter,
    Char(char),
}

/// The source of answers.
pub trait Keyboard {
    /// Whether single keys can be read.
    fn is_terminal(&self) -> bool;
    /// A line without its end.
    fn line(&mut self) -> Result<String, Ended>;
    /// Turns reading of single keys on or off.
    fn single_keys(&mut self, on: bool) -> Result<(), Ended>;
    /// The next key; only while single keys are on.
    fn key(&mut self) -> Result<Key, Ended>;
}

/// Title and explanation of a question.
pub struct Heading<'a> {
    pub title: &'a str,
    /// May be empty, may have several lines.
    pub about: &'a str,
    /// Whether `<` goes back.
    pub back: bool,
}

pub struct Prompter<'a> {
    keyboard: &'a mut dyn Keyboard,
    out: Box<dyn Write + 'a>,
    /// Whether a menu can be redrawn in place.
    terminal: bool,
    colour: bool,
}

const BACK: &str = "<";
/// Width of a choice's name, in columns.
const CHOICE_WIDTH: usize = 18;
/// Width of a label in the summary, in columns.
const LABEL_WIDTH: usize = 26;
const RULE_WIDTH: usize = 50;
/// Characters of a wrapped line, so that it fits 80 columns with its indent.
const ABOUT_WIDTH: usize = 76;

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[96m";
const GREEN: &str = "\x1b[92m";
const YELLOW: &str = "\x1b[93m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
const CLEAR_LINE: &str = "\x1b[2K";
const CURSOR_UP: &str = "\x1b[A";

impl<'a> Prompter<'a> {
    /// Writes to stdout, or to stderr where stdout carries only the report.
    pub fn new(keyboard: &'a mut dyn Keyboard, to_stderr: bool) -> Prompter<'a> {
        if to_stderr {
            return Prompter::to(keyboard, io::stderr(), screen::can_redraw(&io::stderr()));
        }
        Prompter::to(keyboard, io::stdout(), screen::can_redraw(&io::stdout()))
    }

    pub fn to(keyboard: &'a mut dyn Keyboard, out: impl Write + 'a, terminal: bool) -> Prompter<'a> {
        Prompter {
            keyboard,
            out: Box::new(out),
            terminal,
            colour: terminal && screen::wants_colour(),
        }
    }

    /// The opening lines.
    pub fn title(&mut self, title: &str) -> Result<(), Ended> {
        let rule = self.painted(BOLD, &"═".repeat(RULE_WIDTH));
        let title = self.painted(BOLD, &format!(" {title}"));
        let hint = self.painted(YELLOW, "Type < to go back · Ctrl-C to exit");
        self.put(&format!("\n{rule}\n{title}\n{rule}\n  {hint}\n"))
    }

    /// Labels and values.
    pub fn summary(&mut self, title: &str, lines: &[(String, String)]) -> Result<(), Ended> {
        let rule = self.painted(BOLD, &"─".repeat(RULE_WIDTH));
        let title = self.painted(BOLD, &format!(" {title}"));
        let mut text = format!("\n{rule}\n{title}\n{rule}\n");
        for (label, value) in lines {
            let blanks = " ".repeat(LABEL_WIDTH.saturating_sub(columns_of(label)));
            text.push_str(&format!("  {label}:{blanks}{}\n", self.painted(CYAN, value)));
        }
        self.put(&format!("{text}{rule}\n"))
    }

    /// Prints a line about a failure or an end.
    pub fn remark(&mut self, text: &str) -> Result<(), Ended> {
        let text = self.painted(YELLOW, text);
        self.put(&format!("  {text}\n"))
    }

    /// Prints that a file was written, and the command that uses it. `indent` precedes both lines.
    pub fn saved(&mut self, indent: &str, text: &str, replay: &str) -> Result<(), Ended> {
        let text = if indent.is_empty() {
            text.to_string()
        } else {
            self.painted(CYAN, text)
        };
        let (label, replay) = (self.painted(BOLD, "Replay with:"), self.painted(CYAN, replay));
        self.put(&format!("{indent}{text}\n{indent}{label} {replay}\n"))
    }

    pub fn blank_line(&mut self) -> Result<(), Ended> {
        self.put("\n")
    }

    /// Any text; an empty answer means the default.
    pub fn text(&mut self, heading: &Heading, default: &str) -> Result<Reply<String>, Ended> {
        self.heading(heading)?;
        let answer = self.answer(&self.default_hint(Some(default).filter(|text| !text.is_empty())))?;
        if heading.back && answer == BACK {
            return Ok(Reply::Back);
        }
        Ok(Reply::Value(if answer.is_empty() {
            default.to_string()
        } else {
            answer
        }))
    }

    /// Asks until `check` accepts the text; `complaint` is shown otherwise.
    pub fn number(
        &mut self,
        heading: &Heading,
        default: Option<&str>,
        check: impl Fn(&str) -> bool,
        complaint: &str,
    ) -> Result<Reply<String>, Ended> {
        self.heading(heading)?;
        loop {
            let answer = self.answer(&self.default_hint(default))?;
            match default {
                _ if heading.back && answer == BACK => return Ok(Reply::Back),
                Some(default) if answer.is_empty() => return Ok(Reply::Value(default.to_string())),
                _ if check(&answer) => return Ok(Reply::Value(answer)),
                _ => self.remark(complaint)?,
            }
        }
    }

    pub fn yes_no(&mut self, heading: &Heading, default: bool) -> Result<Reply<bool>, Ended> {
        self.heading(heading)?;
        let hint = if default {
            "[default: Y] (Y/n)"
        } else {
            "[default: N] (y/N)"
        };
        let hint = format!("  {} ", self.painted(DIM, hint));
        loop {
            match self.answer(&hint)?.to_lowercase().as_str() {
                BACK if heading.back => return Ok(Reply::Back),
                "" => return Ok(Reply::Value(default)),
                "y" | "yes" => return Ok(Reply::Value(true)),
                "n" | "no" => return Ok(Reply::Value(false)),
                _ => self.remark("Please enter Y or N.")?,
            }
        }
    }

    /// Asks for one of several choices, each a name and its meaning. Returns its index.
    pub fn choose(
        &mut self,
        heading: &Heading,
        choices: &[(&str, &str)],
        selected: usize,
    ) -> Result<Reply<usize>, Ended> {
        self.opening(heading)?;
        // A menu is redrawn in place, which only a terminal shows.
        if self.keyboard.is_terminal() && self.terminal {
            // Kept on for the whole menu, so that keys typed ahead are not echoed.
            self.keyboard.single_keys(true)?;
            let reply = self.menu(heading.back, choices, selected);
            self.keyboard.single_keys(false)?;
            reply
        } else {
            self.numbered(heading.back, choices, selected)
        }
    }

    fn numbered(&mut self, back: bool, choices: &[(&str, &str)], selected: usize) -> Result<Reply<usize>, Ended> {
        let mut lines = String::new();
        for (at, (name, about)) in choices.iter().enumerate() {
            let marker = if at == selected { '*' } else { ' ' };
            lines.push_str(&format!("  {marker} {}) {name}  — {about}\n", at + 1));
        }
        self.put(&lines)?;
        self.back_hint(back)?;
        loop {
            let answer = self.answer(&format!("  [default: {}] ", selected + 1))?;
            let number = answer
                .parse::<usize>()
                .ok()
                .filter(|number| (1..=choices.len()).contains(number));
            match number {
                _ if back && answer == BACK => return Ok(Reply::Back),
                _ if answer.is_empty() => return Ok(Reply::Value(selected)),
                Some(number) => return Ok(Reply::Value(number - 1)),
                None => self.remark(&format!("Enter a number 1-{}.", choices.len()))?,
            }
        }
    }

    fn menu(&mut self, back: bool, choices: &[(&str, &str)], mut selected: usize) -> Result<Reply<usize>, Ended> {
        let hint = if back { ", < to go back." } else { "." };
        let hint = self.painted(DIM, &format!("Use ↑↓ to navigate, Enter to select{hint}"));
        self.put(&format!("  {hint}\n\n{}", self.menu_lines(choices, selected, "")))?;
        let up = CURSOR_UP.repeat(choices.len());
        loop {
            let reply = match self.keyboard.key()? {
                Key::Up => {
                    selected = (selected + choices.len() - 1) % choices.len();
                    None
                }
                Key::Down => {
                    selected = (selected + 1) % choices.len();
                    None
                }
                Key::Enter => Some(Reply::Value(selected)),
                Key::Char('<') if back => Some(Reply::Back),
                Key::Char(_) => continue,
            };
            self.put(&format!("\r{up}{}", self.menu_lines(choices, selected, CLEAR_LINE)))?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    fn menu_lines(&self, choices: &[(&str, &str)], selected: usize, before: &str) -> String {
        let mut lines = String::new();
        for (at, (name, about)) in choices.iter().enumerate() {
            let shown = if at == selected {
                self.painted(CYAN, &format!("● {name}"))
            } else {
                format!("  {name}")
            };
            let blanks = " ".repeat(CHOICE_WIDTH.saturating_sub(name.len()));
            lines.push_str(&format!("{before}  {shown}{blanks} {}\n", self.painted(DIM, about)));
        }
        screen::unwrapped(&lines)
    }

    fn heading(&mut self, heading: &Heading) -> Result<(), Ended> {
        self.opening(heading)?;
        self.back_hint(heading.back)
    }

    fn opening(&mut self, heading: &Heading) -> Result<(), Ended> {
        let title = self.painted(BOLD, heading.title);
        let about: String = heading
            .about
            .lines()
            .flat_map(|line| wrapped(line, ABOUT_WIDTH))
            .map(|line| format!("  {line}\n"))
            .collect();
        self.put(&format!("\n{title}\n{about}"))
    }

    fn back_hint(&mut self, back: bool) -> Result<(), Ended> {
        if !back {
            return Ok(());
        }
        let hint = self.painted(DIM, "(type < to go back)");
        self.put(&format!("  {hint}\n"))
    }

    fn default_hint(&self, default: Option<&str>) -> String {
        match default {
            Some(text) => format!("  {} ", self.painted(DIM, &format!("[default: {text}]"))),
            None => "  ".to_string(),
        }
    }

    fn answer(&mut self, hint: &str) -> Result<String, Ended> {
        let mark = self.painted(GREEN, ">");
        self.put(&format!("{hint}{mark} "))?;
        let line = self.keyboard.line()?;
        Ok(line.trim().to_string())
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("{code}{text}{RESET}")
        } else {
            text.to_string()
        }
    }

    fn put(&mut self, text: &str) -> Result<(), Ended> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(Ended::Failed)
    }
}
