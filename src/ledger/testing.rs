//! The recorded phases, for tests of several modules: pages of vLLM 0.32.0 and LMCache 0.5.6 before and after each phase, what was
//! asked, and what the ledger must say.

use serde_json::Value;

use super::balance::{Ledger, Prefetch, Settings, Usage};
use super::counters::{Moment, Page};

const FILES: [&str; 6] = [
    include_str!("../../tests/golden/ledger/chat.json"),
    include_str!("../../tests/golden/ledger/hbm-large.json"),
    include_str!("../../tests/golden/ledger/hbm-small.json"),
    include_str!("../../tests/golden/ledger/l1-small-l2.json"),
    include_str!("../../tests/golden/ledger/preempt-abort.json"),
    include_str!("../../tests/golden/ledger/restart-retain.json"),
];

/// A phase as it was recorded: the pages before and after it, and what was asked.
#[derive(Clone)]
pub struct Phase {
    pub name: String,
    pub engine: [String; 2],
    pub lmcache: [String; 2],
    pub usage: Usage,
    pub settings: Settings,
    /// What the ledger must say.
    pub ledger: Value,
}

pub fn phases() -> Vec<Phase> {
    let files = FILES.map(|text| serde_json::from_str::<Value>(text).unwrap());
    let phases = files.iter().flat_map(|file| {
        let phases = file["phases"].as_array().unwrap().iter();
        phases.map(|phase| Phase::of(&file["config"], phase))
    });
    phases.collect()
}

pub fn phase(name: &str) -> Phase {
    phases().into_iter().find(|phase| phase.name == name).unwrap()
}

impl Phase {
    fn of(config: &Value, phase: &Value) -> Phase {
        let page = |when: &str, server: &str| {
            let lines = phase[when][server].as_array().unwrap().iter();
            lines
                .map(|line| line.as_str().unwrap().to_owned() + "\n")
                .collect::<String>()
        };
        let retains = config["l2_prefetch_policy"] == "retain";
        Phase {
            name: phase["name"].as_str().unwrap().to_owned(),
            engine: ["before", "after"].map(|when| page(when, "engine")),
            lmcache: ["before", "after"].map(|when| page(when, "lmcache")),
            usage: usage(phase["requests"].as_array().unwrap()),
            settings: Settings {
                seconds: 60.0,
                chunk_tokens: config["chunk_tokens"].as_u64(),
                block_tokens: config["block_tokens"].as_u64(),
                ranks: Some(1),
                prefetch: if retains { Prefetch::Retained } else { Prefetch::Dropped },
                models: vec!["tiny".to_owned(), "/models/tiny".to_owned()],
            },
            ledger: phase["ledger"].clone(),
        }
    }

    /// The same with other texts for the engine's pages.
    pub fn with_engine(&self, edit: impl Fn(&str) -> String) -> Phase {
        Phase {
            engine: self.engine.each_ref().map(|page| edit(page)),
            ..self.clone()
        }
    }

    pub fn with_lmcache(&self, edit: impl Fn(&str) -> String) -> Phase {
        Phase {
            lmcache: self.lmcache.each_ref().map(|page| edit(page)),
            ..self.clone()
        }
    }

    pub fn moments(&self) -> [Moment; 2] {
        [0, 1].map(|at| {
            let engine = Page {
                url: "http://engine/metrics",
                text: &self.engine[at],
            };
            let lmcache = Page {
                url: "http://lmcache/metrics",
                text: &self.lmcache[at],
            };
            let (moment, problems) = Moment::read(&[engine], Some(lmcache));
            assert!(problems.is_empty(), "{}: {problems:?}", self.name);
            moment
        })
    }

    pub fn read(&self) -> Ledger {
        let [before, after] = self.moments();
        Ledger::between(&before, &after, &self.usage, &self.settings)
    }
}

/// Requests without an answer have no stamps.
fn usage(requests: &[Value]) -> Usage {
    let mut usage = Usage::default();
    for request in requests {
        if request["done_s"].is_null() {
            usage.failed += 1;
            continue;
        }
        usage.requests += 1;
        usage.with_prompt += 1;
        usage.prompt_tokens += request["prompt_tokens"].as_u64().unwrap();
        if let Some(cached) = request["cached_tokens"].as_u64() {
            usage.with_cached += 1;
            usage.cached_tokens += cached;
        }
    }
    usage
}

pub fn without(page: &str, name: &str) -> String {
    page.lines()
        .filter(|line| !line.starts_with(name))
        .map(|line| format!("{line}\n"))
        .collect()
}
