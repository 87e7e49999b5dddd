//! How many tokens a chat template puts before the text of a user: by the template of the local tokenizer, or by the engine.

use super::Tokenizer;
use super::remote::EngineTokenizer;
use crate::engine::template_kwargs::TemplateKwargs;
use crate::error::Error;

/// Two texts that begin with different tokens.
const CONTENTS: [&str; 2] = ["@@", "||"];

#[derive(Debug, PartialEq, Eq)]
pub struct ChatPrefix {
    /// Without the variables of the run, as LMCache counts them; 0 where they are not known.
    pub tokens: u64,
    pub doubt: Option<Doubt>,
}

/// Why the engine may put another number of tokens there.
#[derive(Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Neither the local tokenizer nor the engine told.
    Unknown(String),
    /// With the run's variables for the template there are as many.
    Kwargs(u64),
    /// The engine counts as many, with the variables.
    Engine(u64),
}

impl Tokenizer {
    /// The local template comes first, so that the same files give the same prompts with every engine.
    pub fn chat_prefix(&self, kwargs: &TemplateKwargs) -> Result<ChatPrefix, Error> {
        let plain = TemplateKwargs::default();
        let engine = match self {
            Tokenizer::Local(local) => local.engine(),
            Tokenizer::Engine(engine) => Some(&**engine),
            Tokenizer::Words(_) => None,
        };
        let by_engine = |kwargs: &TemplateKwargs| match engine {
            Some(engine) => engine.chat_prefix(kwargs),
            None => Err("there is no engine to ask".to_owned()),
        };
        let head = match self {
            Tokenizer::Local(local) => local.chat_head(&plain),
            _ => Err("there is no local chat template".to_owned()),
        };
        let (tokens, with_kwargs) = match (&head, self) {
            (Ok(head), Tokenizer::Local(local)) => {
                let with_kwargs = local.chat_head(kwargs).ok().map(|head| self.count(&head));
                (self.count(head)?, with_kwargs.transpose()?)
            }
            _ => match by_engine(&plain) {
                Ok(tokens) => (tokens, by_engine(kwargs).ok()),
                Err(also) => {
                    let why = head.err().unwrap_or_default();
                    return Ok(ChatPrefix {
                        tokens: 0,
                        doubt: Some(Doubt::Unknown(format!("{why}; {also}"))),
                    });
                }
            },
        };
        let doubt = match with_kwargs {
            Some(with_kwargs) if with_kwargs != tokens => Some(Doubt::Kwargs(with_kwargs)),
            _ => by_engine(kwargs)
                .ok()
                .filter(|there| *there != tokens)
                .map(Doubt::Engine),
        };
        Ok(ChatPrefix { tokens, doubt })
    }
}

impl EngineTokenizer {
    /// By the ids that two prompts have in common.
    fn chat_prefix(&self, kwargs: &TemplateKwargs) -> Result<u64, String> {
        let ids = |content| self.chat_ids(content, kwargs).map_err(|fault| fault.to_string());
        let [one, other] = [ids(CONTENTS[0])?, ids(CONTENTS[1])?];
        let common = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        // An engine that does not know messages may answer both with the same.
        if common == one.len().min(other.len()) {
            let root = self.root();
            return Err(format!("{root}/tokenize does not apply a chat template"));
        }
        Ok(common as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::testing::{Answer, server};
    use super::*;
    use crate::engine::api_key::engine_key;
    use crate::engine::testing::golden;
    use crate::engine::tokens::LocalTokenizer;

    /// The recorded answer of vLLM to a message `@@`; the other content has other ids in the places of its two.
    fn vllm(path: &str, question: &Value, before: u64) -> Answer {
        let text = std::fs::read_to_string(golden("tokenize-replies.json")).unwrap();
        let replies: Value = serde_json::from_str(&text).unwrap();
        let mut replies = replies["replies"].as_array().unwrap().iter();
        let reply = replies
            .find(|reply| reply["request"].get("messages").is_some())
            .unwrap();
        assert_eq!(path, reply["path"]);
        assert_eq!(question["messages"][0]["role"], "user");
        assert_eq!(question["add_special_tokens"], false);
        let mut tokens = reply["reply"]["tokens"].as_array().unwrap().clone();
        if question["messages"][0]["content"] != "@@" {
            (tokens[6], tokens[7]) = (json!(91), json!(91));
        }
        let more = question["chat_template_kwargs"]["more"].as_u64().unwrap_or(0) + before;
        (0..more).for_each(|_| tokens.insert(0, json!(5)));
        (200, json!({"count": tokens.len(), "tokens": tokens}))
    }

    fn engine(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Arc<EngineTokenizer> {
        let url = server(answer);
        Arc::new(EngineTokenizer::unasked(&url, "m", &engine_key("k".into())))
    }

    fn local(folder: &str, engine: Option<Arc<EngineTokenizer>>) -> Tokenizer {
        let mut local = LocalTokenizer::load(&golden(folder)).unwrap();
        if let Some(engine) = engine {
            local.beside(engine);
        }
        Tokenizer::Local(local)
    }

    fn prefix(tokenizer: &Tokenizer, kwargs: &[&str]) -> ChatPrefix {
        let kwargs = TemplateKwargs::parse(kwargs.iter().copied()).unwrap();
        tokenizer.chat_prefix(&kwargs).unwrap()
    }

    #[test]
    fn an_engine_tells_it_by_two_prompts() {
        let tokenizer = Tokenizer::Engine(engine(|path, question| vllm(path, question, 0)));
        assert_eq!(prefix(&tokenizer, &[]), ChatPrefix { tokens: 6, doubt: None });
        let with = prefix(&tokenizer, &["more=3"]);
        assert_eq!(
            with,
            ChatPrefix {
                tokens: 6,
                doubt: Some(Doubt::Kwargs(9))
            }
        );
    }

    #[test]
    fn the_local_template_counts_and_the_engine_confirms_it() {
        // <|bos|>, then "user" and LF in bytes.
        let alone = prefix(&local("words-tokenizer", None), &["x=true"]);
        let tokens = alone.tokens;
        assert_eq!((tokens > 2, alone.doubt), (true, None));
        let before = move |more: u64| engine(move |path, question| vllm(path, question, more));
        let same = prefix(&local("words-tokenizer", Some(before(tokens - 6))), &[]);
        assert_eq!(same, ChatPrefix { tokens, doubt: None });
        let other = prefix(&local("words-tokenizer", Some(before(tokens - 5))), &[]);
        assert_eq!(other.doubt, Some(Doubt::Engine(tokens + 1)));
        let without_template = prefix(&local("tiny-tokenizer", Some(before(0))), &[]);
        assert_eq!(without_template, ChatPrefix { tokens: 6, doubt: None });
    }

    #[test]
    fn nobody_may_know_it() {
        let nothing = |answer: Value| engine(move |_, _| (200, answer.clone()));
        for (tokenizer, why) in [
            (local("tiny-tokenizer", None), "there is no chat template in "),
            (
                Tokenizer::Engine(nothing(json!({"tokens": []}))),
                "does not apply a chat template",
            ),
            (
                Tokenizer::Engine(nothing(json!({"tokens": [1, 2]}))),
                "does not apply a chat template",
            ),
            (Tokenizer::Engine(nothing(json!({"detail": "Not Found"}))), "Not Found"),
            (local("tiny-tokenizer", Some(engine(|_, _| (404, json!({}))))), "404"),
        ] {
            let found = prefix(&tokenizer, &[]);
            match found.doubt {
                Some(Doubt::Unknown(told)) => assert!(found.tokens == 0 && told.contains(why), "{told}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
