//! The bytes of a completion request, as the reference's client (OpenAI's for Python) writes them for a chat.

use super::extra_body;
use crate::engine::args::Endpoint;
use crate::engine::config::EngineConfig;
use crate::engine::template_kwargs::TemplateKwargs;

/// Builds bodies with the fields model, stream, messages (or prompt), max_tokens, stream_options, temperature, in this order.
#[derive(Clone)]
pub struct Bodies {
    endpoint: Endpoint,
    /// Up to the messages or the prompt.
    before_messages: Vec<u8>,
    after_max_tokens: String,
}

/// What is between the contents of two messages that become one prompt.
pub const BETWEEN_CONTENTS: &str = "\n\n";

/// One message: its role and its content.
pub type Message<'a> = (&'static str, &'a str);

/// Room for the bytes of a body besides model and messages, and of a message besides its content.
const OVERHEAD_BYTES: usize = 200;
const MESSAGE_OVERHEAD_BYTES: usize = 40;

impl Bodies {
    pub fn new(config: &EngineConfig) -> Bodies {
        Bodies::with_template_kwargs(config, &TemplateKwargs::default())
    }

    /// With variables for the chat template in every body, if there are any.
    pub fn with_template_kwargs(config: &EngineConfig, kwargs: &TemplateKwargs) -> Bodies {
        let mut before_messages = br#"{"model":"#.to_vec();
        push_string(&mut before_messages, &config.model);
        before_messages.extend_from_slice(br#","stream":true,"#);
        let every_event = if config.usage_per_event {
            r#","continuous_usage_stats":true"#
        } else {
            ""
        };
        let ignoring = if config.ignore_eos { r#","ignore_eos":true"# } else { "" };
        let kwargs = match kwargs.is_empty() {
            true => String::new(),
            false => format!(r#","chat_template_kwargs":{}"#, kwargs.compact()),
        };
        let extra = config.extra_body.as_deref().map(extra_body::fields).unwrap_or_default();
        let comma = if extra.is_empty() { "" } else { "," };
        Bodies {
            endpoint: config.endpoint,
            before_messages,
            after_max_tokens: format!(
                r#","stream_options":{{"include_usage":true{every_event}}},"temperature":0.0{kwargs}{ignoring}{comma}{extra}}}"#
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
        match self.endpoint {
            Endpoint::Chat => push_messages(&mut body, messages),
            Endpoint::Completions => {
                body.extend_from_slice(b"\"prompt\":");
                push_joined(&mut body, messages.map(|(_, content)| content));
            }
        }
        body.extend_from_slice(format!(",\"max_tokens\":{max_tokens}{}", self.after_max_tokens).as_bytes());
        body
    }

    /// A chat body with a JSON array of messages as it is.
    pub fn with_messages(&self, messages: &str, max_tokens: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.before_messages.len() + messages.len() + OVERHEAD_BYTES);
        body.extend_from_slice(&self.before_messages);
        body.extend_from_slice(b"\"messages\":");
        body.extend_from_slice(messages.as_bytes());
        body.extend_from_slice(format!(",\"max_tokens\":{max_tokens}{}", self.after_max_tokens).as_bytes());
        body
    }

    /// A body with one user message.
    pub fn user(&self, content: &str, max_tokens: u64) -> Vec<u8> {
        self.build([("user", content)].into_iter(), max_tokens)
    }
}

fn push_messages<'a>(body: &mut Vec<u8>, messages: impl Iterator<Item = Message<'a>>) {
    body.extend_from_slice(b"\"messages\":[");
    for (at, (role, content)) in messages.enumerate() {
        body.extend_from_slice(if at == 0 { b"{\"role\":" } else { b",{\"role\":" });
        push_string(body, role);
        body.extend_from_slice(b",\"content\":");
        push_string(body, content);
        body.push(b'}');
    }
    body.push(b']');
}

/// One JSON string with all the contents. A single one, however long, is not copied first.
fn push_joined<'a>(body: &mut Vec<u8>, mut contents: impl Iterator<Item = &'a str>) {
    let first = contents.next().unwrap_or_default();
    let Some(second) = contents.next() else {
        return push_string(body, first);
    };
    let mut joined = [first, second].join(BETWEEN_CONTENTS);
    for content in contents {
        joined.push_str(BETWEEN_CONTENTS);
        joined.push_str(content);
    }
    push_string(body, &joined);
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
    fn the_completions_endpoint_gets_one_prompt_of_all_contents() {
        let config = config(&["--workload", "random-prefill", "--endpoint", "completions"]);
        let bodies = Bodies::new(&config);
        let text = |body| String::from_utf8(body).unwrap();
        let one = text(bodies.user("a\"b", 7));
        let rest = r#""max_tokens":7,"stream_options":{"include_usage":true},"temperature":0.0}"#;
        assert_eq!(one, format!(r#"{{"model":"m","stream":true,"prompt":"a\"b",{rest}"#));
        let messages = [("system", "s"), ("user", "u\n"), ("assistant", ""), ("user", "v")];
        let joined = text(bodies.build(messages.into_iter(), 7));
        assert_eq!(
            joined,
            format!(r#"{{"model":"m","stream":true,"prompt":"s\n\nu\n\n\n\n\nv",{rest}"#)
        );
    }

    #[test]
    fn extra_fields_are_the_last_and_keep_their_bytes() {
        let line = ["--workload", "random-prefill", "--ignore-eos", "--extra-body"];
        for (extra, tail) in [
            (
                r#" {"top_p": 1e0, "x":[{}]} "#,
                r#","ignore_eos":true,"top_p": 1e0, "x":[{}]}"#,
            ),
            ("{ }", r#","ignore_eos":true}"#),
        ] {
            let config = config(&[&line[..], &[extra]].concat());
            let body = String::from_utf8(Bodies::new(&config).user("x", 1)).unwrap();
            assert!(body.ends_with(tail), "{body}");
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
        }
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
