//! Progress lines while a run goes on: to standard output beside a terminal report, to standard error beside a JSON
//! one, nowhere with `-q`. A reader that went away must not stop a run, so this never fails and never panics.

use std::io::{self, Write};

/// Takes progress lines until the first one that cannot be written.
pub struct Progress {
    out: Option<Box<dyn Write + Send>>,
    error: Option<io::Error>,
}

impl Progress {
    pub fn stdout() -> Progress {
        Progress::to(io::stdout())
    }

    pub fn stderr() -> Progress {
        Progress::to(io::stderr())
    }

    pub fn silent() -> Progress {
        Progress { out: None, error: None }
    }

    fn to(out: impl Write + Send + 'static) -> Progress {
        Progress {
            out: Some(Box::new(out)),
            error: None,
        }
    }

    /// Writes one line; `text` comes without its newline.
    pub fn line(&mut self, text: &str) {
        let Some(out) = &mut self.out else { return };
        let written = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
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
        let mut progress = Progress::to(writer);
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
        let mut progress = Progress::to(writer);
        progress.line("one");
        progress.line("two");
        assert_eq!(progress.error().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn silence_is_no_error() {
        let mut progress = Progress::silent();
        progress.line("one");
        assert!(progress.error().is_none());
    }
}
