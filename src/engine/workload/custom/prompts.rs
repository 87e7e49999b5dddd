//! The requests of a file of prompts, each made when it is needed.

use super::DESCRIPTOR;
use super::intake::{Content, Loaded};
use super::lengths::synthetic;
use crate::engine::workload::body::Bodies;
use crate::engine::workload::window::{Counts, Sequence};
use crate::engine::workload::{Conclusion, Phase, Request, WorkloadWarning};
use crate::report::banner::Banner;

/// Bytes of a body besides its prompt, about.
const BODY_OVERHEAD_BYTES: u64 = 200;
/// Bytes of one filler word with its blank.
const FILLER_WORD_BYTES: u64 = 3;

pub(super) struct Prompts {
    pub bodies: Bodies,
    /// Of the file, for people.
    pub path: String,
    pub in_flight: u64,
    /// With at least one item.
    pub loaded: Loaded,
    /// What the file showed before the run.
    pub warnings: Vec<WorkloadWarning>,
}

impl Prompts {
    /// Mean size of a body.
    pub(super) fn body_bytes(&self) -> usize {
        let bytes = self.loaded.items.iter().map(|item| match &item.content {
            Content::Prompt(text) | Content::Messages(text) => text.len() as u64,
            Content::Synthetic(words) => words * FILLER_WORD_BYTES,
        });
        (bytes.sum::<u64>() / self.loaded.items.len() as u64 + BODY_OVERHEAD_BYTES) as usize
    }

    pub(super) fn id(&self, number: usize) -> String {
        let kind = if self.loaded.is_list { "entry" } else { "line" };
        format!("{kind}_{}", self.loaded.items[number].place)
    }

    pub(super) fn make(&self, number: usize) -> Request {
        let item = &self.loaded.items[number];
        let max_tokens = u64::from(item.max_tokens);
        let body = match &item.content {
            Content::Prompt(text) => self.bodies.user(text, max_tokens),
            Content::Messages(messages) => self.bodies.with_messages(messages, max_tokens),
            Content::Synthetic(words) => self.bodies.user(&synthetic(item.place, *words), max_tokens),
        };
        Request::new(self.id(number), body, max_tokens)
    }

    pub(super) fn conclusion(&mut self) -> Conclusion {
        Conclusion {
            warnings: std::mem::take(&mut self.warnings),
            ..Conclusion::default()
        }
    }
}

impl Sequence for Prompts {
    fn banner(&self) -> Banner {
        let loaded = &self.loaded;
        let lengths = || loaded.items.iter().map(|item| item.max_tokens);
        let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
        let answers = if least == most {
            least.to_string()
        } else {
            format!("{least}-{most}")
        };
        let mut banner = Banner::new(DESCRIPTOR.name, 18)
            .line("Prompts file", &self.path, "")
            .line("Requests", loaded.items.len(), "");
        if loaded.sessions > 0 {
            banner = banner.line("Sessions", loaded.sessions, "");
        }
        banner = banner
            .line("Max output", answers, "tokens")
            .line("Max inflight", self.in_flight, "");
        if loaded.skipped > 0 {
            banner = banner.line("Left out", loaded.skipped, "conversations");
        }
        if !loaded.ignored.is_empty() {
            let keys: Vec<&str> = loaded.ignored.iter().map(String::as_str).collect();
            let others = if loaded.ignores_others { "and others" } else { "" };
            banner = banner.line("Keys not used", keys.join(", "), others);
        }
        banner
    }

    fn counts(&self) -> Counts {
        let items = &self.loaded.items;
        let tokens: u64 = items.iter().map(|item| u64::from(item.max_tokens)).sum();
        Counts {
            warmup: 0,
            warmup_in_flight: 1,
            measured: items.len() as u64,
            in_flight: self.in_flight,
            tokens_per_answer: tokens.div_ceil(items.len() as u64),
        }
    }

    fn request(&mut self, _: Phase, number: u64) -> Request {
        self.make(number as usize)
    }

    fn conclude(&mut self, _: bool) -> Conclusion {
        self.conclusion()
    }
}
