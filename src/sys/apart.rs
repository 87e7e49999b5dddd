//! Work that cannot be interrupted, such as looking up a name, on a thread of its own, so that its caller can stop waiting.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread::Builder;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::deadline::{Limits, TICK};
use super::limits;

/// What `work` returns, or the error of the limits that ended the wait. The thread then ends by itself or with the program.
pub fn apart<T: Send + 'static>(
    name: &str,
    limits: &impl Limits,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    limits.check()?;
    let (answer, answered) = bounded(1);
    let run = move || {
        // Nobody may be waiting any more.
        let _ = answer.send(work());
    };
    let thread = Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| io::Error::new(error.kind(), limits::thread_told(&error)))?;
    loop {
        match answered.recv_timeout(TICK) {
            Ok(answered) => return Ok(answered),
            Err(RecvTimeoutError::Timeout) => limits.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its thread ended early")),
        }
    }
}

/// The addresses of a host, brackets of IPv6 or not. The system's resolver takes as long as it likes.
pub fn resolve(host: &str, port: u16, limits: &impl Limits) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    apart("resolver", limits, move || {
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
    fn the_answer_comes_back() {
        let limit = Deadline::after(Duration::from_secs(60));
        assert_eq!(apart("sum", &limit, || 1 + 1).unwrap(), 2);
        assert_eq!(resolve("[::1]", 7, &limit).unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(!resolve("localhost", 7, &limit).unwrap().is_empty());
    }

    #[test]
    fn what_never_ends_is_not_waited_for() {
        let (hold, held) = channel::<()>();
        let late = apart("held", &Deadline::after(Duration::from_millis(1)), move || held.recv());
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(hold);
    }
}
