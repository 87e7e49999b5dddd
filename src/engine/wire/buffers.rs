//! The buffers that ureq uses for one connection. They are small, and the output buffer exists only while a request is being
//! sent, so that a thousand idle or receiving streams need little memory. Input grows to `INPUT_BYTES_MAX` at most.

use ureq::unversioned::transport::Buffers;

/// Size of the first reads; about fifteen token events.
const INPUT_BYTES: usize = 4 << 10;
/// Size of reads on a stream that filled its buffer: fewer reads, without more memory for a thousand slow streams.
const BUSY_INPUT_BYTES: usize = 16 << 10;
/// Input grows up to this size while none of it can be consumed, which happens only with headers.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most bytes in one write; most requests fit.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Least size of the output buffer.
const OUTPUT_BYTES_MIN: usize = 4 << 10;

#[derive(Debug, Default)]
pub struct StreamBuffers {
    input: Vec<u8>,
    consumed: usize,
    filled: usize,
    /// The last read filled the buffer, so more may be waiting.
    was_full: bool,
    /// The last look at the input consumed some of it; otherwise more has to be read first.
    progress: bool,
    output: Vec<u8>,
    /// Size of the next request, header and body.
    expected_output: usize,
    /// Bytes at the start of `output` that wait for the next write.
    held: usize,
}

impl StreamBuffers {
    /// The next request has about this many bytes. A larger buffer would take page faults inside the request's clock.
    pub fn expect_output(&mut self, bytes: usize) {
        self.expected_output = bytes;
    }

    /// Holds back the first `amount` bytes written into `output`, to send them together with the next write.
    pub fn hold(&mut self, amount: usize) {
        self.held += amount;
    }

    pub fn held(&self) -> usize {
        self.held
    }

    /// The bytes to send after `amount` more were written into `output`.
    pub fn outgoing(&self, amount: usize) -> &[u8] {
        &self.output[..self.held + amount]
    }

    /// Everything was sent.
    pub fn sent(&mut self) {
        self.held = 0;
    }

    /// Frees the output buffer until the next request.
    pub fn release_output(&mut self) {
        self.output = Vec::new();
        self.held = 0;
    }
}

impl Buffers for StreamBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            let bytes = self.expected_output.clamp(OUTPUT_BYTES_MIN, OUTPUT_BYTES_MAX);
            self.output.resize(bytes, 0);
        }
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.consumed..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.consumed == self.filled {
            (self.consumed, self.filled) = (0, 0);
        } else if self.consumed > 0 && self.filled == self.input.len() {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        if self.filled == 0 && self.was_full && self.input.len() < BUSY_INPUT_BYTES {
            self.input.resize(BUSY_INPUT_BYTES, 0);
        }
        if self.filled == self.input.len() {
            let bytes = (self.input.len() * 2).clamp(INPUT_BYTES, INPUT_BYTES_MAX);
            self.input.resize(bytes, 0);
        }
        &mut self.input[self.filled..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled += amount;
        self.was_full = self.filled == self.input.len();
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed += amount;
    }

    /// ureq needs the temporary buffer only for chunked request bodies, which are not sent here.
    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        (&mut [], self.output())
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(buffers: &mut StreamBuffers, bytes: &[u8]) {
        buffers.input_append_buf()[..bytes.len()].copy_from_slice(bytes);
        buffers.input_appended(bytes.len());
    }

    #[test]
    fn input_is_returned_in_order_and_never_stalls() {
        let mut buffers = StreamBuffers::default();
        append(&mut buffers, b"abcd");
        assert!(!buffers.can_use_input());
        buffers.input_consume(1);
        assert!(buffers.can_use_input());
        buffers.input_consume(0);
        assert!(!buffers.can_use_input(), "no progress: more must be read first");
        append(&mut buffers, b"ef");
        assert_eq!(buffers.input(), b"bcdef");
        buffers.input_consume(5);
        assert!(buffers.input().is_empty() && !buffers.can_use_input());
    }

    #[test]
    fn input_that_is_not_consumed_grows_to_its_limit() {
        let mut buffers = StreamBuffers::default();
        loop {
            let room = buffers.input_append_buf().len();
            if room == 0 {
                break;
            }
            buffers.input_appended(room);
        }
        assert_eq!(buffers.input().len(), INPUT_BYTES_MAX);
        buffers.input_consume(10);
        assert_eq!(buffers.input_append_buf().len(), 10);
    }

    #[test]
    fn only_a_stream_that_fills_its_buffer_gets_a_larger_one() {
        let mut buffers = StreamBuffers::default();
        for (bytes, next) in [(1, INPUT_BYTES), (INPUT_BYTES, BUSY_INPUT_BYTES), (9, BUSY_INPUT_BYTES)] {
            buffers.input_append_buf();
            buffers.input_appended(bytes);
            buffers.input_consume(bytes);
            assert_eq!(buffers.input_append_buf().len(), next);
        }
    }

    #[test]
    fn the_output_buffer_is_as_large_as_the_request() {
        for (request, room) in [(0, OUTPUT_BYTES_MIN), (30_000, 30_000), (1 << 20, OUTPUT_BYTES_MAX)] {
            let mut buffers = StreamBuffers::default();
            buffers.expect_output(request);
            assert_eq!(buffers.output().len(), room);
        }
    }

    #[test]
    fn held_bytes_are_sent_first() {
        let mut buffers = StreamBuffers::default();
        buffers.output()[..2].copy_from_slice(b"he");
        buffers.hold(2);
        buffers.output()[..3].copy_from_slice(b"llo");
        assert_eq!(buffers.outgoing(3), b"hello");
        buffers.sent();
        assert_eq!(buffers.outgoing(2), b"he");
        buffers.release_output();
        assert_eq!((buffers.held(), buffers.output.capacity()), (0, 0));
    }
}
