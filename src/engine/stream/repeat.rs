//! A fast path through an answer's events, nearly all of which equal an earlier one except for their text. Other events are
//! parsed as JSON by `chunk`, and so is every event that becomes the new template. Both paths give the same result.

use std::borrow::Cow;
use std::ops::Range;

use super::chunk::{self, Chunk};
use crate::engine::failure::Failure;

/// Longer events are always parsed as JSON, so that a thousand streams need little memory.
const TEMPLATE_BYTES_MAX: usize = 4 << 10;

/// Parses the events of one answer, in order.
#[derive(Debug, Default)]
pub struct ChunkReader {
    /// An earlier event whose text has no escapes; empty until there is one.
    template: Vec<u8>,
    /// Where its text is, which is not empty.
    text: Range<usize>,
    /// Where the answer's id is, before the text.
    id: Option<Range<usize>>,
    has_output: bool,
}

impl ChunkReader {
    /// The same result as `chunk::parse`.
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

    /// The text of an event that equals the template in every other byte.
    fn text_of<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        if self.template.is_empty() {
            return None;
        }
        let before = &self.template[..self.text.start];
        let after = &self.template[self.text.end..];
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        // Without quotes and backslashes the text ends where the template's does, and the rest of the JSON means the same.
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
            impossible_count: None,
        }
    }

    /// Only an event with nothing but text becomes the template: no usage, no finish reason.
    fn learn(&mut self, data: &[u8], chunk: &Chunk<'_>) {
        if data.len() > TEMPLATE_BYTES_MAX || chunk.finish_reason.is_some() || chunk.usage.is_some() {
            return;
        }
        let Some(Cow::Borrowed(text)) = chunk.piece else {
            return;
        };
        let id = match chunk.id {
            Some(Cow::Borrowed(id)) => Some(range_in(data, id)),
            Some(Cow::Owned(_)) => return,
            None => None,
        };
        let text = range_in(data, text);
        if text.is_empty() || id.as_ref().is_some_and(|id| id.end > text.start) {
            return;
        }
        self.template.clear();
        self.template.extend_from_slice(data);
        (self.text, self.id, self.has_output) = (text, id, chunk.has_output);
    }
}

/// The range of `part` within `data`, from which it was borrowed.
fn range_in(data: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - data.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `events` in order, compares each with `chunk::parse`, and returns how many took the fast path.
    fn read_all(events: &[Vec<u8>]) -> usize {
        let mut reader = ChunkReader::default();
        let mut fast = 0;
        for data in events {
            fast += usize::from(reader.text_of(data).is_some());
            let shown = format!("{:?}", String::from_utf8_lossy(data));
            assert_eq!(reader.read(data).ok(), chunk::parse(data).ok(), "{shown}");
        }
        fast
    }

    fn event(head: &str, text: &str, tail: &str) -> Vec<u8> {
        format!(r#"{{"id":"c{head}","choices":[{{"delta":{{"content":"{text}"}}{tail}}}]}}"#).into_bytes()
    }

    #[test]
    fn events_that_differ_in_their_text_take_the_fast_path() {
        let tail = r#","finish_reason":null"#;
        let texts = ["a", "", " two", "漢", r"\n", "b", "\u{1}", "c"];
        let events: Vec<_> = texts.iter().map(|text| event("1", text, tail)).collect();
        assert_eq!(read_all(&events), 4, "two, the wide one, b and c");
        let ended = event("1", "x", r#","finish_reason":"length""#);
        assert_eq!(read_all(&[ended.clone(), ended]), 0);
    }

    #[test]
    fn similar_events_with_another_meaning_do_not() {
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
    fn a_long_event_is_not_a_template() {
        let long = event("1", &"x".repeat(TEMPLATE_BYTES_MAX), "");
        assert_eq!(read_all(&[long.clone(), long]), 0);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c ]{0,3}", r#"[ -~\\"éß漢😀]{0,6}"#, any::<String>()]
    }

    /// JSON as engines send it, or nearly: any field may be present, escaped, empty, null or of a wrong type.
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
        fn both_paths_give_the_same_result(events in prop::collection::vec(anything(), 1..12)) {
            read_all(&events);
        }

        #[test]
        fn damaged_events_too(events in prop::collection::vec(anything(), 2..4), at: prop::sample::Index, byte: u8) {
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
