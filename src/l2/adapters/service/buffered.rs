//! A [`Link`] with what was received but not read yet: for protocols whose messages begin with lines.

use std::io::{self, IoSlice, IoSliceMut};

use super::link::Link;

pub struct BufferedLink {
    pub link: Link,
    /// Received; read up to `at`.
    pending: Vec<u8>,
    at: usize,
}

impl BufferedLink {
    pub fn new(link: Link) -> BufferedLink {
        BufferedLink {
            link,
            pending: Vec::new(),
            at: 0,
        }
    }

    /// Starts the clock of a request and sends its parts, in order.
    pub fn send(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.link.begin_request();
        self.link.send(parts)
    }

    pub fn unread(&self) -> &[u8] {
        &self.pending[self.at..]
    }

    pub fn consume(&mut self, count: usize) {
        self.at += count;
        if self.at == self.pending.len() {
            self.pending.clear();
            self.at = 0;
        }
    }

    /// Adds bytes that were received past this buffer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Waits for at least one more byte, and takes at most `PIECE`.
    pub fn receive_more<const PIECE: usize>(&mut self) -> io::Result<()> {
        let mut bytes = [0_u8; PIECE];
        let got = self.link.receive(&mut [IoSliceMut::new(&mut bytes)])?;
        self.push(&bytes[..got]);
        Ok(())
    }

    /// Fills `bytes`: what is beyond the buffer comes straight from the connection.
    pub fn exactly(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let ready = self.unread().len().min(bytes.len());
        bytes[..ready].copy_from_slice(&self.unread()[..ready]);
        self.consume(ready);
        self.link.receive_exact(&mut bytes[ready..])
    }
}
