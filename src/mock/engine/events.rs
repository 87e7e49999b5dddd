//! The bytes of one answer: stream events in the form of vLLM's, or one JSON object.

use super::fault::{Faults, Field, Lines, Usage};
use super::http::push_chunk;
use crate::ledger::simulate::Sources;

const WORD: &str = " word";
/// Two, three and four bytes long, so that a split falls inside each.
const UTF8_WORD: &str = " \u{fc}\u{2713}\u{1f600}";

/// Everything that the bytes of an answer depend on.
#[derive(Clone, Debug)]
pub struct Shape {
    pub chat: bool,
    pub id: String,
    pub created_s: u64,
    pub model: String,
    pub tokens: u64,
    pub tokens_per_event: u64,
    pub usage: bool,
    pub sources: Sources,
    pub faults: Faults,
}

impl Shape {
    /// Token events in the stream.
    pub fn events(&self) -> u64 {
        self.tokens.div_ceil(self.tokens_per_event)
    }

    fn tokens_in(&self, event: u64) -> u64 {
        (self.tokens - event * self.tokens_per_event).min(self.tokens_per_event)
    }

    fn words(&self, count: u64) -> String {
        let word = if self.faults.utf8 { UTF8_WORD } else { WORD };
        word.repeat(usize::try_from(count).unwrap_or(0))
    }

    fn finish(&self, last: bool) -> &'static str {
        if last { "\"length\"" } else { "null" }
    }

    fn usage_json(&self, completion: u64) -> String {
        let prompt = self.sources.total();
        let total = prompt + completion;
        let cached = match self.faults.no_cached_tokens {
            true => String::new(),
            false => format!(
                ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}}",
                self.sources.cached()
            ),
        };
        format!("{{\"prompt_tokens\":{prompt},\"total_tokens\":{total},\"completion_tokens\":{completion}{cached}}}")
    }

    fn object(&self, choices: &str, usage: &str) -> String {
        let (id, created) = (&self.id, self.created_s);
        let model = serde_json::Value::from(self.model.as_str());
        let object = if self.chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        format!(
            "{{\"id\":\"{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":{model},\"choices\":[{choices}]{usage}}}"
        )
    }

    /// One event, with the lines before and after its data, in a chunk of its own.
    fn push_event(&self, out: &mut Vec<u8>, data: &str) {
        let end = match self.faults.lines {
            Lines::Lf => "\n",
            Lines::CrLf => "\r\n",
            Lines::Cr => "\r",
        };
        let ping = if self.faults.comments {
            format!(": ping{end}{end}")
        } else {
            String::new()
        };
        let name = if self.faults.event_lines {
            format!("event: message{end}id: 4{end}")
        } else {
            String::new()
        };
        let text = format!("{ping}{name}data: {data}{end}{end}");
        self.push_body(out, text.as_bytes());
    }

    /// A piece of the body, framed.
    pub fn push_body(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self.faults.until_close {
            true => out.extend_from_slice(bytes),
            false => push_chunk(out, bytes),
        }
    }

    /// The event that names the role; completions have none.
    pub fn push_role(&self, out: &mut Vec<u8>) {
        if self.chat {
            let choice =
                r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#;
            let usage = self.running_usage(0);
            self.push_event(out, &self.object(choice, &usage));
        }
    }

    fn running_usage(&self, completion: u64) -> String {
        match self.faults.usage {
            Usage::Every => format!(",\"usage\":{}", self.usage_json(completion)),
            _ => String::new(),
        }
    }

    /// Whether this event has the same bytes as all other plain ones, which are then made once.
    pub fn is_plain(&self, event: u64) -> bool {
        let special = [self.faults.malformed, self.faults.error_event];
        let own_field = !matches!(self.faults.field, Field::Content | Field::Empty);
        event + 1 < self.events()
            && !special.contains(&Some(event + 1))
            && self.faults.usage != Usage::Every
            && !(self.chat && own_field)
    }

    /// Token event `event`, counted from 0.
    pub fn push_tokens(&self, out: &mut Vec<u8>, event: u64) {
        if self.faults.malformed == Some(event + 1) {
            return self.push_event(out, "{\"id\":\"broken\",\"choices\":[{\"index\":0,\"delta\":");
        }
        if self.faults.error_event == Some(event + 1) {
            let error =
                r#"{"error":{"message":"the engine died","type":"InternalServerError","param":null,"code":500}}"#;
            return self.push_event(out, error);
        }
        let last = event + 1 == self.events();
        let words = self.words(self.tokens_in(event));
        let finish = self.finish(last);
        let choice = match self.chat {
            true => {
                let delta = self.delta(event, &words);
                format!("{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}")
            }
            false => {
                let text = if self.faults.field == Field::Empty { "" } else { &words };
                format!("{{\"index\":0,\"text\":\"{text}\",\"logprobs\":null,\"finish_reason\":{finish}}}")
            }
        };
        let usage = match self.faults.usage {
            Usage::InLast if last => format!(",\"usage\":{}", self.usage_json(self.tokens)),
            _ => self.running_usage(self.tokens.min((event + 1) * self.tokens_per_event)),
        };
        self.push_event(out, &self.object(&choice, &usage));
    }

    fn delta(&self, event: u64, words: &str) -> String {
        let thinking = event < self.events() / 2;
        match self.faults.field {
            Field::ReasoningContent if thinking => format!("{{\"reasoning_content\":\"{words}\"}}"),
            Field::Reasoning if thinking => format!("{{\"reasoning\":\"{words}\"}}"),
            Field::ReasoningEmptyContent if thinking => {
                format!("{{\"content\":\"\",\"reasoning_content\":\"{words}\"}}")
            }
            Field::Empty => "{\"content\":\"\"}".to_owned(),
            Field::ToolCalls => {
                format!("{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{words}\"}}}}]}}")
            }
            _ => format!("{{\"content\":\"{words}\"}}"),
        }
    }

    /// Whether an event of its own carries the usage.
    pub fn has_usage_event(&self) -> bool {
        self.usage && self.faults.usage == Usage::Own
    }

    pub fn push_usage(&self, out: &mut Vec<u8>) {
        let usage = format!(",\"usage\":{}", self.usage_json(self.tokens));
        self.push_event(out, &self.object("", &usage));
    }

    pub fn push_done(&self, out: &mut Vec<u8>) {
        if !self.faults.no_done {
            self.push_event(out, "[DONE]");
        }
    }

    /// The answer without a stream.
    pub fn whole(&self) -> String {
        let (id, created) = (&self.id, self.created_s);
        let model = serde_json::Value::from(self.model.as_str());
        let words = self.words(self.tokens);
        let words = if self.faults.field == Field::Empty { "" } else { &words };
        let (object, choice) = match self.chat {
            true => (
                "chat.completion",
                format!("\"message\":{{\"role\":\"assistant\",\"content\":\"{words}\"}}"),
            ),
            false => ("text_completion", format!("\"text\":\"{words}\"")),
        };
        let usage = match self.faults.usage {
            Usage::Absent => String::new(),
            _ => format!(",\"usage\":{}", self.usage_json(self.tokens)),
        };
        format!(
            "{{\"id\":\"{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":0,\
             {choice},\"logprobs\":null,\"finish_reason\":\"length\"}}]{usage}}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn shape(faults: &str) -> Shape {
        Shape {
            chat: true,
            id: "chatcmpl-1".into(),
            created_s: 5,
            model: "a \"quoted\" model".into(),
            tokens: 5,
            tokens_per_event: 2,
            usage: true,
            sources: Sources {
                hbm: 16,
                computed: 4,
                ..Sources::default()
            },
            faults: Faults::parse(&format!("until-close,{faults}")).unwrap(),
        }
    }

    fn data(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_stream_has_every_token_once_and_says_so() {
        let shape = shape("");
        let mut out = Vec::new();
        shape.push_role(&mut out);
        for event in 0..shape.events() {
            shape.push_tokens(&mut out, event);
        }
        shape.push_usage(&mut out);
        let events = data(&out);
        assert_eq!(events.len(), 5);
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        let text: Vec<&str> = events[1..4]
            .iter()
            .map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap())
            .collect();
        assert_eq!(text.concat(), " word word word word word");
        assert_eq!(events[2]["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
        assert_eq!(events[4]["choices"], serde_json::json!([]));
        assert_eq!(events[4]["usage"]["completion_tokens"], 5);
        assert_eq!(events[4]["usage"]["prompt_tokens"], 20);
        assert_eq!(events[4]["usage"]["prompt_tokens_details"]["cached_tokens"], 16);
    }

    #[test]
    fn plain_events_are_equal() {
        for faults in [
            "",
            "malformed=2",
            "usage-every",
            "reasoning",
            "usage-in-last",
            "crlf",
            "error-event=1",
        ] {
            let shape = shape(faults);
            let plain: Vec<Vec<u8>> = (0..shape.events())
                .filter(|event| shape.is_plain(*event))
                .map(|event| {
                    let mut out = Vec::new();
                    shape.push_tokens(&mut out, event);
                    out
                })
                .collect();
            assert!(plain.windows(2).all(|pair| pair[0] == pair[1]), "{faults}");
        }
        assert!(shape("").is_plain(1) && !shape("").is_plain(2) && !shape("reasoning").is_plain(1));
    }

    #[test]
    fn the_whole_answer_is_one_object() {
        let value: Value = serde_json::from_str(&shape("").whole()).unwrap();
        assert_eq!(value["model"], "a \"quoted\" model");
        assert_eq!(value["choices"][0]["message"]["content"], " word word word word word");
        assert_eq!(value["usage"]["total_tokens"], 25);
        let value: Value = serde_json::from_str(&shape("no-cached-tokens").whole()).unwrap();
        assert_eq!(
            value["usage"],
            serde_json::json!({"prompt_tokens": 20, "total_tokens": 25, "completion_tokens": 5})
        );
    }
}
