//! epoll with nanosecond timeouts, for event loops that also wait for a point in time; the monotonic clock as a number that can
//! be compared across processes; the backlog of a listener; closing a connection with a reset.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::tcp::set_option;

/// Most sockets that one wait reports; the next wait reports the rest.
const EVENTS_PER_WAIT: usize = 256;

/// The state of a socket after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token that it was added with.
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// The peer has closed its side, or the connection has failed.
    pub closed: bool,
}

/// What to wait for on a socket; errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub readable: bool,
    pub writable: bool,
}

impl Interest {
    pub const READ: Interest = Interest {
        readable: true,
        writable: false,
    };

    fn bits(self) -> u32 {
        let mut bits = libc::EPOLLRDHUP as u32;
        if self.readable {
            bits |= libc::EPOLLIN as u32;
        }
        if self.writable {
            bits |= libc::EPOLLOUT as u32;
        }
        bits
    }
}

/// A set of sockets to wait for. A socket leaves the set when its last descriptor is closed.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    /// Whether epoll_pwait2 is used, which takes nanoseconds. Linux before 5.11 does not have it.
    has_nanoseconds: bool,
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        // SAFETY: no pointers; the result is checked before it is used as a descriptor.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Poll {
            epoll,
            has_nanoseconds: true,
        })
    }

    pub fn add(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub fn modify(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.bits(),
            u64: token,
        };
        // SAFETY: `event` is initialised and outlives the call; an invalid descriptor is an error.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until a socket is ready, at most `timeout_ns`, and puts the ready sockets into `ready`. A signal ends the wait
    /// early, with nothing ready.
    pub fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ns: u64) -> io::Result<()> {
        ready.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT];
        let count = match self.wait_once(&mut events, timeout_ns) {
            Err(cause) if self.has_nanoseconds && cause.raw_os_error() == Some(libc::ENOSYS) => {
                self.has_nanoseconds = false;
                self.wait_once(&mut events, timeout_ns)
            }
            outcome => outcome,
        };
        match count {
            Ok(count) => ready.extend(events[..count].iter().map(|event| {
                let bits = event.events;
                let has = |bit: libc::c_int| bits & bit as u32 != 0;
                Ready {
                    token: event.u64,
                    readable: has(libc::EPOLLIN),
                    writable: has(libc::EPOLLOUT),
                    closed: has(libc::EPOLLERR) || has(libc::EPOLLHUP) || has(libc::EPOLLRDHUP),
                }
            })),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
        Ok(())
    }

    fn wait_once(&self, events: &mut [libc::epoll_event], timeout_ns: u64) -> io::Result<usize> {
        let fd = self.epoll.as_raw_fd();
        let count = events.len() as libc::c_int;
        let status = if self.has_nanoseconds {
            let timeout = libc::timespec {
                tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
                tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
            };
            // Through syscall(2), because older C libraries have no wrapper.
            // SAFETY: `events` is writable for `count` entries, `timeout` outlives the call, and no signal mask is given.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    fd,
                    events.as_mut_ptr(),
                    count,
                    ptr::from_ref(&timeout),
                    ptr::null::<libc::sigset_t>(),
                    mem::size_of::<libc::sigset_t>(),
                )
            }
        } else {
            // Rounded down: a caller that wakes too early waits again, one that wakes too late cannot make up for it.
            let timeout_ms = libc::c_int::try_from(timeout_ns / 1_000_000).unwrap_or(libc::c_int::MAX);
            // SAFETY: `events` is writable for `count` entries.
            unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), count, timeout_ms) as libc::c_long }
        };
        usize::try_from(status).map_err(|_| io::Error::last_os_error())
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, which are the same in every process of this machine until it reboots.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; CLOCK_MONOTONIC exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sets the timer slack of this thread to a nanosecond. By default the kernel may delay timers by 50 microseconds.
pub fn set_minimal_timer_slack() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes a number of nanoseconds and no pointer.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the backlog, the number of connections that may wait to be accepted. std sets 128; a connection beyond the backlog is
/// dropped, and the client tries again after a second.
pub fn set_backlog(listener: &TcpListener, connections: u16) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `listener` lives; a second listen only changes the backlog.
    match unsafe { libc::listen(listener.as_raw_fd(), libc::c_int::from(connections)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes the connection so that the peer gets a reset instead of an end of stream.
pub fn close_with_reset(stream: TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(&stream, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn readable_writable_and_closed_are_told_apart() {
        for has_nanoseconds in [true, false] {
            let (mut client, server) = pair();
            let mut poll = Poll::new().unwrap();
            poll.has_nanoseconds = has_nanoseconds;
            poll.add(server.as_raw_fd(), 7, Interest::READ).unwrap();
            let mut ready = Vec::new();
            poll.wait(&mut ready, 0).unwrap();
            assert_eq!(ready, []);
            client.write_all(b"x").unwrap();
            poll.wait(&mut ready, 10_000_000_000).unwrap();
            let expected = Ready {
                token: 7,
                readable: true,
                writable: false,
                closed: false,
            };
            assert_eq!(ready, [expected]);
            let both = Interest {
                readable: true,
                writable: true,
            };
            poll.modify(server.as_raw_fd(), 8, both).unwrap();
            drop(client);
            while !ready.iter().any(|ready| ready.closed) {
                poll.wait(&mut ready, 10_000_000_000).unwrap();
            }
            assert_eq!((ready[0].token, ready[0].writable), (8, true));
        }
    }

    #[test]
    fn a_wait_without_events_lasts_its_timeout() {
        let mut poll = Poll::new().unwrap();
        let before = monotonic_ns();
        poll.wait(&mut Vec::new(), 3_000_000).unwrap();
        assert!(monotonic_ns() - before >= 3_000_000);
    }

    #[test]
    fn a_reset_is_not_an_end_of_stream() {
        let (mut client, server) = pair();
        close_with_reset(server).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
