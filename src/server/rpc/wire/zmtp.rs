//! ZMTP 3.0, the wire format of ZeroMQ (https://rfc.zeromq.org/spec/23/), over one blocking stream: greeting, READY, frames.
//! Large frames are streamed in both directions through a buffer of fixed size, so no allocation depends on a length that the
//! peer sent.

use std::io::{self, ErrorKind, Read, Write};

use super::Wire;
pub use super::{Fault, FrameHeader};
use crate::sys::deadline::{Deadline, is_cancelled};
use crate::sys::stream::Stream;

/// Size of the input buffer, and the limit on frames that are read whole.
pub const BUFFER_BYTES: usize = 256 << 10;
const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
/// Pieces of at least this size are written directly instead of through the output buffer.
const DIRECT_BYTES: usize = 32 << 10;
/// Limit on command frames (READY, PING); real ones have about 30 bytes.
const COMMAND_BYTES_MAX: u64 = 512;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A connection after the greeting.
pub struct Connection {
    stream: Stream<Deadline>,
    input: Box<[u8]>,
    begin: usize,
    end: usize,
    output: Vec<u8>,
    /// Whether a message was cut short, so that the connection cannot be used any more.
    broken: bool,
}

impl Connection {
    /// Exchanges greetings and READY commands. `socket_type` is that of this side: `DEALER` for a client, `ROUTER` for a server.
    pub fn greet(stream: Stream<Deadline>, socket_type: &str, wait: Deadline) -> Result<Connection, Fault> {
        let mut connection = Connection {
            stream,
            input: vec![0; BUFFER_BYTES].into_boxed_slice(),
            begin: 0,
            end: 0,
            output: Vec::with_capacity(4096),
            broken: false,
        };
        // A server sends its signature first, so a client can recognise another protocol before it sends anything. A client
        // sends its signature only in response.
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
                // The bytes received so far identify the protocol better than this error does.
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
        let (flags, bytes) = self.raw_header(wait)?;
        let body = self.command(flags, bytes, wait)?;
        match body.strip_prefix(b"\x05READY") {
            Some(_) => Ok(()),
            None => Err(Fault::Broken("it answered the greeting with something else".into())),
        }
    }

    // ---- reading -----------------------------------------------------------------------------------------------------

    fn raw_header(&mut self, wait: Deadline) -> Result<(u8, u64), Fault> {
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

    /// Reads at least one more byte into the input buffer, which must have space for it.
    fn fill(&mut self, wait: Deadline) -> Result<(), Fault> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        self.stream.limits = wait;
        let free = &mut self.input[self.end..];
        let read = match self.stream.read_soon(free) {
            Ok(None) => self.stream.read(free),
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
}

impl Wire for Connection {
    fn is_broken(&self) -> bool {
        self.broken
    }

    fn abandon(&mut self) {
        self.broken = true;
    }

    // ---- reading -----------------------------------------------------------------------------------------------------

    /// Reads the header of the next frame of a message. Handles commands between messages, such as PING.
    fn frame_header(&mut self, wait: Deadline) -> Result<FrameHeader, Fault> {
        loop {
            let (flags, bytes) = self.raw_header(wait)?;
            if flags & COMMAND == 0 {
                let more = flags & MORE != 0;
                return Ok(FrameHeader { more, bytes });
            }
            let body = self.command(flags, bytes, wait)?;
            // PING has a time to live of two bytes, and a context that PONG returns.
            if let Some(context) = body.strip_prefix(b"\x04PING").and_then(|rest| rest.get(2..)) {
                let mut pong = vec![COMMAND, (5 + context.len().min(16)) as u8];
                pong.extend_from_slice(b"\x04PONG");
                pong.extend_from_slice(&context[..context.len().min(16)]);
                self.output.extend_from_slice(&pong);
                self.flush(wait)?;
            }
        }
    }

    /// Reads exactly `bytes` bytes. Panics if that is more than `BUFFER_BYTES`.
    fn take(&mut self, bytes: usize, wait: Deadline) -> Result<&[u8], Fault> {
        assert!(bytes <= BUFFER_BYTES, "only small frames are read whole");
        while self.end - self.begin < bytes {
            self.fill(wait)?;
        }
        let begin = self.begin;
        self.begin += bytes;
        Ok(&self.input[begin..begin + bytes])
    }

    /// Some of the next bytes: at least one, at most `bytes`, which is not 0.
    fn piece(&mut self, bytes: u64, wait: Deadline) -> Result<&[u8], Fault> {
        if self.begin == self.end {
            self.fill(wait)?;
        }
        let begin = self.begin;
        let here = (self.end - begin).min(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.begin += here;
        Ok(&self.input[begin..begin + here])
    }

    // ---- writing -----------------------------------------------------------------------------------------------------

    /// Appends a whole frame to the output buffer.
    fn put_frame(&mut self, body: &[u8], more: bool) {
        self.put_frame_header(body.len() as u64, more);
        self.output.extend_from_slice(body);
    }

    /// Appends the header of a frame to the output buffer. Its body follows with `put`.
    fn put_frame_header(&mut self, bytes: u64, more: bool) {
        let more = u8::from(more) * MORE;
        match u8::try_from(bytes) {
            Ok(short) => self.output.extend_from_slice(&[more, short]),
            Err(_) => {
                self.output.push(more | LONG);
                self.output.extend_from_slice(&bytes.to_be_bytes());
            }
        }
    }

    /// Writes a piece of a frame body: a large one at once, a small one through the output buffer.
    fn put(&mut self, piece: &[u8], wait: Deadline) -> Result<(), Fault> {
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

    /// Sends the output buffer.
    fn flush(&mut self, wait: Deadline) -> Result<(), Fault> {
        let sent = write_all(&mut self.stream, &self.output, wait);
        self.output.clear();
        // A part of a message may have been sent.
        self.broken |= sent.is_err();
        sent
    }
}

fn write_all(stream: &mut Stream<Deadline>, bytes: &[u8], wait: Deadline) -> Result<(), Fault> {
    stream.limits = wait;
    stream.write_all(bytes).map_err(fault_of)
}

pub(super) fn fault_of(error: io::Error) -> Fault {
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

    /// A connection after the greeting, and the peer's end of it.
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
    fn reads_and_writes_end_at_the_deadline() {
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
