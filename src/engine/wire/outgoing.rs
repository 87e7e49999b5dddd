//! A request's body while ureq sends it. Its memory is freed with the last byte read, not when the response header arrives, so
//! that a thousand long prompts are not kept while the engine computes.

use std::io::{self, Read};

#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    taken: usize,
}

impl Outgoing {
    pub fn new(bytes: Vec<u8>) -> Outgoing {
        Outgoing { bytes, taken: 0 }
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let copied = (&self.bytes[self.taken..]).read(buffer)?;
        self.taken += copied;
        if self.taken == self.bytes.len() {
            (self.bytes, self.taken) = (Vec::new(), 0);
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_freed_with_the_last_byte() {
        let mut outgoing = Outgoing::new(b"abcde".to_vec());
        let mut buffer = [0; 3];
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 3);
        assert_eq!((&buffer, outgoing.bytes.len()), (b"abc", 5));
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 2);
        assert_eq!((&buffer[..2], outgoing.bytes.capacity()), (b"de".as_slice(), 0));
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 0);
    }
}
