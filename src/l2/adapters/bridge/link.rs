//! The helper process and the socket to it. Every wait is bounded, and dropping the link ends the process.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{self, Reply};
use super::log::Log;
use crate::sys::deadline::{CLOSE_GRACE, Deadline, Limits, OnSignal, TICK, WORK_GRACE, closing_time, is_cancelled};
use crate::sys::limits;
use crate::sys::signal;
use crate::sys::stream::Stream;
use crate::url::literal_path_advice;

/// The helper's source, passed on its command line; nothing is written to disk.
const HELPER: &str = include_str!("helper.py");
/// How long to wait for a helper that reads nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(10);
const END_POLL: Duration = Duration::from_millis(5);
const READ_BYTES: usize = 4096;

pub struct Link {
    child: Child,
    stream: Stream<Deadline>,
    received: Vec<u8>,
    log: Log,
}

impl Link {
    /// Starts the helper with `memory` as its standard output and a socket as its standard input.
    pub fn start(python: &Path, memory: BorrowedFd<'_>) -> Result<Link, String> {
        let could_not = |what: &str, error: std::io::Error| {
            format!(
                "could not {what} for the Python helper: {}",
                limits::with_advice(&error)
            )
        };
        let (stream, theirs) = UnixStream::pair().map_err(|error| could_not("make a socket", error))?;
        let memory = memory
            .try_clone_to_owned()
            .map_err(|error| could_not("share the L1 buffers", error))?;
        let stream =
            Stream::unix(stream, Deadline::after(TICK)).map_err(|error| could_not("set up a socket", error))?;
        let mut child = Command::new(python)
            .args(["-c", HELPER])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(memory))
            .stderr(Stdio::piped())
            // Ctrl-C is for the benchmark, which finishes what is in flight.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let literal = literal_path_advice(python);
                let advice = limits::advice(&error).or(literal.as_deref());
                format!(
                    "could not start {}: {error}; {}",
                    python.display(),
                    advice.unwrap_or("name a Python that has lmcache with --python or LMCACHE_PYTHON")
                )
            })?;
        let log = Log::of(child.stderr.take());
        Ok(Link {
            child,
            stream,
            received: Vec::new(),
            log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        if frame.len() > frame::FRAME_BYTES_MAX {
            return Err("a submit is too long for the bridge; lower --num-keys".to_owned());
        }
        let whole = Deadline {
            at: Instant::now() + SEND_TIMEOUT,
            on_signal: OnSignal::Grace(CLOSE_GRACE),
        };
        let mut rest = frame;
        while !rest.is_empty() {
            // One tick at a time: replies are read meanwhile, so that neither side waits for the other.
            self.stream.limits = Deadline {
                at: whole.at.min(Instant::now() + TICK),
                ..whole
            };
            match self.stream.write(rest) {
                Ok(0) => return Err(self.death()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::TimedOut && whole.check().is_ok() => {
                    self.read_what_is_there()?;
                }
                Err(error) if is_cancelled(&error) => return Err(error.to_string()),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(format!(
                        "the Python helper read nothing for {} s; look at the store behind LMCache's adapter",
                        SEND_TIMEOUT.as_secs()
                    ));
                }
                Err(_) => return Err(self.death()),
            }
        }
        Ok(())
    }

    /// The next reply, or `None` when `timeout` is over, or soon after a signal.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Reply>, String> {
        self.receive_by(Deadline {
            at: Instant::now() + timeout,
            on_signal: OnSignal::Grace(WORK_GRACE),
        })
    }

    fn receive_by(&mut self, limits: Deadline) -> Result<Option<Reply>, String> {
        loop {
            let confused = |why| format!("the Python helper is confused: {why}");
            if let Some(length) = frame::first_frame(&self.received).map_err(confused)? {
                let reply = frame::reply(&self.received[..length]).map_err(confused)?;
                self.received.drain(..length);
                return Ok(Some(reply));
            }
            let mut buffer = [0; READ_BYTES];
            self.stream.limits = limits;
            match self.stream.read(&mut buffer) {
                Err(error) if is_cancelled(&error) || error.kind() == ErrorKind::TimedOut => return Ok(None),
                read => self.take(&buffer, read)?,
            }
        }
    }

    fn read_what_is_there(&mut self) -> Result<(), String> {
        let mut buffer = [0; READ_BYTES];
        self.stream.limits.at = Instant::now() + TICK;
        match self.stream.read_soon(&mut buffer) {
            Ok(None) => Ok(()),
            Ok(Some(bytes)) => self.take(&buffer, Ok(bytes)),
            Err(error) => self.take(&buffer, Err(error)),
        }
    }

    fn take(&mut self, buffer: &[u8], read: io::Result<usize>) -> Result<(), String> {
        match read {
            Ok(0) | Err(_) => Err(self.death()),
            Ok(bytes) => {
                self.received.extend(&buffer[..bytes]);
                Ok(())
            }
        }
    }

    /// The sentence about a helper that ended.
    fn death(&mut self) -> String {
        let how = match self.wait_for_end() {
            Some(status) => status_text(status),
            None => "closed its connection".to_owned(),
        };
        self.log.wait_for_end();
        let last = self.log.last_after(0);
        let last = last.map_or_else(String::new, |line| format!("; its last line was: {line}"));
        format!("the Python helper {how}{last}")
    }

    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let end = Instant::now() + closing_time(END_TIMEOUT);
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
        let limits = Deadline {
            at: Instant::now() + END_TIMEOUT,
            on_signal: OnSignal::Grace(CLOSE_GRACE),
        };
        // Replies of abandoned tasks may come first.
        while let Some(reply) = self.receive_by(limits)? {
            if reply == Reply::Closed {
                self.wait_for_end();
                return Ok(());
            }
        }
        if signal::received().is_some() {
            return Ok(());
        }
        Err(format!(
            "LMCache's adapter did not close within {} s, so its process was ended",
            END_TIMEOUT.as_secs()
        ))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Failure means that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn status_text(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was ended by signal 9, as the kernel does when memory runs out (see dmesg)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
