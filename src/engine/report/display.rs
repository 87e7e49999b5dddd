//! The live display: LMCache's fourteen lines, redrawn every second on a terminal, or else a plain line at longer intervals. It
//! runs on its own thread, for which the measuring threads never wait.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::engine::run::live::{Live, LiveNumbers, NOTES_MAX};
use crate::report::progress::Progress;
use crate::units::with_commas;

const REDRAW: Duration = Duration::from_secs(1);
/// Interval of plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
const RULE_CHARS: usize = 50;
/// Longest note in characters, so that no line wraps.
const NOTE_CHARS_MAX: usize = 70;

/// A running display.
#[derive(Debug)]
pub struct Display {
    stop: Sender<()>,
    thread: Option<JoinHandle<Progress>>,
}

impl Display {
    /// Takes over `progress` until `stop`. If no thread can be started, there is no display and the run goes on.
    pub fn start(progress: Progress, live: Arc<Live>) -> Display {
        let (stop, stopped) = bounded(1);
        let begin = Instant::now();
        let draw = move || {
            let mut progress = progress;
            let mut next_line = LINE_EVERY;
            loop {
                let over = stopped.recv_timeout(REDRAW) != Err(RecvTimeoutError::Timeout);
                let elapsed = begin.elapsed();
                if progress.is_terminal() {
                    progress.block(&block(&live, elapsed));
                } else if elapsed >= next_line && !over {
                    next_line = elapsed + LINE_EVERY;
                    progress.line(&line(&live.numbers(), elapsed));
                }
                if over {
                    return progress;
                }
            }
        };
        Display {
            stop,
            thread: Builder::new().name("display".into()).spawn(draw).ok(),
        }
    }

    /// Draws a last time and returns the output.
    pub fn stop(mut self) -> Progress {
        let _ = self.stop.send(());
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        let mut progress = ended.unwrap_or_else(Progress::silent);
        if progress.is_terminal() {
            progress.line("");
        }
        progress
    }
}

fn block(live: &Live, elapsed: Duration) -> Vec<String> {
    let numbers = live.numbers();
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let rule = format!("\x1b[1m{}\x1b[0m", "\u{2500}".repeat(RULE_CHARS));
    let mut lines = vec![
        rule.clone(),
        format!(
            "\x1b[1m Engine Benchmark\x1b[0m   elapsed: \x1b[96m{}s\x1b[0m",
            elapsed.as_secs()
        ),
        format!(
            "  \x1b[92m{}\x1b[0m successful   \x1b[96m{}\x1b[0m in-flight   \x1b[91m{}\x1b[0m failed",
            numbers.successful, numbers.in_flight, numbers.failed
        ),
        format!("  Avg TTFT:       \x1b[93m{:.1} ms\x1b[0m", numbers.mean_ttft_ms()),
        format!(
            "  Avg decode:     \x1b[93m{:.1} tok/s\x1b[0m",
            numbers.mean_decode_speed()
        ),
        format!("  Input tokens:   {}", with_commas(numbers.input_tokens)),
        format!("  Output tokens:  {}", with_commas(numbers.output_tokens)),
        format!(
            "  Throughput:     {:.1} in / {:.1} out tok/s",
            numbers.input_tokens as f64 / seconds,
            numbers.output_tokens as f64 / seconds
        ),
        rule,
    ];
    let notes = live.notes();
    for at in 0..NOTES_MAX {
        lines.push(notes.get(at).map_or_else(String::new, |note| {
            let shown: String = note.chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect();
            format!("  \x1b[93m[log] {shown}\x1b[0m")
        }));
    }
    lines
}

fn line(numbers: &LiveNumbers, elapsed: Duration) -> String {
    format!(
        "[{} s] {} successful, {} in flight, {} failed, mean TTFT {:.1} ms, {} output tokens",
        elapsed.as_secs(),
        numbers.successful,
        numbers.in_flight,
        numbers.failed,
        numbers.mean_ttft_ms(),
        with_commas(numbers.output_tokens)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_has_fourteen_lines_as_in_the_reference_and_none_wraps() {
        let live = Live::default();
        live.sent();
        (0..7).for_each(|number| live.note(format!("note {number} {}", "x".repeat(200))));
        let lines = block(&live, Duration::from_millis(2500));
        assert_eq!(lines.len(), 14);
        assert!(lines[1].contains("elapsed: \x1b[96m2s"));
        assert!(lines[2].contains("\x1b[96m1\x1b[0m in-flight"));
        assert!(lines[9].contains("[log] note 2 ") && lines[13].contains("[log] note 6 "));
        assert!(lines[9].chars().count() < 100);
    }
}
