//! A short way through an answer's events: nearly all of them equal one before in everything but their text. What does not is
//! read as JSON by `chunk`, and so is every event that a new shape is learned from; both ways give the same.

use std::borrow::Cow;
use std::ops::Range;

use super::chunk::{self, Chunk};
use crate::engine::failure::Failure;

/// Longer events are read as JSON every time, so that a thousand streams hold little.
const SHAPE_BYTES_MAX: usize = 4 << 10;

/// Reads the events of one answer, in order.
#[derive(Debug, Default)]
pub struct ChunkReader {
    /// An event whose text stands in it unescaped; empty before there was one.
    shape: Vec<u8>,
    /// Where its text stands, which is not empty.
    text: Range<usize>,
    /// Where the name of the answer stands, before the text.
    id: Option<Range<usize>>,
    has_output: bool,
}

impl ChunkReader {
    /// As `chunk::parse`.
    pub fn read<'a>(&mut self, data: &'a [u8]) -> Result<Option<Chunk<'a>>, Failure> {
        if let Some(text) = self.text_of(data) {
            return Ok(Some(self.chunk(data, text)));
        }
        let chunk = chunk::parse(data)?;
        if let Some(chunk) = &chunk {
            self.learn(data, chunk);
        }
        Ok(chunk)
    }

    /// The text of an event that is the shape's in every other byte.
    fn text_of<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        if self.shape.is_empty() {
            return None;
        }
        let before = &self.shape[..self.text.start];
        let after = &self.shape[self.text.end..];
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        // Without these the text ends where the shape's did, and the rest of the JSON means what it meant there.
        let is_plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\');
        if text.is_empty() || !text.iter().all(is_plain) {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    fn chunk<'a>(&self, data: &'a [u8], text: &'a str) -> Chunk<'a> {
        let id = self.id.clone().and_then(|id| std::str::from_utf8(&data[id]).ok());
        Chunk {
            id: id.map(Cow::Borrowed),
            piece: Some(Cow::Borrowed(text)),
            has_token: true,
            has_output: self.has_output,
            finish_reason: None,
            has_choice: true,
            usage: None,
            odd_count: None,
        }
    }

    /// Only what says nothing but its text is a shape for others: no count, no end.
    fn learn(&mut self, data: &[u8], chunk: &Chunk<'_>) {
        if data.len() > SHAPE_BYTES_MAX || chunk.finish_reason.is_some() || chunk.usage.is_some() {
            return;
        }
        let Some(Cow::Borrowed(text)) = chunk.piece else {
            return;
        };
        let id = match chunk.id {
            Some(Cow::Borrowed(id)) => Some(place(data, id)),
            Some(Cow::Owned(_)) => return,
            None => None,
        };
        let text = place(data, text);
        if text.is_empty() || id.as_ref().is_some_and(|id| id.end > text.start) {
            return;
        }
        self.shape.clear();
        self.shape.extend_from_slice(data);
        (self.text, self.id, self.has_output) = (text, id, chunk.has_output);
    }
}

/// Where in `data` a part that was borrowed from it stands.
fn place(data: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - data.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `events` one after another and holds each against `chunk::parse`; returns how many went the short way.
    fn read_all(events: &[Vec<u8>]) -> usize {
        let mut reader = ChunkReader::default();
        let mut short = 0;
        for data in events {
            short += usize::from(reader.text_of(data).is_some());
            let told = format!("{:?}", String::from_utf8_lossy(data));
            assert_eq!(reader.read(data).ok(), chunk::parse(data).ok(), "{told}");
        }
        short
    }

    fn event(head: &str, text: &str, tail: &str) -> Vec<u8> {
        format!(r#"{{"id":"c{head}","choices":[{{"delta":{{"content":"{text}"}}{tail}}}]}}"#).into_bytes()
    }

    #[test]
    fn events_that_differ_in_their_text_go_the_short_way() {
        let tail = r#","finish_reason":null"#;
        let texts = ["a", "", " two", "漢", r"\n", "b", "\u{1}", "c"];
        let events: Vec<_> = texts.iter().map(|text| event("1", text, tail)).collect();
        assert_eq!(read_all(&events), 4, "two, the wide one, b and c");
        let ended = event("1", "x", r#","finish_reason":"length""#);
        assert_eq!(read_all(&[ended.clone(), ended]), 0);
    }

    #[test]
    fn what_looks_alike_but_means_something_else_does_not() {
        let first = event("1", "a", "");
        // The text's own bytes close the string and add a field.
        let closes = event("1", r#"a"},"finish_reason":"stop","x":{"y":"b"#, "");
        let mut cut = event("1", "漢", "");
        cut.retain(|byte| *byte != 0xbc);
        assert_eq!(read_all(&[first.clone(), closes, cut, event("2", "a", ""), first]), 0);
    }

    #[test]
    fn an_event_of_very_many_values_is_refused() {
        let event = format!(r#"{{"error":{{"message":"x"}},"y":[{}0]}}"#, "0,".repeat(100_000));
        let failure = ChunkReader::default().read(event.as_bytes()).expect_err("too many");
        assert!(
            failure
                .text
                .starts_with("an event of the answer is none of an engine's: it has too many parts")
        );
    }

    #[test]
    fn a_long_event_is_no_shape() {
        let long = event("1", &"x".repeat(SHAPE_BYTES_MAX), "");
        assert_eq!(read_all(&[long.clone(), long]), 0);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c ]{0,3}", r#"[ -~\\"éß漢😀]{0,6}"#, any::<String>()]
    }

    /// JSON as engines send it, and nearly so: any field may be there, escaped, empty, null or wrong.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let quoted = text().prop_map(|text| serde_json::Value::from(text).to_string());
        let raw = text().prop_map(|text| format!("\"{text}\""));
        let value = prop_oneof![4 => quoted, 2 => raw, 1 => Just("null".to_owned()), 1 => Just("7".to_owned())];
        let key = prop::sample::select(vec!["content", "reasoning_content", "reasoning", "refusal", "role"]);
        let field = (key, value).prop_map(|(key, value)| format!("\"{key}\":{value}"));
        let id = prop::sample::select(vec![r#""id":"x","#, r#""id":"\u0041","#, "", r#""id":null,"#]);
        let tail = prop::sample::select(vec![
            "",
            r#","finish_reason":null"#,
            r#","finish_reason":"stop""#,
            r#","text":"t""#,
        ]);
        let usage = prop::sample::select(vec![
            "",
            r#","usage":null"#,
            r#","usage":{"completion_tokens":2}"#,
            r#","id":"late""#,
        ]);
        (id, prop::collection::vec(field, 0..3), tail, usage).prop_map(|(id, fields, tail, usage)| {
            let delta = fields.join(",");
            format!(r#"{{{id}"choices":[{{"delta":{{{delta}}}{tail}}}]{usage}}}"#).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_one_says(events in prop::collection::vec(anything(), 1..12)) {
            read_all(&events);
        }

        #[test]
        fn damaged_bytes_too(events in prop::collection::vec(anything(), 2..4), at: prop::sample::Index, byte: u8) {
            let mut all = events.clone();
            for event in &events {
                let mut damaged = event.clone();
                let at = at.index(damaged.len());
                damaged[at] = byte;
                all.push(damaged);
            }
            read_all(&all);
        }
    }
}
