//! The bytes of a chat completion request, as the reference's client (OpenAI's for Python) writes them.

use crate::engine::config::EngineConfig;

/// Builds bodies with the fields model, stream, messages, max_tokens, stream_options, temperature, in this order.
#[derive(Clone)]
pub struct Bodies {
    /// Up to the list of messages.
    before_messages: Vec<u8>,
    after_max_tokens: String,
}

/// One message: its role and its content.
pub type Message<'a> = (&'static str, &'a str);

/// Room for the bytes of a body besides model and messages, and of a message besides its content.
const OVERHEAD_BYTES: usize = 200;
const MESSAGE_OVERHEAD_BYTES: usize = 40;

impl Bodies {
    pub fn new(config: &EngineConfig) -> Bodies {
        let mut before_messages = br#"{"model":"#.to_vec();
        push_string(&mut before_messages, &config.model);
        before_messages.extend_from_slice(br#","stream":true,"messages":["#);
        let every_event = if config.usage_per_event {
            r#","continuous_usage_stats":true"#
        } else {
            ""
        };
        let ignoring = if config.ignore_eos { r#","ignore_eos":true"# } else { "" };
        Bodies {
            before_messages,
            after_max_tokens: format!(
                r#","stream_options":{{"include_usage":true{every_event}}},"temperature":0.0{ignoring}}}"#
            ),
        }
    }

    pub fn build<'a>(&self, messages: impl Iterator<Item = Message<'a>> + Clone, max_tokens: u64) -> Vec<u8> {
        let contents: usize = messages
            .clone()
            .map(|(_, content)| content.len() + MESSAGE_OVERHEAD_BYTES)
            .sum();
        let mut body = Vec::with_capacity(self.before_messages.len() + contents + OVERHEAD_BYTES);
        body.extend_from_slice(&self.before_messages);
        for (at, (role, content)) in messages.enumerate() {
            body.extend_from_slice(if at == 0 { b"{\"role\":" } else { b",{\"role\":" });
            push_string(&mut body, role);
            body.extend_from_slice(b",\"content\":");
            push_string(&mut body, content);
            body.push(b'}');
        }
        body.extend_from_slice(format!("],\"max_tokens\":{max_tokens}{}", self.after_max_tokens).as_bytes());
        body
    }

    /// A body with one user message.
    pub fn user(&self, content: &str, max_tokens: u64) -> Vec<u8> {
        self.build([("user", content)].into_iter(), max_tokens)
    }
}

/// A JSON string in which only what must be escaped is escaped.
fn push_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("text into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::config;

    #[test]
    fn bytes_are_the_reference_clients() {
        let config = config(&["--workload", "random-prefill", "--model", "m/\u{e9}"]);
        let body = Bodies::new(&config).user("a\"b\\c\n\u{1}\u{7f}\u{2028}/\u{10ffff}", 7);
        let expected = "{\"model\":\"m/\u{e9}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\
                        \"a\\\"b\\\\c\\n\\u0001\u{7f}\u{2028}/\u{10ffff}\"}],\"max_tokens\":7,\
                        \"stream_options\":{\"include_usage\":true},\"temperature\":0.0}";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn ignoring_the_end_of_text_is_the_last_field() {
        let config = config(&["--workload", "random-prefill", "--ignore-eos"]);
        let body = String::from_utf8(Bodies::new(&config).user("x", 1)).unwrap();
        assert!(body.ends_with(",\"temperature\":0.0,\"ignore_eos\":true}"), "{body}");
    }

    #[test]
    fn a_count_with_every_event_is_asked_for_only_on_demand() {
        let config = config(&["--workload", "random-prefill", "--usage-per-event"]);
        let body = String::from_utf8(Bodies::new(&config).user("x", 1)).unwrap();
        let wanted = r#""stream_options":{"include_usage":true,"continuous_usage_stats":true},"temperature":0.0}"#;
        assert!(body.ends_with(wanted), "{body}");
    }
}
