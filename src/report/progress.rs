//! Progress lines while a run goes on: to standard output beside a terminal report, to standard error beside a JSON
//! one, nowhere with `-q`. On a terminal a block of lines can be drawn over itself. A reader that went away must not stop a
//! run, so this never fails and never panics.

use std::io::{self, IsTerminal, Write};

const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// Takes progress lines until the first one that cannot be written.
pub struct Progress {
    out: Option<Box<dyn Write + Send>>,
    error: Option<io::Error>,
    terminal: bool,
    /// Lines of the block that the cursor stands below.
    drawn: usize,
}

impl Progress {
    pub fn stdout() -> Progress {
        Progress::to(io::stdout(), io::stdout().is_terminal())
    }

    pub fn stderr() -> Progress {
        Progress::to(io::stderr(), io::stderr().is_terminal())
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

    /// Whether colours and redrawing make sense.
    pub fn is_terminal(&self) -> bool {
        self.terminal && self.out.is_some()
    }

    /// Writes one line; `text` comes without its newline.
    pub fn line(&mut self, text: &str) {
        self.drawn = 0;
        self.write(&format!("{text}\n"));
    }

    /// Draws a block over the one drawn before, if nothing came between. A line that does not fit the terminal is cut: one
    /// that wrapped would be two when it is drawn over.
    pub fn block(&mut self, lines: &[String]) {
        let up = if self.drawn > 0 {
            format!("\r\x1b[{}A", self.drawn)
        } else {
            String::new()
        };
        let text: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
        self.write(&format!("{WRAP_OFF}{up}{text}{WRAP_ON}"));
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

    /// Why the lines stopped, if they did.
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
    fn a_reader_that_left_ends_the_lines_but_not_the_run() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut progress = Progress::to(writer, false);
        progress.line("one");
        progress.line("two");
        assert_eq!(progress.error().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_block_is_drawn_over_the_one_before_until_a_line_comes_between() {
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
        let (off, drawn, on) = ("\x1b[?7l", "\x1b[2Ka\n\x1b[2Kb\n", "\x1b[?7h");
        assert_eq!(
            text,
            format!("{off}{drawn}{on}{off}\r\x1b[2A{drawn}{on}c\n{off}{drawn}{on}")
        );
    }

    #[test]
    fn silence_is_no_error() {
        let mut progress = Progress::silent();
        progress.line("one");
        assert!(progress.error().is_none());
    }
}
