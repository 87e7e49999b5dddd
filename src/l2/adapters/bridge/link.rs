//! The helper process and the socket to it. Every wait has an end, and the process never outlives this value.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::frame::{self, Reply};

/// The whole program; nothing is written to disk for it.
const HELPER: &str = include_str!("helper.py");
/// How long a helper that reads nothing is written to.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the kernel may hold one write before this side looks for replies, so that neither waits for the other.
const SEND_SLICE: Duration = Duration::from_millis(50);
/// A read timeout of zero would mean none.
const RECEIVE_MIN: Duration = Duration::from_micros(1);
const END_TIMEOUT: Duration = Duration::from_secs(10);
const END_POLL: Duration = Duration::from_millis(5);
/// How far the log may be behind.
const LOG_LAG: Duration = Duration::from_millis(500);
const LOG_LINES_MAX: usize = 64;
const LOG_LINE_BYTES_MAX: u64 = 4096;
const READ_BYTES: usize = 4096;

type Log = Arc<Mutex<VecDeque<String>>>;

pub struct Link {
    child: Child,
    stream: UnixStream,
    received: Vec<u8>,
    log: Log,
    log_thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Starts the helper with `memory` as its standard output and a socket as its standard input.
    pub fn start(python: &Path, memory: BorrowedFd<'_>) -> Result<Link, String> {
        let could_not = |what: &str, error: std::io::Error| format!("could not {what} for the Python helper: {error}");
        let (stream, theirs) = UnixStream::pair().map_err(|error| could_not("make a socket", error))?;
        let memory = memory
            .try_clone_to_owned()
            .map_err(|error| could_not("share the L1 buffers", error))?;
        stream
            .set_write_timeout(Some(SEND_SLICE))
            .map_err(|error| could_not("set up a socket", error))?;
        let mut child = Command::new(python)
            .args(["-c", HELPER])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(memory))
            .stderr(Stdio::piped())
            // Ctrl-C is for the benchmark, which finishes what is under way.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                format!(
                    "could not start {}: {error}; name a Python that has lmcache with --python or LMCACHE_PYTHON",
                    python.display()
                )
            })?;
        let log = Log::default();
        let mut log_thread = None;
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            let keep = move || keep_log(stderr, &log);
            // It ends when the helper does. If it cannot start, the helper still works as long as it logs little.
            log_thread = thread::Builder::new().name("bridge-log".to_owned()).spawn(keep).ok();
        }
        Ok(Link {
            child,
            stream,
            received: Vec::new(),
            log,
            log_thread,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the helper or LMCache logged last, for sentences about a failure: of a traceback the exception.
    pub fn last_log_line(&self) -> Option<String> {
        // The line may still be on its way when the answer that it explains is here.
        let end = Instant::now() + LOG_LAG;
        while Instant::now() < end && self.log.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            thread::sleep(END_POLL);
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = |line: &&String| !line.starts_with(' ') && !line.starts_with("Traceback");
        log.iter().rev().find(telling).map(|line| bare(line).to_owned())
    }

    pub fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        if frame.len() > frame::FRAME_BYTES_MAX {
            return Err("a submit is too long for the bridge; lower --num-keys".to_owned());
        }
        let end = Instant::now() + SEND_TIMEOUT;
        let mut rest = frame;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(self.death()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    self.read_some(RECEIVE_MIN)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(format!(
                        "the Python helper read nothing for {} s",
                        SEND_TIMEOUT.as_secs()
                    ));
                }
                Err(_) => return Err(self.death()),
            }
        }
        Ok(())
    }

    /// The next reply, or `None` when `timeout` is over or a signal came.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Reply>, String> {
        let end = Instant::now() + timeout;
        loop {
            let confused = |why| format!("the Python helper is confused: {why}");
            if let Some(length) = frame::first_frame(&self.received).map_err(confused)? {
                let reply = frame::reply(&self.received[..length]).map_err(confused)?;
                self.received.drain(..length);
                return Ok(Some(reply));
            }
            let left = end.saturating_duration_since(Instant::now());
            if !self.read_some(left.max(RECEIVE_MIN))? && Instant::now() >= end {
                return Ok(None);
            }
        }
    }

    /// Whether anything came.
    fn read_some(&mut self, timeout: Duration) -> Result<bool, String> {
        let refused = |error| format!("could not wait for the Python helper: {error}");
        self.stream.set_read_timeout(Some(timeout)).map_err(refused)?;
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(self.death()),
            Ok(length) => {
                self.received.extend(&buffer[..length]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(_) => Err(self.death()),
        }
    }

    /// The sentence about a helper that is gone.
    fn death(&mut self) -> String {
        let how = match self.wait_for_end() {
            Some(status) => status_text(status),
            None => "closed its connection".to_owned(),
        };
        // Its last words, unless a child of its own still holds the pipe.
        let end = Instant::now() + LOG_LAG;
        while Instant::now() < end && self.log_thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            thread::sleep(END_POLL);
        }
        let last = self.last_log_line();
        let last = last.map_or_else(String::new, |line| format!("; its last line was: {line}"));
        format!("the Python helper {how}{last}")
    }

    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let end = Instant::now() + END_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => thread::sleep(END_POLL),
                _ => return None,
            }
        }
    }

    /// Asks the helper to close its adapter and waits for it.
    pub fn close(mut self) -> Result<(), String> {
        self.send(&frame::close())?;
        let end = Instant::now() + END_TIMEOUT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                Some(Reply::Closed) => break,
                // Answers of tasks that nobody waits for any more.
                Some(_) => {}
                None if left.is_zero() => {
                    return Err(format!(
                        "LMCache's adapter did not close within {} s, so its process was ended",
                        END_TIMEOUT.as_secs()
                    ));
                }
                None => {}
            }
        }
        self.wait_for_end();
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Failure means that it is gone already.
        self.stream.shutdown(Shutdown::Both).ok();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn status_text(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The line without colours and other control sequences.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            characters.find(char::is_ascii_alphabetic);
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

/// The line without the time, the level and the place in the code that LMCache's logger puts around it.
fn bare(line: &str) -> &str {
    let text = match line
        .split_once("] LMCache ")
        .and_then(|(_, rest)| rest.split_once(": "))
    {
        Some((level, text)) if level.chars().all(|letter| letter.is_ascii_uppercase()) => text,
        _ => return line.trim(),
    };
    match text.rsplit_once(" (") {
        Some((text, place)) if place.contains(".py:") => text.trim(),
        _ => text.trim(),
    }
}

/// Keeps the last lines, each cut to a bearable length.
fn keep_log(stderr: ChildStderr, log: &Log) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = plain(String::from_utf8_lossy(&line).trim_end());
        if text.trim().is_empty() {
            continue;
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out_of_a_log() {
        assert_eq!(
            plain("\x1b[31;20m[12:00] ERROR:\x1b[0m no\tway"),
            "[12:00] ERROR: noway"
        );
        assert_eq!(plain("\x1b["), "");
    }

    #[test]
    fn of_a_log_line_its_sentence_is_kept() {
        let line = "[2026-11-25 03:28:06,712] LMCache ERROR: write failed: 8 entries (of 8). (a_b.py:861:lmcache.a_b)";
        assert_eq!(bare(line), "write failed: 8 entries (of 8).");
        for line in [
            "RuntimeError: no (x.py:1)",
            "[12:00] LMCache said: no",
            "] LMCache WARNING no",
        ] {
            assert_eq!(bare(line), line);
        }
    }
}
