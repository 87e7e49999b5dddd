//! The token ids of whole prompts, which decide what cache tiers can serve. The engine that answered a prompt is asked for them,
//! after the measured time. Where it cannot be asked, stand-ins are made from the text: they have the same prefixes in common,
//! but not at the same token.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::remote::{EngineTokenizer, Fault};
use super::reply;

/// More than any model's context.
pub const PROMPT_IDS_MAX: usize = 8 << 20;
/// Bytes in a token of English text, where no answer says how many a prompt has.
const BYTES_PER_TOKEN: f64 = 4.0;

pub type Ids = Arc<[u32]>;

impl EngineTokenizer {
    /// The ids of the prompt of a request, by the body of that request.
    pub fn prompt_ids(&self, body: &[u8]) -> Result<Vec<u32>, Fault> {
        let body: Value = serde_json::from_slice(body).map_err(|why| Fault::Refused(format!("a body: {why}")))?;
        if let Some(ids) = given_ids(&body) {
            return Ok(ids);
        }
        // Fields that vLLM's endpoint for requests and the one for tokens both know, with the same defaults.
        let mut question = json!({"model": body["model"]});
        for field in [
            "messages",
            "prompt",
            "tools",
            "chat_template_kwargs",
            "add_generation_prompt",
        ] {
            if let Some(value) = body.get(field) {
                question[field] = value.clone();
            }
        }
        self.ask("tokenize", &question, |answer| {
            Ok((answer.len(), reply::ids::<PROMPT_IDS_MAX>(answer)?))
        })
    }

    /// The ids of many prompts, each distinct one asked for once, at most for `within`. `tell` hears how many of how many are
    /// there. An error says why not all could be had.
    pub fn all_prompt_ids(
        &self,
        bodies: &[Arc<Vec<u8>>],
        within: Duration,
        mut tell: impl FnMut(usize, usize),
    ) -> Result<Vec<Ids>, String> {
        let begun = Instant::now();
        let mut known: HashMap<&[u8], Ids> = HashMap::new();
        let mut all = Vec::with_capacity(bodies.len());
        for (at, body) in bodies.iter().enumerate() {
            if let Some(ids) = known.get(body.as_slice()) {
                all.push(Arc::clone(ids));
                continue;
            }
            if begun.elapsed() > within {
                return Err(format!(
                    "{} told the tokens of {at} of {} prompts in {within:?}",
                    self.root(),
                    bodies.len()
                ));
            }
            let ids: Ids = self.prompt_ids(body).map_err(|fault| fault.to_string())?.into();
            known.insert(body, Arc::clone(&ids));
            all.push(ids);
            tell(at + 1, bodies.len());
        }
        Ok(all)
    }
}

/// Of a prompt that is a list of ids.
fn given_ids(body: &Value) -> Option<Vec<u32>> {
    let ids = body["prompt"].as_array()?.iter();
    ids.map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
        .collect()
}

/// Stand-ins for the ids: each prompt has as many as its answer said, `tokens`, or as its text suggests. Prompts that begin with
/// the same text begin with the same ids, up to a token or two for each part that the two have in common.
pub fn stand_ins(bodies: &[Arc<Vec<u8>>], tokens: &[Option<u64>]) -> Vec<Ids> {
    let mut of_body: HashMap<&[u8], Vec<u8>> = HashMap::new();
    for body in bodies {
        of_body.entry(body).or_insert_with(|| text(body));
    }
    let counted = bodies
        .iter()
        .zip(tokens)
        .filter_map(|(body, tokens)| Some((of_body[body.as_slice()].len(), (*tokens)?)));
    let (bytes, count) = counted.fold((0, 0), |(bytes, count), (more, tokens)| (bytes + more, count + tokens));
    let per_token = if count > 0 && bytes > 0 {
        bytes as f64 / count as f64
    } else {
        BYTES_PER_TOKEN
    };
    let prompts = bodies.iter().zip(tokens);
    prompts
        .map(|(body, tokens)| {
            let text = &of_body[body.as_slice()];
            let count = tokens.unwrap_or((text.len() as f64 / per_token).ceil() as u64);
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(PROMPT_IDS_MAX);
            (0..count).map(|at| stand_in(text, at, per_token)).collect()
        })
        .collect()
}

/// A number of the bytes that token `at` would have, and of its place behind the end of the text.
fn stand_in(text: &[u8], at: usize, per_token: f64) -> u32 {
    let edge = |token: usize| ((token as f64 * per_token) as usize).min(text.len());
    let mut hasher = DefaultHasher::new();
    text[edge(at)..edge(at + 1)].hash(&mut hasher);
    hasher.finish() as u32
}

/// What a chat template or a completion makes its prompt of, in order.
fn text(body: &[u8]) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut text = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        text.extend_from_slice(message["role"].as_str().unwrap_or_default().as_bytes());
        text.push(0);
        push_text(&message["content"], &mut text);
        text.push(0);
    }
    push_text(&body["prompt"], &mut text);
    text
}

/// A text, or the texts of a list of parts.
fn push_text(content: &Value, text: &mut Vec<u8>) {
    match content {
        Value::String(content) => text.extend_from_slice(content.as_bytes()),
        Value::Array(parts) => {
            for part in parts {
                let part = part.as_str().or(part["text"].as_str());
                text.extend_from_slice(part.unwrap_or_default().as_bytes());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &str) -> Arc<Vec<u8>> {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 1});
        Arc::new(body.to_string().into_bytes())
    }

    fn common(one: &[u32], other: &[u32]) -> usize {
        one.iter().zip(other).take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn stand_ins_have_the_counts_of_answers_and_the_prefixes_of_the_text() {
        let document: String = (0..500).map(|word| format!("word{word} ")).collect();
        let bodies = [
            body(&format!("{document}?")),
            body(&format!("{document}and more")),
            body(&document[..2000]),
        ];
        let counts = [Some(1000), Some(1002), None];
        let ids = stand_ins(&bodies, &counts);
        assert_eq!((ids[0].len(), ids[1].len()), (1000, 1002));
        // The shorter text has as many tokens as its bytes say.
        let per_token = document.len() as f64 / 1000.0;
        assert!(
            (ids[2].len() as f64 - 2000.0 / per_token).abs() < 5.0,
            "{}",
            ids[2].len()
        );
        assert!(common(&ids[0], &ids[1]) >= 995, "{}", common(&ids[0], &ids[1]));
        assert!(common(&ids[0], &ids[2]) + 5 >= ids[2].len());
        assert_eq!(stand_ins(&bodies[..1], &counts[..1])[0].len(), 1000);
    }

    #[test]
    fn a_prompt_of_ids_needs_no_question() {
        let body = json!({"prompt": [1, 2, 70_000]});
        assert_eq!(given_ids(&body), Some(vec![1, 2, 70_000]));
        assert_eq!(given_ids(&json!({"prompt": ["a"]})), None);
        assert_eq!(given_ids(&json!({"prompt": "a"})), None);
    }
}
