//! Standard input as a [`Keyboard`]: lines, and single keys on a terminal.

use std::io::{self, BufRead, BufReader, IsTerminal, StdinLock};
use std::os::fd::AsFd;

use crate::report::prompt::{Ended, Key, Keyboard};
use crate::sys::deadline::TICK;
use crate::sys::terminal::RawMode;
use crate::sys::{files, signal};

/// Longest answer, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const ESCAPE: u8 = 27;

pub struct Stdin {
    /// A buffer of our own, because std's cannot be inspected. It is larger than std's, which therefore stays empty.
    input: BufReader<StdinLock<'static>>,
    is_terminal: bool,
    raw: Option<RawMode>,
}

impl Stdin {
    pub fn new() -> Stdin {
        let input = io::stdin().lock();
        Stdin {
            is_terminal: input.is_terminal(),
            input: BufReader::with_capacity(LINE_BYTES_MAX, input),
            raw: None,
        }
    }

    /// The next byte, or `None` at the end of the input. A signal that ends the program cancels.
    fn byte(&mut self) -> Result<Option<u8>, Ended> {
        loop {
            if signal::received().is_some() {
                return Err(Ended::Cancelled);
            }
            let here = !self.input.buffer().is_empty();
            // A blocking read would miss a signal that arrived just before it.
            if !here && !files::wait_readable(self.input.get_ref().as_fd(), TICK).map_err(Ended::Failed)? {
                continue;
            }
            match self.input.fill_buf() {
                Ok(bytes) => {
                    let first = bytes.first().copied();
                    self.input.consume(usize::from(first.is_some()));
                    return Ok(first);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Ended::Failed(cause)),
            }
        }
    }

    fn end(&self) -> Ended {
        if self.is_terminal {
            Ended::Cancelled
        } else {
            Ended::EndOfInput
        }
    }
}

impl Default for Stdin {
    fn default() -> Stdin {
        Stdin::new()
    }
}

impl Keyboard for Stdin {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    fn line(&mut self) -> Result<String, Ended> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                None if line.is_empty() => return Err(self.end()),
                None | Some(b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Some(_) if line.len() >= LINE_BYTES_MAX => {
                    let cause = io::Error::new(io::ErrorKind::InvalidData, "a line of more than 64 KiB");
                    return Err(Ended::Failed(cause));
                }
                Some(byte) => line.push(byte),
            }
        }
    }

    fn single_keys(&mut self, on: bool) -> Result<(), Ended> {
        self.raw = None;
        if on {
            self.raw = Some(RawMode::enter(self.input.get_ref().as_fd()).map_err(Ended::Failed)?);
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Key, Ended> {
        match self.byte()? {
            None | Some(CTRL_C | CTRL_D) => Err(Ended::Cancelled),
            Some(b'\r' | b'\n') => Ok(Key::Enter),
            // An arrow key is three bytes; other sequences that begin with ESC are ignored.
            Some(ESCAPE) => match (self.byte()?, self.byte()?) {
                (Some(b'['), Some(b'A')) => Ok(Key::Up),
                (Some(b'['), Some(b'B')) => Ok(Key::Down),
                _ => Ok(Key::Char('\u{1b}')),
            },
            Some(byte) => Ok(Key::Char(char::from(byte))),
        }
    }
}
