//! A request's body while ureq sends it. It is let go with the last byte read, not when the response header arrives, so that a
//! thousand long prompts are not kept while the engine computes, unless the run keeps them itself.

use std::io::{self, Read};
use std::sync::Arc;

#[derive(Debug)]
pub struct Outgoing {
    bytes: Option<Arc<Vec<u8>>>,
    taken: usize,
}

impl Outgoing {
    pub fn new(bytes: Arc<Vec<u8>>) -> Outgoing {
        Outgoing {
            bytes: Some(bytes),
            taken: 0,
        }
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(bytes) = &self.bytes else { return Ok(0) };
        let copied = (&bytes[self.taken..]).read(buffer)?;
        self.taken += copied;
        if self.taken == bytes.len() {
            self.bytes = None;
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_freed_with_the_last_byte() {
        let body = Arc::new(b"abcde".to_vec());
        let mut outgoing = Outgoing::new(Arc::clone(&body));
        let mut buffer = [0; 3];
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 3);
        assert_eq!((&buffer, Arc::strong_count(&body)), (b"abc", 2));
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 2);
        assert_eq!((&buffer[..2], Arc::strong_count(&body)), (b"de".as_slice(), 1));
        assert_eq!(outgoing.read(&mut buffer).unwrap(), 0);
    }
}
