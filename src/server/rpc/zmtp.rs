//! ZMTP 3.0, the wire format of ZeroMQ, over one blocking stream: greeting, READY, frames. Large frames stream in both
//! directions through a buffer of fixed size. It must never allocate by a length that came over the wire, and knows
//! nothing of requests.

use std::io::{self, ErrorKind, Read, Write};

use crate::sys::deadline::{Deadline, is_cancelled};
use crate::sys::stream::Stream;

/// What one read or write takes at most; also the largest frame that is read whole.
pub const BUFFER_BYTES: usize = 256 << 10;
const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
/// Pieces from here on go to the kernel without a stop in the buffer.
const DIRECT_BYTES: usize = 32 << 10;
/// Frames of control traffic (READY, PING) that are accepted; peers send some 30 bytes.
const COMMAND_BYTES_MAX: u64 = 512;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Why a connection could not do what was asked.
#[derive(Debug)]
pub enum Fault {
    TimedOut,
    /// The other side closed or reset the connection.
    Closed(String),
    /// The first bytes were not those of ZeroMQ; these are they.
    NotZmtp(Vec<u8>),
    Interrupted,
    /// The other side broke the rules of the format.
    Broken(String),
}

/// Begin of a frame: what follows it and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub more: bool,
    pub bytes: u64,
}

/// One greeted connection.
pub struct Connection {
    stream: Stream<Deadline>,
    input: Box<[u8]>,
    begin: usize,
    end: usize,
    output: Vec<u8>,
    /// Set when a message was cut short; nothing can follow.
    broken: bool,
}

impl Connection {
    /// Greets the other side, whose socket type we then know to be there. `socket_type` is ours: `DEALER` or `ROUTER`.
    pub fn greet(stream: Stream<Deadline>, socket_type: &str, wait: Deadline) -> Result<Connection, Fault> {
        let mut connection = Connection {
            stream,
            input: vec![0; BUFFER_BYTES].into_boxed_slice(),
            begin: 0,
            end: 0,
            output: Vec::with_capacity(4096),
            broken: false,
        };
        // A server says its signature first, so somebody else's protocol is recognised before a byte goes out. A client's
        // comes only in answer to ours.
        let server = socket_type == "ROUTER";
        if server {
            connection.send_greeting(wait)?;
            connection.check_signature(wait)?;
        } else {
            connection.check_signature(wait)?;
            connection.send_greeting(wait)?;
        }
        connection.check_greeting(wait)?;
        connection.send_ready(socket_type, wait)?;
        connection.expect_ready(wait)?;
        Ok(connection)
    }

    fn check_signature(&mut self, wait: Deadline) -> Result<(), Fault> {
        while self.end < SIGNATURE.len() {
            match self.fill(wait) {
                Ok(()) => {}
                // What came so far names the protocol better than the end of the connection does.
                Err(Fault::Closed(_) | Fault::TimedOut) if self.end > 0 => {
                    return Err(Fault::NotZmtp(self.input[..self.end].to_vec()));
                }
                Err(fault) => return Err(fault),
            }
        }
        if self.input[0] != SIGNATURE[0] || self.input[9] & 1 != 1 {
            return Err(Fault::NotZmtp(self.input[..self.end].to_vec()));
        }
        Ok(())
    }

    fn send_greeting(&mut self, wait: Deadline) -> Result<(), Fault> {
        self.output.extend_from_slice(&SIGNATURE);
        self.output.extend_from_slice(&[3, 0]);
        self.output.extend_from_slice(b"NULL");
        self.output.resize(64, 0);
        self.flush(wait)
    }

    fn check_greeting(&mut self, wait: Deadline) -> Result<(), Fault> {
        let greeting = self.take(64, wait)?;
        let (version, mechanism) = (greeting[10], greeting[12..32].to_vec());
        if version < 3 {
            let text = format!("it speaks version {version} of ZeroMQ's wire format, and 3 is needed");
            return Err(Fault::Broken(text));
        }
        if !mechanism.starts_with(b"NULL\0") {
            let text = "it asks for authentication, which LMCache servers do not";
            return Err(Fault::Broken(text.into()));
        }
        Ok(())
    }

    fn send_ready(&mut self, socket_type: &str, wait: Deadline) -> Result<(), Fault> {
        let mut body = Vec::from(*b"\x05READY");
        for (name, value) in [("Socket-Type", socket_type), ("Identity", "")] {
            body.push(name.len() as u8);
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&(value.len() as u32).to_be_bytes());
            body.extend_from_slice(value.as_bytes());
        }
        self.output.extend_from_slice(&[COMMAND, body.len() as u8]);
        self.output.extend_from_slice(&body);
        self.flush(wait)
    }

    fn expect_ready(&mut self, wait: Deadline) -> Result<(), Fault> {
        let (flags, bytes) = self.raw_head(wait)?;
        let body = self.command(flags, bytes, wait)?;
        match body.strip_prefix(b"\x05READY") {
            Some(_) => Ok(()),
            None => Err(Fault::Broken("it answered the greeting with something else".into())),
        }
    }

    /// A reader's view of the stream: whether bytes of a message are already here.
    pub fn has_input(&self) -> bool {
        self.begin < self.end
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Gives up on the stream: nothing that arrives later can be told apart from what was expected.
    pub fn abandon(&mut self) {
        self.broken = true;
    }

    // ---- reading -----------------------------------------------------------------------------------------------------

    /// The next frame of a message. Control traffic between messages is dealt with on the way.
    pub fn head(&mut self, wait: Deadline) -> Result<FrameHead, Fault> {
        loop {
            let (flags, bytes) = self.raw_head(wait)?;
            if flags & COMMAND == 0 {
                let more = flags & MORE != 0;
                return Ok(FrameHead { more, bytes });
            }
            let body = self.command(flags, bytes, wait)?;
            // PING carries two bytes of time to live and a context that PONG gives back.
            if let Some(context) = body.strip_prefix(b"\x04PING").and_then(|rest| rest.get(2..)) {
                let mut pong = vec![COMMAND, (5 + context.len().min(16)) as u8];
                pong.extend_from_slice(b"\x04PONG");
                pong.extend_from_slice(&context[..context.len().min(16)]);
                self.output.extend_from_slice(&pong);
                self.flush(wait)?;
            }
        }
    }

    fn raw_head(&mut self, wait: Deadline) -> Result<(u8, u64), Fault> {
        let flags = self.take(1, wait)?[0];
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return self.fail(format!("a frame begins with the unknown flags {flags:#04x}"));
        }
        let bytes = if flags & LONG == 0 {
            u64::from(self.take(1, wait)?[0])
        } else {
            let mut length = [0; 8];
            length.copy_from_slice(self.take(8, wait)?);
            u64::from_be_bytes(length)
        };
        Ok((flags, bytes))
    }

    fn command(&mut self, flags: u8, bytes: u64, wait: Deadline) -> Result<Vec<u8>, Fault> {
        if flags & COMMAND == 0 || bytes > COMMAND_BYTES_MAX {
            return self.fail(format!(
                "a command of {bytes} bytes where at most {COMMAND_BYTES_MAX} can be"
            ));
        }
        Ok(self.take(bytes as usize, wait)?.to_vec())
    }

    fn fail<T>(&mut self, text: String) -> Result<T, Fault> {
        self.broken = true;
        Err(Fault::Broken(text))
    }

    /// Exactly `bytes` bytes, at most `BUFFER_BYTES`.
    pub fn take(&mut self, bytes: usize, wait: Deadline) -> Result<&[u8], Fault> {
        assert!(bytes <= BUFFER_BYTES, "only small frames are read whole");
        while self.end - self.begin < bytes {
            self.fill(wait)?;
        }
        let begin = self.begin;
        self.begin += bytes;
        Ok(&self.input[begin..begin + bytes])
    }

    /// Some of the bytes that are next, at least one and at most `bytes`, which is not zero.
    pub fn piece(&mut self, bytes: u64, wait: Deadline) -> Result<&[u8], Fault> {
        if self.begin == self.end {
            self.fill(wait)?;
        }
        let begin = self.begin;
        let here = (self.end - begin).min(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.begin += here;
        Ok(&self.input[begin..begin + here])
    }

    /// Reads past `bytes` bytes.
    pub fn skip(&mut self, mut bytes: u64, wait: Deadline) -> Result<(), Fault> {
        while bytes > 0 {
            bytes -= self.piece(bytes, wait)?.len() as u64;
        }
        Ok(())
    }

    /// At least one more byte, unless there is no room left.
    fn fill(&mut self, wait: Deadline) -> Result<(), Fault> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        self.stream.limits = wait;
        let room = &mut self.input[self.end..];
        let read = match self.stream.read_soon(room) {
            Ok(None) => self.stream.read(room),
            Ok(Some(read)) => Ok(read),
            Err(error) => Err(error),
        };
        let fault = match read {
            Ok(0) => Fault::Closed("the other side closed the connection".into()),
            Ok(read) => {
                self.end += read;
                return Ok(());
            }
            Err(error) => fault_of(error),
        };
        self.broken |= matches!(fault, Fault::Closed(_));
        Err(fault)
    }

    // ---- writing -----------------------------------------------------------------------------------------------------

    /// Appends a whole frame to what the next `flush` sends.
    pub fn put_frame(&mut self, body: &[u8], more: bool) {
        self.put_head(body.len() as u64, more);
        self.output.extend_from_slice(body);
    }

    /// Appends the head of a frame whose body follows with `put`.
    pub fn put_head(&mut self, bytes: u64, more: bool) {
        let more = u8::from(more) * MORE;
        match u8::try_from(bytes) {
            Ok(short) => self.output.extend_from_slice(&[more, short]),
            Err(_) => {
                self.output.push(more | LONG);
                self.output.extend_from_slice(&bytes.to_be_bytes());
            }
        }
    }

    /// Sends bytes of a frame body soon, those of large pieces at once.
    pub fn put(&mut self, piece: &[u8], wait: Deadline) -> Result<(), Fault> {
        if piece.len() < DIRECT_BYTES {
            self.output.extend_from_slice(piece);
            if self.output.len() < BUFFER_BYTES {
                return Ok(());
            }
            return self.flush(wait);
        }
        self.flush(wait)?;
        let sent = write_all(&mut self.stream, piece, wait);
        self.broken |= sent.is_err();
        sent
    }

    /// Sends what was appended.
    pub fn flush(&mut self, wait: Deadline) -> Result<(), Fault> {
        let sent = write_all(&mut self.stream, &self.output, wait);
        self.output.clear();
        // Half a message went out, perhaps: nothing can follow it.
        self.broken |= sent.is_err();
        sent
    }
}

fn write_all(stream: &mut Stream<Deadline>, bytes: &[u8], wait: Deadline) -> Result<(), Fault> {
    stream.limits = wait;
    stream.write_all(bytes).map_err(fault_of)
}

fn fault_of(error: io::Error) -> Fault {
    match error.kind() {
        _ if is_cancelled(&error) => Fault::Interrupted,
        ErrorKind::TimedOut => Fault::TimedOut,
        ErrorKind::WriteZero => Fault::Closed("the connection takes no more bytes".into()),
        _ => Fault::Closed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// A greeted connection and its other end.
    fn connected() -> (Connection, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let wait = Deadline::after(Duration::from_secs(60));
        let mut hello = SIGNATURE.to_vec();
        hello.extend_from_slice(b"\x03\0NULL");
        hello.resize(64, 0);
        hello.extend_from_slice(b"\x04\x06\x05READY");
        theirs.write_all(&hello).unwrap();
        let connection = Connection::greet(Stream::unix(ours, wait).unwrap(), "DEALER", wait).unwrap();
        (connection, theirs)
    }

    #[test]
    fn what_keeps_flowing_ends_at_the_deadline() {
        let (mut connection, mut theirs) = connected();
        theirs.write_all(&[0; 64]).unwrap();
        connection.skip(32, Deadline::after(Duration::from_secs(60))).unwrap();
        let over = Deadline {
            at: Instant::now(),
            ..Deadline::after(Duration::ZERO)
        };
        connection.skip(32, over).unwrap();
        theirs.write_all(&[0; 64]).unwrap();
        let ended = connection.skip(64, over);
        assert!(matches!(ended, Err(Fault::TimedOut)), "{ended:?}");
        let ended = connection.put(&[0; DIRECT_BYTES], over);
        assert!(matches!(ended, Err(Fault::TimedOut)), "{ended:?}");
    }
}
