//! The request bodies of chat completions, completions, tokenize and detokenize.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Unexpected, Visitor};

use super::http::Refusal;
use super::tokens::Tokenizer;

/// Most tokens that one answer may have.
pub const ANSWER_TOKENS_MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
pub struct Body {
    pub model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<Prompt>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    ignore_eos: Option<bool>,
    add_generation_prompt: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug)]
enum Content {
    Text(String),
    /// Parts without a text are left out.
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    /// The first of them, and whether there are more.
    Texts(String, bool),
}

/// One element of a prompt that is a list.
enum Element {
    Token(u32),
    Text(String),
}

// By hand, because untagged enums keep a list whole before they look at it, at many times the memory of its text.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Content, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element::<Part>()? {
            parts.extend(Some(part).filter(|part| part.text.is_some()));
        }
        Ok(Content::Parts(parts))
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Prompt, D::Error> {
        from.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of token numbers or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Prompt, E> {
        Ok(Prompt::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompt, A::Error> {
        let mut tokens = match list.next_element()? {
            None => Vec::new(),
            Some(Element::Token(token)) => vec![token],
            Some(Element::Text(first)) => {
                let mut several = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    several = true;
                }
                return Ok(Prompt::Texts(first, several));
            }
        };
        while let Some(token) = list.next_element()? {
            tokens.push(token);
        }
        Ok(Prompt::Tokens(tokens))
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Element, D::Error> {
        from.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl Visitor<'_> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token number or a text")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Element, E> {
        let token = u32::try_from(number);
        token
            .map(Element::Token)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element::Text(text.to_owned()))
    }
}

/// The body of detokenize, in vLLM's form.
#[derive(Debug, Deserialize)]
pub struct Ids {
    pub model: Option<String>,
    pub tokens: Vec<u32>,
}

impl Ids {
    pub fn parse(bytes: &[u8]) -> Result<Ids, Refusal> {
        parsed(bytes)
    }
}

fn parsed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|cause| Refusal(400, format!("the body is not as expected: {cause}")))
}

/// Ids of the tokens that a chat template would add, above every vocabulary.
const ROLE_TOKEN: u32 = 0xffff_ff00;
const END_TOKEN: u32 = 0xffff_ff01;
const ANSWER_TOKEN: u32 = 0xffff_ff02;

impl Body {
    pub fn parse(bytes: &[u8]) -> Result<Body, Refusal> {
        parsed(bytes)
    }

    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub fn wants_usage(&self) -> bool {
        self.stream_options
            .as_ref()
            .and_then(|options| options.include_usage)
            .unwrap_or(false)
    }

    /// Usage in every event, as in vLLM and SGLang, which ignore the option without `include_usage`.
    pub fn wants_running_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        let continuous = options.and_then(|options| options.continuous_usage_stats);
        continuous.unwrap_or(false) && self.wants_usage()
    }

    /// Tokens to answer with: what was asked for, or `default`; at most `eos_after` unless that is to be ignored.
    pub fn answer_tokens(&self, default: u64, eos_after: Option<u64>) -> Result<u64, Refusal> {
        let asked = self.max_completion_tokens.or(self.max_tokens).unwrap_or(default);
        if asked == 0 || asked > ANSWER_TOKENS_MAX {
            return Err(Refusal(
                400,
                format!("max_tokens must be 1 to {ANSWER_TOKENS_MAX}, got {asked}"),
            ));
        }
        Ok(match eos_after {
            Some(end) if !self.ignore_eos.unwrap_or(false) => asked.min(end),
            _ => asked,
        })
    }

    /// The texts of the prompt in order; they may hold faults for the mock.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = Vec::new();
        for message in self.messages.iter().flatten() {
            match &message.content {
                Some(Content::Text(text)) => texts.push(text),
                Some(Content::Parts(parts)) => texts.extend(parts.iter().filter_map(|part| part.text.as_deref())),
                None => {}
            }
        }
        match &self.prompt {
            Some(Prompt::Text(text)) => texts.push(text),
            Some(Prompt::Texts(first, _)) => texts.push(first),
            Some(Prompt::Tokens(_)) | None => {}
        }
        texts
    }

    /// The tokens of the prompt. A chat's messages get one token before and one after each, and one token opens the
    /// answer: what a template costs, in its simplest form.
    pub fn prompt_tokens(&self, chat: bool, tokenizer: &Tokenizer) -> Result<Vec<u32>, Refusal> {
        let mut tokens = Vec::new();
        if chat {
            let messages = self.messages.as_ref().filter(|messages| !messages.is_empty());
            let messages = messages.ok_or_else(|| Refusal(400, "messages is missing or empty".into()))?;
            for message in messages {
                // Two roles give two numbers, so that a prompt is not taken for another with the same words.
                tokens.push(ROLE_TOKEN - message.role.len().min(200) as u32);
                match &message.content {
                    Some(Content::Text(text)) => tokenizer.push(text, &mut tokens),
                    Some(Content::Parts(parts)) => {
                        for text in parts.iter().filter_map(|part| part.text.as_deref()) {
                            tokenizer.push(text, &mut tokens);
                        }
                    }
                    None => {}
                }
                tokens.push(END_TOKEN);
            }
            if self.add_generation_prompt.unwrap_or(true) {
                tokens.push(ANSWER_TOKEN);
            }
            return Ok(tokens);
        }
        match &self.prompt {
            Some(Prompt::Text(text)) => tokenizer.push(text, &mut tokens),
            Some(Prompt::Tokens(numbers)) => tokens.extend_from_slice(numbers),
            Some(Prompt::Texts(only, false)) => tokenizer.push(only, &mut tokens),
            Some(Prompt::Texts(..)) => return Err(Refusal(400, "one prompt a request, please".into())),
            None => return Err(Refusal(400, "prompt is missing".into())),
        }
        match tokens.is_empty() {
            true => Err(Refusal(400, "the prompt is empty".into())),
            false => Ok(tokens),
        }
    }

    /// What tokenize counts, which may be nothing.
    pub fn counted_tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, Refusal> {
        match &self.prompt {
            Some(Prompt::Text(text)) if text.is_empty() => Ok(Vec::new()),
            _ => self.prompt_tokens(self.has_messages(), tokenizer),
        }
    }

    /// Whether tokenize was asked about messages.
    fn has_messages(&self) -> bool {
        self.messages.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body::parse(text.as_bytes()).unwrap()
    }

    fn count(text: &str, chat: bool) -> usize {
        body(text).prompt_tokens(chat, &Tokenizer::Words).unwrap().len()
    }

    #[test]
    fn prompts_come_in_several_forms() {
        assert_eq!(count(r#"{"messages":[{"role":"user","content":"hi hi"}]}"#, true), 5);
        assert_eq!(
            count(
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi hi"}]}]}"#,
                true
            ),
            5
        );
        assert_eq!(
            count(
                r#"{"messages":[{"role":"user","content":null}],"add_generation_prompt":false}"#,
                true
            ),
            2
        );
        assert_eq!(count(r#"{"prompt":"hi hi"}"#, false), 2);
        assert_eq!(count(r#"{"prompt":[5,6,7]}"#, false), 3);
        assert_eq!(count(r#"{"prompt":["hi"]}"#, false), 1);
        for (text, chat) in [
            (r#"{"messages":[]}"#, true),
            ("{}", true),
            ("{}", false),
            (r#"{"prompt":""}"#, false),
            (r#"{"prompt":["a","b"]}"#, false),
            (r#"{"prompt":[]}"#, false),
        ] {
            assert_eq!(
                body(text).prompt_tokens(chat, &Tokenizer::Words).unwrap_err().0,
                400,
                "{text}"
            );
        }
        for text in [
            "{",
            r#"{"prompt":[1,"a"]}"#,
            r#"{"prompt":[-1]}"#,
            r#"{"prompt":[4294967296]}"#,
            r#"{"prompt":{}}"#,
        ] {
            assert_eq!(Body::parse(text.as_bytes()).unwrap_err().0, 400, "{text}");
        }
    }

    #[test]
    fn the_length_of_the_answer_is_bounded() {
        let asked = |text: &str| body(text).answer_tokens(16, Some(5));
        assert_eq!(asked("{}"), Ok(5));
        assert_eq!(asked(r#"{"max_tokens":3}"#), Ok(3));
        assert_eq!(asked(r#"{"max_tokens":9,"ignore_eos":true}"#), Ok(9));
        assert_eq!(asked(r#"{"max_tokens":9,"max_completion_tokens":2}"#), Ok(2));
        assert!(asked(r#"{"max_tokens":0}"#).is_err());
        assert!(asked(r#"{"max_tokens":1048577}"#).is_err());
    }
}
