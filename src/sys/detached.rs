//! Runs blocking work that cannot be interrupted, such as a name lookup, on its own thread, so that the caller can stop
//! waiting for it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread::Builder;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::deadline::{Limits, TICK};
use super::limits;

/// Runs `work` on a new thread and returns its result, or the error of the limits that ended the wait. After such an error the
/// thread keeps running until `work` returns or the process exits.
pub fn run_detached<T: Send + 'static>(
    name: &str,
    limits: &impl Limits,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    limits.check()?;
    let (answer, answered) = bounded(1);
    let run = move || {
        // Fails when the caller has stopped waiting.
        let _ = answer.send(work());
    };
    let thread = Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| io::Error::new(error.kind(), limits::thread_with_advice(&error)))?;
    loop {
        match answered.recv_timeout(TICK) {
            Ok(answered) => return Ok(answered),
            Err(RecvTimeoutError::Timeout) => limits.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its thread ended early")),
        }
    }
}

/// Resolves a host name or IP address; an IPv6 address may be in brackets.
pub fn resolve(host: &str, port: u16, limits: &impl Limits) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    // The system's resolver has a timeout of its own that can be far longer than `limits`.
    run_detached("resolver", limits, move || {
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    })?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::deadline::Deadline;
    use super::*;

    #[test]
    fn the_result_is_returned() {
        let limit = Deadline::after(Duration::from_secs(60));
        assert_eq!(run_detached("sum", &limit, || 1 + 1).unwrap(), 2);
        assert_eq!(resolve("[::1]", 7, &limit).unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(!resolve("localhost", 7, &limit).unwrap().is_empty());
    }

    #[test]
    fn work_that_never_ends_times_out() {
        let (hold, held) = channel::<()>();
        let deadline = Deadline::after(Duration::from_millis(1));
        let late = run_detached("held", &deadline, move || held.recv());
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(hold);
    }
}
