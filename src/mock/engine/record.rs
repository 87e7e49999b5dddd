//! What happened to each request, as one JSON line that a client's figures are compared with. All `*_ns` are
//! CLOCK_MONOTONIC, which other processes on this machine read too; `arrival_wall_ns` is the kernel's own wall clock stamp.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::Error;
use crate::ledger::simulate::Sources;

/// Lines are held back while streams are busy, up to this size.
const HELD_BYTES_MAX: usize = 8 << 20;

/// How an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it was handed to the kernel.
    #[default]
    Complete,
    /// The client went away first.
    ClientClosed,
    /// A fault that was asked for.
    Cut,
    Reset,
    Stalled,
}

/// One request and its answer. Times of what never happened are 0.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Served {
    /// Number of the request, in the order in which requests were complete here.
    pub n: u64,
    pub id: String,
    /// The client's own `x-request-id`.
    pub request_id: Option<String>,
    pub connection: u64,
    pub path: String,
    pub status: u16,
    pub stream: bool,
    pub outcome: Outcome,
    pub fault: Option<String>,
    /// Kernel arrival of the request's last byte.
    pub arrival_ns: u64,
    pub arrival_wall_ns: u64,
    /// `kernel`, or `read` where the kernel gave no stamp.
    pub arrival_source: &'static str,
    /// When the last byte was read; later than `arrival_ns` by the delay of the mock itself.
    pub read_ns: u64,
    /// When a server took the request; later than `arrival_ns` by its wait in the queue (`--servers`).
    pub service_ns: u64,
    /// Directly before the reply's head was handed to the kernel.
    pub headers_ns: u64,
    /// When the first token was to go out, and directly before and after the write that carried it.
    pub first_token_due_ns: u64,
    pub first_token_ns: u64,
    pub first_token_sent_ns: u64,
    /// The same for the last token.
    pub last_token_due_ns: u64,
    pub last_token_ns: u64,
    pub last_token_sent_ns: u64,
    /// After the last byte was handed to the kernel.
    pub done_ns: u64,
    pub prompt_tokens: u64,
    pub prompt_sources: Sources,
    pub completion_tokens: u64,
    /// Token events written.
    pub events: u64,
    /// How late token events were written, against their schedule.
    pub late_us_mean: f64,
    pub late_us_max: f64,
    /// Time between the writes of neighbouring token events.
    pub gap_us_min: f64,
    pub gap_us_mean: f64,
    pub gap_us_max: f64,
    pub bytes: u64,
    /// With `--log-events`: each token event's schedule and write, in nanoseconds since `arrival_ns`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_due_ns: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_ns: Vec<u64>,
}

/// The sums behind the figures over events.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    late_ns: u64,
    late_ns_max: u64,
    gap_ns: u64,
    gap_ns_min: Option<u64>,
    gap_ns_max: u64,
}

impl Served {
    /// Records a token event that was due at `due_ns` and is written at `now_ns`.
    pub fn token(&mut self, tally: &mut Tally, due_ns: u64, now_ns: u64, keep: bool) {
        let late = now_ns.saturating_sub(due_ns);
        tally.late_ns += late;
        tally.late_ns_max = tally.late_ns_max.max(late);
        if self.events == 0 {
            self.first_token_due_ns = due_ns;
            self.first_token_ns = now_ns;
        } else {
            let gap = now_ns.saturating_sub(self.last_token_ns);
            tally.gap_ns += gap;
            tally.gap_ns_min = Some(tally.gap_ns_min.map_or(gap, |least| least.min(gap)));
            tally.gap_ns_max = tally.gap_ns_max.max(gap);
        }
        self.last_token_due_ns = due_ns;
        self.last_token_ns = now_ns;
        self.events += 1;
        if keep {
            self.event_due_ns.push(due_ns.saturating_sub(self.arrival_ns));
            self.event_ns.push(now_ns.saturating_sub(self.arrival_ns));
        }
    }

    /// Computes the figures over all events.
    pub fn finish(&mut self, tally: &Tally) {
        let us = |ns: u64| ns as f64 / 1e3;
        if self.events > 0 {
            self.late_us_mean = us(tally.late_ns) / self.events as f64;
            self.late_us_max = us(tally.late_ns_max);
        }
        if self.events > 1 {
            self.gap_us_min = us(tally.gap_ns_min.unwrap_or(0));
            self.gap_us_mean = us(tally.gap_ns) / (self.events - 1) as f64;
            self.gap_us_max = us(tally.gap_ns_max);
        }
    }
}

/// Where records go.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<BufWriter<File>>,
    held: Vec<u8>,
    kept: Option<Vec<Served>>,
}

impl Log {
    /// Lines to the file at `path`, made anew.
    pub fn to_file(path: &Path) -> Result<Log, Error> {
        let file = File::create(path).map_err(|cause| {
            Error::Environment(format!(
                "could not create --log {}: {cause}; name a file in a writable folder",
                path.display()
            ))
        })?;
        Ok(Log {
            file: Some(BufWriter::new(file)),
            ..Log::default()
        })
    }

    /// Records kept in memory, for a mock inside this process.
    pub fn in_memory() -> Log {
        Log {
            kept: Some(Vec::new()),
            ..Log::default()
        }
    }

    pub fn add(&mut self, served: Served) -> Result<(), Error> {
        if self.file.is_some() {
            serde_json::to_writer(&mut self.held, &served).expect("numbers and text are always JSON");
            self.held.push(b'\n');
            if self.held.len() > HELD_BYTES_MAX {
                self.flush()?;
            }
        }
        if let Some(kept) = &mut self.kept {
            kept.push(served);
        }
        Ok(())
    }

    /// Writes what is held back. Called when nothing is due.
    pub fn flush(&mut self) -> Result<(), Error> {
        if let Some(file) = &mut self.file
            && !self.held.is_empty()
        {
            let written = file.write_all(&self.held).and_then(|()| file.flush());
            self.held.clear();
            written.map_err(|cause| {
                Error::Environment(format!(
                    "could not write --log: {cause}; make room, or leave the flag out"
                ))
            })?;
        }
        Ok(())
    }

    pub fn into_kept(self) -> Vec<Served> {
        self.kept.unwrap_or_default()
    }
}
