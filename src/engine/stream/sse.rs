//! A decoder for server-sent events (WHATWG HTML, section 9.2). Bytes may arrive in any pieces: an event split anywhere, even
//! inside a UTF-8 character, or several in one read. Lines end in LF, CR or CRLF. Keeps at most `EVENT_BYTES_MAX` bytes.

use crate::engine::failure::Failure;

/// A longer event fails the request instead of filling the memory.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Kept of an event's comments, because one may hold an error message.
const COMMENT_BYTES_MAX: usize = 1 << 10;

/// One complete event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The data of an event with any name except `error`.
    Data(&'a [u8]),
    /// `event: error`: its data, else its comment (Dynamo sends one without data), else empty.
    Error(&'a [u8]),
}

/// Turns the bytes of a stream into events.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The start of a line whose end has not arrived yet.
    carry: Vec<u8>,
    /// Data lines of the current event, joined with LF.
    data: Vec<u8>,
    has_data: bool,
    /// The current event is named `error`.
    is_error: bool,
    /// Comments of the current event, up to `COMMENT_BYTES_MAX`.
    comment: Vec<u8>,
    /// The last line ended in CR; an LF right after it belongs to it.
    after_cr: bool,
    first_line_seen: bool,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Passes every event that ends within `bytes` to `on_event`, which can stop the stream with an error.
    ///
    /// Events without data (pings, ids) are dropped, as the standard says, except `event: error`.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            if self.carry.is_empty()
                && !self.has_data
                && !self.is_error
                && let Some((data, after)) = whole_event(rest)
            {
                self.first_line_seen = true;
                self.comment.clear();
                on_event(Event::Data(data))?;
                rest = after;
                continue;
            }
            let Some(end) = line_end(rest) else {
                check_size(self.carry.len() + rest.len())?;
                self.carry.extend_from_slice(rest);
                return Ok(());
            };
            self.after_cr = rest[end] == b'\r';
            if self.carry.is_empty() {
                self.line(&rest[..end], on_event)?;
            } else {
                let mut line = std::mem::take(&mut self.carry);
                line.extend_from_slice(&rest[..end]);
                self.line(&line, on_event)?;
                line.clear();
                self.carry = line;
            }
            rest = &rest[end + 1..];
        }
        Ok(())
    }

    /// At the end of the answer: passes on a last event that has no blank line after it, which the standard would drop.
    pub fn finish(&mut self, on_event: &mut impl FnMut(Event<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
        let line = std::mem::take(&mut self.carry);
        if !line.is_empty() {
            self.line(&line, on_event)?;
        }
        self.line(b"", on_event)
    }

    fn line(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut line = line;
        if !std::mem::replace(&mut self.first_line_seen, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_of_event(on_event);
        }
        if let Some(comment) = line.strip_prefix(b":") {
            let room = COMMENT_BYTES_MAX.saturating_sub(self.comment.len());
            self.comment.extend_from_slice(&comment[..comment.len().min(room)]);
            return Ok(());
        }
        if let Some(name) = value_of(line, b"event") {
            self.is_error = name.trim_ascii().eq_ignore_ascii_case(b"error");
            return Ok(());
        }
        // Other fields are not used.
        let Some(value) = value_of(line, b"data") else {
            return Ok(());
        };
        check_size(self.data.len() + value.len())?;
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        Ok(())
    }

    fn end_of_event(&mut self, on_event: &mut impl FnMut(Event<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
        let has_data = std::mem::take(&mut self.has_data);
        let handled = match std::mem::take(&mut self.is_error) {
            true if self.data.trim_ascii().is_empty() => on_event(Event::Error(&self.comment)),
            true => on_event(Event::Error(&self.data)),
            false if has_data => on_event(Event::Data(&self.data)),
            false => Ok(()),
        };
        self.data.clear();
        self.comment.clear();
        handled
    }
}

/// The value of the field `name` (`name`, `name:value` or `name: value`); `None` for a line of another field.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    match value.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => value.is_empty().then_some(value),
    }
}

/// Fast path for an event of one data line that is complete in one read, as nearly all are: its data, not copied, and the bytes
/// after it.
fn whole_event(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = bytes.strip_prefix(b"data: ")?;
    let (data, rest) = value.split_at(line_end(value)?);
    Some((data, rest.strip_prefix(b"\n\n")?))
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= EVENT_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::protocol(format!(
        "an event of the answer is longer than {} MiB",
        EVENT_BYTES_MAX >> 20
    )))
}

/// The first CR or LF. Eight bytes at a time, because every byte of every answer passes here.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Sets the high bit of each zero byte. Bytes above the first zero byte may be marked too; only the first mark is used.
    let zeros = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let mut chunks = bytes.chunks_exact(8);
    let mut offset = 0;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk has eight bytes"));
        let found = zeros(word ^ (LOW * u64::from(b'\n'))) | zeros(word ^ (LOW * u64::from(b'\r')));
        if found != 0 {
            return Some(offset + found.trailing_zeros() as usize / 8);
        }
        offset += 8;
    }
    let rest = chunks.remainder().iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    rest.map(|position| offset + position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        for piece in pieces {
            decoder
                .feed(piece, &mut |event| {
                    events.push(shown(event));
                    Ok(())
                })
                .unwrap();
        }
        events
    }

    fn shown(event: Event<'_>) -> String {
        match event {
            Event::Data(data) => String::from_utf8_lossy(data).into_owned(),
            Event::Error(text) => format!("error({})", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn line_ends_and_fields_follow_the_standard() {
        for (stream, want) in [
            ("data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["a", "b"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            ("data:a\n\n", vec!["a"]),
            ("data:  a\n\n", vec![" a"]),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data\n\n", vec![""]),
            (": ping\n\nevent: x\nid: 4\nretry: 10\n\n", vec![]),
            ("event: message\ndata: a\nid: 4\n\n", vec!["a"]),
            ("database: a\n\n", vec![]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            ("data: a\n\n\u{feff}data: b\n\n", vec!["a"]),
            ("\n\n\ndata: a\n\n\n\n", vec!["a"]),
            ("data: a\n", vec![]),
        ] {
            assert_eq!(events(&[stream.as_bytes()]), want, "{stream:?}");
        }
    }

    #[test]
    fn an_error_event_has_its_data_or_its_comment() {
        for (stream, want) in [
            ("event: error\n: lost\n\n", vec!["error( lost)"]),
            (": lost\nevent:error\n\n", vec!["error( lost)"]),
            ("event: error\ndata: {}\n: c\n\n", vec!["error({})"]),
            ("data: {}\r\nevent: ERROR \r\n\r\n", vec!["error({})"]),
            ("event: error\ndata:\n\n", vec!["error()"]),
            // Nothing carries over to the next event.
            (": ping\n\nevent: error\n\n", vec!["error()"]),
            (
                ": ping\ndata: a\n\nevent: error\n\ndata: b\n\n",
                vec!["a", "error()", "b"],
            ),
            ("event: error\nevent: message\ndata: a\n\n", vec!["a"]),
            ("event: errors\n: c\n\nevents: error\n\n", vec![]),
        ] {
            assert_eq!(events(&[stream.as_bytes()]), want, "{stream:?}");
            let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(events(&single), want, "{stream:?}");
        }
        let long = format!("event: error\n:{}\n\n", "x".repeat(5000));
        assert_eq!(events(&[long.as_bytes()])[0].len(), COMMENT_BYTES_MAX + "error()".len());
    }

    #[test]
    fn the_last_event_may_lack_its_blank_line() {
        for (stream, want) in [
            ("data: a\n\ndata: [DONE]", vec!["a", "[DONE]"]),
            ("data: a\n", vec!["a"]),
            ("event: error\n: lost", vec!["error( lost)"]),
            ("data: a\n\n", vec!["a"]),
            (": ping", vec![]),
        ] {
            let mut decoder = Decoder::new();
            let mut got = Vec::new();
            let mut take = |event: Event<'_>| {
                got.push(shown(event));
                Ok(())
            };
            decoder.feed(stream.as_bytes(), &mut take).unwrap();
            decoder.finish(&mut take).unwrap();
            assert_eq!(got, want, "{stream:?}");
        }
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let stream = "\u{feff}: c\r\ndata: \u{e9}\u{6f22} one\r\n\r\ndata: two\rdata: 2\r\rid: 1\n\ndata: [DONE]\n\n";
        let whole = events(&[stream.as_bytes()]);
        assert_eq!(whole, ["\u{e9}\u{6f22} one", "two\n2", "[DONE]"]);
        let bytes = stream.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let got = events(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
                assert_eq!(got, whole, "split at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&single), whole);
    }

    #[test]
    fn line_ends_are_found_at_every_offset() {
        for length in 0..40 {
            for at in 0..length {
                for end in [b'\n', b'\r'] {
                    let mut bytes = vec![0x8a; length];
                    bytes[at] = end;
                    assert_eq!(line_end(&bytes), Some(at), "{length} {at}");
                }
            }
            assert_eq!(line_end(&vec![0x0b; length]), None);
        }
    }

    #[test]
    fn endless_lines_and_endless_events_are_refused() {
        let piece = vec![b'x'; 1 << 20];
        let mut decoder = Decoder::new();
        let refused = (0..10).find_map(|_| decoder.feed(&piece, &mut |_| Ok(())).err());
        assert!(refused.unwrap().text.contains("longer than 8 MiB"));
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        let mut decoder = Decoder::new();
        let refused = (0..10).find_map(|_| decoder.feed(&line, &mut |_| Ok(())).err());
        assert!(refused.unwrap().text.contains("longer than 8 MiB"));
    }

    #[test]
    fn the_callback_can_stop_the_stream() {
        let mut seen = 0;
        let got = Decoder::new().feed(b"data: a\n\ndata: b\n\n", &mut |_| {
            seen += 1;
            Err(Failure::protocol("enough"))
        });
        assert_eq!((got.unwrap_err().text.as_str(), seen), ("enough", 1));
    }
}
