//! Progress lines during a run: on stdout with the terminal report, on stderr with others, nowhere with `-q`. On a terminal a
//! block of lines can be redrawn in place. A closed pipe does not end a run: writing stops after the first error, which
//! [`Progress::error`] returns.

use std::io::{self, Write};

use super::screen;

/// Writes progress lines until the first one that fails.
pub struct Progress {
    out: Option<Box<dyn Write + Send>>,
    error: Option<io::Error>,
    terminal: bool,
    /// Lines of the last block, directly above the cursor.
    drawn: usize,
}

impl Progress {
    pub fn stdout() -> Progress {
        Progress::to(io::stdout(), screen::can_redraw(&io::stdout()))
    }

    pub fn stderr() -> Progress {
        Progress::to(io::stderr(), screen::can_redraw(&io::stderr()))
    }

    pub fn silent() -> Progress {
        Progress {
            out: None,
            error: None,
            terminal: false,
            drawn: 0,
        }
    }

    fn to(out: impl Write + Send + 'static, terminal: bool) -> Progress {
        Progress {
            out: Some(Box::new(out)),
            error: None,
            terminal,
            drawn: 0,
        }
    }

    /// Whether blocks can be redrawn in place.
    pub fn is_terminal(&self) -> bool {
        self.terminal && self.out.is_some()
    }

    /// Writes one line; `text` has no newline.
    pub fn line(&mut self, text: &str) {
        self.drawn = 0;
        self.write(&format!("{text}\n"));
    }

    /// Draws a block over the previous one, unless a line was written in between. Colours are removed where not wanted.
    pub fn block(&mut self, lines: &[String]) {
        let up = if self.drawn > 0 {
            format!("\r\x1b[{}A", self.drawn)
        } else {
            String::new()
        };
        let text: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
        let text = if screen::wants_colour() {
            text
        } else {
            screen::without_colour(&text)
        };
        self.write(&format!("{up}{}", screen::unwrapped(&text)));
        self.drawn = lines.len();
    }

    fn write(&mut self, text: &str) {
        let Some(out) = &mut self.out else { return };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = written {
            self.out = None;
            self.error = Some(error);
        }
    }

    /// The write error after which lines are dropped, if there was one.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_arrive_whole() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut progress = Progress::to(writer, false);
        progress.line("");
        progress.line("[Init] Creating adapter...");
        drop(progress);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "\n[Init] Creating adapter...\n");
    }

    #[test]
    fn a_closed_pipe_ends_the_lines_but_not_the_run() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        // A child that another test is starting may have inherited the reader.
        while writer.write_all(b"text").is_ok() {}
        let mut progress = Progress::to(writer, false);
        progress.line("one");
        progress.line("two");
        assert_eq!(progress.error().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_block_is_redrawn_in_place_unless_a_line_came_between() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut progress = Progress::to(writer, true);
        assert!(progress.is_terminal());
        let block = ["a".to_owned(), "b".to_owned()];
        progress.block(&block);
        progress.block(&block);
        progress.line("c");
        progress.block(&block);
        drop(progress);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let drawn = "\x1b[?7l\x1b[2Ka\n\x1b[2Kb\n\x1b[?7h";
        assert_eq!(text, format!("{drawn}\r\x1b[2A{drawn}c\n{drawn}"));
    }

    #[test]
    fn quiet_is_no_error() {
        let mut progress = Progress::silent();
        progress.line("one");
        assert!(progress.error().is_none());
    }
}
