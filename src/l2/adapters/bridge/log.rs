//! The last lines that the helper and LMCache logged, for messages about failures. Bounded in number and length.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sys::deadline::closing_time;

const LINES_MAX: usize = 64;
const LINE_BYTES_MAX: u64 = 4096;
/// How far the log may lag behind a reply on the socket.
const LAG: Duration = Duration::from_millis(500);
/// How long the end of the log may come after the end of the helper, on a loaded machine.
const END_LAG: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    /// All lines so far, kept or not.
    count: u64,
}

pub struct Log {
    lines: Arc<Mutex<Lines>>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Reads until the helper ends. If its thread cannot start, the helper still works as long as it logs little.
    pub fn of(stderr: Option<ChildStderr>) -> Log {
        let lines = Arc::<Mutex<Lines>>::default();
        let mut thread = None;
        if let Some(stderr) = stderr {
            let lines = Arc::clone(&lines);
            let keep = move || keep(stderr, &lines);
            thread = thread::Builder::new().name("bridge-log".to_owned()).spawn(keep).ok();
        }
        Log { lines, thread }
    }

    /// All lines so far.
    pub fn count(&self) -> u64 {
        lock(&self.lines).count
    }

    /// Waits for the last lines of a helper that ended, unless a child of it still holds the pipe.
    pub fn wait_for_end(&self) {
        wait_until(END_LAG, || self.thread.as_ref().is_none_or(JoinHandle::is_finished));
    }

    /// Waits for a line after the first `count`; it may arrive later than the reply that it explains.
    pub fn wait_for_more(&self, count: u64) -> bool {
        wait_until(LAG, || self.count() > count)
    }

    /// The last line that is not blank, among those after the first `count`.
    pub fn last_after(&self, count: u64) -> Option<String> {
        let lines = lock(&self.lines);
        let newer = usize::try_from(lines.count.saturating_sub(count)).unwrap_or(usize::MAX);
        // Of a traceback, the exception.
        let telling = |line: &&String| !line.starts_with(' ') && !line.starts_with("Traceback");
        let found = lines.kept.iter().rev().take(newer).find(telling);
        found.map(|line| bare(line).to_owned())
    }
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the condition became true within `lag`, or less after a signal.
fn wait_until(lag: Duration, condition: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() >= closing_time(lag) {
            return false;
        }
        thread::sleep(POLL);
    }
}

fn keep(stderr: ChildStderr, lines: &Mutex<Lines>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = plain(String::from_utf8_lossy(&line).trim_end());
        if text.trim().is_empty() {
            continue;
        }
        let mut lines = lock(lines);
        if lines.kept.len() == LINES_MAX {
            lines.kept.pop_front();
        }
        lines.kept.push_back(text);
        lines.count += 1;
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
