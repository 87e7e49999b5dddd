//! What a terminal may be sent besides text.

use std::env;
use std::io::IsTerminal;

/// Lines between these are cut at the right border instead of going on below it, so that drawing over them finds them where
/// they were, however narrow the terminal is.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// Whether lines can be drawn over: a terminal that knows how to move its cursor.
pub fn can_redraw(out: &impl IsTerminal) -> bool {
    out.is_terminal() && env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Whether the user has nothing against colours (no-color.org).
pub fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lines that will be drawn over.
pub fn unwrapped(lines: &str) -> String {
    format!("{WRAP_OFF}{lines}{WRAP_ON}")
}

/// The text without its colours and weights.
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
