//! The tokens of answers, as far as the prompts that follow them show.

use std::sync::Arc;

use super::Request;
use crate::ledger::simulate::{Catalog, Prompt, Sent};

/// Followers of a prompt that are looked at.
const FOLLOWERS_MAX: usize = 256;
/// Any length does: it is for comparing prompts only.
const UNIT: usize = 64;

/// Fills in the answers of requests whose prompt with its answer is the beginning of a later prompt, as in a conversation:
/// the tokens behind the prompt in the first such one are the answer. The engine may have made other tokens of the same text.
pub fn with_answers(requests: &mut [Request]) {
    let alone: Vec<Prompt> = requests
        .iter()
        .map(|request| Prompt::of(Arc::clone(&request.prompt.tokens)))
        .collect();
    let (catalog, entries) = Catalog::new(UNIT, UNIT, alone.iter());
    let mut of_entries: Vec<Vec<usize>> = vec![Vec::new(); catalog.entries.len()];
    for (request, entry) in entries.iter().enumerate() {
        of_entries[*entry].push(request);
    }
    let in_order: Vec<Sent> = catalog.places().collect();
    for (number, entry) in entries.iter().enumerate() {
        let prompt = Sent {
            entry: *entry,
            with_answer: false,
        };
        let length = catalog.length(prompt);
        // Prompts that begin with this one come directly behind it.
        let place = catalog.place(prompt) as usize;
        let followers = in_order[place + 1..].iter().take(FOLLOWERS_MAX);
        let followers = followers.take_while(|follower| catalog.common(prompt, **follower) == length);
        let later = followers.flat_map(|follower| &of_entries[follower.entry]);
        let later = later.filter(|later| requests[**later].sent_ns >= requests[number].done_ns);
        let Some(next) = later.min_by_key(|later| requests[**later].sent_ns) else {
            continue;
        };
        let tokens = Arc::clone(&requests[*next].prompt.tokens);
        let wanted = usize::try_from(requests[number].prompt.answer_tokens).unwrap_or(usize::MAX);
        requests[number].prompt.answer = tokens[length..].iter().take(wanted).copied().collect();
    }
}
