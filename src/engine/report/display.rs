//! The live display: LMCache's lines with a bar, the rate and percentiles, redrawn every second on a terminal, or else a plain
//! line each second. It runs on its own thread, for which the measuring threads never wait.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::engine::run::live::{Live, LiveNumbers, NOTES_MAX};
use crate::report::progress::Progress;
use crate::units::with_commas;

const REDRAW: Duration = Duration::from_secs(1);
/// Width of the bar.
const BAR_CHARS: usize = 40;
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
            loop {
                let over = stopped.recv_timeout(REDRAW) != Err(RecvTimeoutError::Timeout);
                let elapsed = begin.elapsed();
                if progress.is_terminal() {
                    progress.block(&block(&live, elapsed));
                } else {
                    live.new_notes().iter().for_each(|note| progress.line(&one_line(note)));
                    if !over {
                        progress.line(&line(&live.numbers(), elapsed));
                    }
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
    let now = Instant::now();
    let seconds = seconds_of_phase(&numbers, now);
    let ttft = numbers.ttft.percentiles();
    let left = time_left(&numbers, now).map_or(String::new(), |left| format!("   left: \x1b[96m{left}s\x1b[0m"));
    let stage = numbers.stage.as_ref().map_or("", |stage| &stage.title);
    let rule = format!("\x1b[1m{}\x1b[0m", "\u{2500}".repeat(RULE_CHARS));
    let mut lines = vec![
        rule.clone(),
        format!(
            "\x1b[1m Engine Benchmark\x1b[0m   elapsed: \x1b[96m{}s\x1b[0m{left}",
            elapsed.as_secs()
        ),
        format!("{}   {stage}", bar(numbers.share_done(now))),
        format!(
            "  \x1b[92m{}\x1b[0m successful   \x1b[96m{}\x1b[0m in-flight   \x1b[91m{}\x1b[0m failed",
            numbers.successful, numbers.in_flight, numbers.failed
        ),
        format!(
            "  Finished:       \x1b[93m{:.2} req/s\x1b[0m",
            (numbers.successful + numbers.failed) as f64 / seconds
        ),
        format!(
            "  TTFT:           \x1b[93m{:.1} ms\x1b[0m p50   \x1b[93m{:.1} ms\x1b[0m p99",
            ttft.p50 as f64 / 1e6,
            ttft.p99 as f64 / 1e6
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
        lines.push(
            notes
                .get(at)
                .map_or_else(String::new, |note| format!("  \x1b[93m[log] {}\x1b[0m", one_line(note))),
        );
    }
    lines
}

fn one_line(note: &str) -> String {
    note.chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect()
}

/// The part of the phase that is done, where it is known.
fn bar(done: Option<f64>) -> String {
    let Some(done) = done else { return String::new() };
    let full = (done * BAR_CHARS as f64) as usize;
    let (full, empty) = ("\u{2588}".repeat(full), "\u{2591}".repeat(BAR_CHARS - full));
    format!("  \x1b[92m{full}\x1b[0m{empty} {:>3.0} %", done * 100.0)
}

/// Seconds until the last of several loads has ended, or else the phase.
fn time_left(numbers: &LiveNumbers, now: Instant) -> Option<f64> {
    let all_end = numbers.stage.as_ref().and_then(|stage| stage.all_end);
    let left = match all_end {
        Some(end) => end.saturating_duration_since(now),
        None => numbers.left(now)?,
    };
    Some(left.as_secs_f64().ceil())
}

/// How long the phase has taken.
fn seconds_of_phase(numbers: &LiveNumbers, now: Instant) -> f64 {
    let began = numbers.began.unwrap_or(now);
    now.saturating_duration_since(began).as_secs_f64().max(1e-9)
}

fn line(numbers: &LiveNumbers, elapsed: Duration) -> String {
    let now = Instant::now();
    let ttft = numbers.ttft.percentiles();
    let left = time_left(numbers, now).map_or(String::new(), |left| format!(", {left} s left"));
    format!(
        "[{} s] {} successful, {} in flight, {} failed, {:.2} req/s, TTFT p50 {:.1} p99 {:.1} ms{left}",
        elapsed.as_secs(),
        numbers.successful,
        numbers.in_flight,
        numbers.failed,
        (numbers.successful + numbers.failed) as f64 / seconds_of_phase(numbers, now),
        ttft.p50 as f64 / 1e6,
        ttft.p99 as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_has_the_references_lines_and_three_more_and_none_wraps() {
        let live = Live::default();
        live.sent();
        (0..7).for_each(|number| live.note(format!("note {number} {}", "x".repeat(200))));
        let lines = block(&live, Duration::from_millis(2500));
        assert_eq!(lines.len(), 17);
        assert!(lines[1].contains("elapsed: \x1b[96m2s"));
        assert!(lines[3].contains("\x1b[96m1\x1b[0m in-flight"));
        assert!(lines[12].contains("[log] note 2 ") && lines[16].contains("[log] note 6 "));
        assert!(lines[12].chars().count() < 100);
        assert_eq!(live.new_notes().len(), NOTES_MAX);
        assert_eq!(live.new_notes(), Vec::<String>::new());
    }

    #[test]
    fn time_left_is_that_of_the_time_or_of_the_requests() {
        let began = Instant::now();
        let second = Duration::from_secs(1);
        let mut numbers = LiveNumbers {
            began: Some(began),
            successful: 30,
            failed: 10,
            ..LiveNumbers::default()
        };
        assert_eq!(
            (numbers.share_done(began + second), numbers.left(began + second)),
            (None, None)
        );
        numbers.goal.requests = Some(160);
        assert_eq!(numbers.share_done(began + second), Some(0.25));
        assert_eq!(numbers.left(began + second * 2), Some(second * 6));
        numbers.goal.time = Some(second * 10);
        assert_eq!(numbers.share_done(began + second), Some(0.1));
        assert_eq!(numbers.left(began + second * 12), Some(Duration::ZERO));
        assert_eq!(
            bar(Some(0.5)).chars().filter(|c| *c == '\u{2588}').count(),
            BAR_CHARS / 2
        );
    }
}
