//! Terminal control: whether lines can be redrawn, whether colours are wanted, and the escape sequences.

use std::env;
use std::io::IsTerminal;

/// Turn automatic wrapping off and on. Without wrapping, lines are cut at the right border, so that a redraw starts at the
/// right line however narrow the terminal is.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// Whether lines can be redrawn: a terminal that can move its cursor.
pub fn can_redraw(out: &impl IsTerminal) -> bool {
    out.is_terminal() && env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// False when `NO_COLOR` is set (no-color.org).
pub fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lines to be redrawn later, with wrapping off.
pub fn unwrapped(lines: &str) -> String {
    format!("{WRAP_OFF}{lines}{WRAP_ON}")
}

/// The text without its colour and weight sequences.
pub fn without_colour(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let code = &rest[at + 2..];
        let digits = code.len() - code.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').len();
        let is_colour = code[digits..].starts_with('m');
        let end = at + 2 + if is_colour { digits + 1 } else { 0 };
        out.push_str(if is_colour { &rest[..at] } else { &rest[..end] });
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_go() {
        assert_eq!(without_colour("\x1b[1mbold\x1b[0m \x1b[1;92mok\x1b[0m"), "bold ok");
        assert_eq!(without_colour("\x1b[2K\x1b[3A\x1b[92mx\x1b["), "\x1b[2K\x1b[3Ax\x1b[");
    }
}
