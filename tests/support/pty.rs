//! A program on a pseudo-terminal. A step that takes longer than `LIMIT` panics.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
const SCREEN_BYTES: usize = 1 << 16;

pub struct Terminal {
    screen: File,
    /// The program's side of the terminal, to see whether it has read all keys.
    program: OwnedFd,
    child: Child,
    /// Everything that the program has written.
    seen: Vec<u8>,
    /// Length of `seen` when keys were last typed.
    settled_bytes: usize,
}

impl Terminal {
    pub fn start(mut command: Command) -> Terminal {
        let (mut ours, mut theirs) = (-1, -1);
        let null = std::ptr::null_mut();
        // SAFETY: both descriptors are writable, and the other arguments may be null.
        let opened = unsafe { libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()) };
        assert_eq!(opened, 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: openpty returned 0, so both are open, and nothing else owns them.
        let (screen, program) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let side = || Stdio::from(program.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side());
        // SAFETY: setsid and ioctl are async-signal-safe and touch no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        Terminal {
            screen,
            program,
            child: command.spawn().unwrap(),
            seen: Vec::new(),
            settled_bytes: 0,
        }
    }

    /// Waits until the program waits for input, then types keys, which must change the screen.
    pub fn type_keys(&mut self, keys: &str) {
        self.settle();
        self.settled_bytes = self.seen.len();
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows `text` after the keys typed before, then types keys, whether the program waits for input or
    /// not.
    pub fn type_keys_at(&mut self, text: &str, keys: &str) {
        let started = Instant::now();
        while !String::from_utf8_lossy(&self.seen[self.settled_bytes..]).contains(text) {
            if started.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("no {text}; the screen:\n{}", String::from_utf8_lossy(&self.seen));
            }
            self.drain();
            std::thread::yield_now();
        }
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the program. Returns everything that it has written.
    pub fn finish(mut self) -> (String, ExitStatus) {
        let started = Instant::now();
        let status = loop {
            self.drain();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("still running; the screen:\n{}", String::from_utf8_lossy(&self.seen));
            }
            std::thread::yield_now();
        };
        self.drain();
        (String::from_utf8(self.seen).unwrap(), status)
    }

    /// Waits until the program has reacted to the last keys and waits for input again, or has ended. New output comes first,
    /// because before it the kernel may not have delivered the keys.
    fn settle(&mut self) {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            self.drain();
            let answered = self.seen.len() > self.settled_bytes;
            let waits = answered && self.unread() == 0 && self.waits_for_input();
            // Reads what the program wrote just before it went to sleep: an interrupt key makes the kernel discard unread output.
            self.drain();
            if waits || self.child.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::yield_now();
        }
        let _ = self.child.kill();
        panic!("no question; the screen:\n{}", String::from_utf8_lossy(&self.seen));
    }

    /// Reads all available output into `seen`.
    fn drain(&mut self) {
        let mut buffer = vec![0; SCREEN_BYTES];
        while self.has_output() {
            let count = self.screen.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                return;
            }
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }

    fn has_output(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.screen.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the count is 1, and `poll` is one initialised pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
    }

    fn unread(&self) -> i32 {
        let mut bytes = 0;
        // SAFETY: FIONREAD writes one int.
        unsafe { libc::ioctl(self.program.as_raw_fd(), libc::FIONREAD, &mut bytes) };
        bytes
    }

    /// Whether the program sleeps in a poll(2) of only its terminal, according to /proc.
    fn waits_for_input(&self) -> bool {
        let process = format!("/proc/{}", self.child.id());
        let call = fs::read_to_string(format!("{process}/syscall")).unwrap_or_default();
        let [number, entries, "0x1", ..] = call.split(' ').collect::<Vec<_>>()[..] else {
            return false;
        };
        if number != libc::SYS_poll.to_string() {
            return false;
        }
        let mut descriptor = [0; 4];
        let at = u64::from_str_radix(entries.trim_start_matches("0x"), 16).unwrap_or(0);
        let read = File::open(format!("{process}/mem")).and_then(|memory| memory.read_exact_at(&mut descriptor, at));
        let link = format!("{process}/fd/{}", i32::from_ne_bytes(descriptor));
        read.is_ok() && fs::read_link(link).is_ok_and(|path| path.starts_with("/dev/pts"))
    }
}
