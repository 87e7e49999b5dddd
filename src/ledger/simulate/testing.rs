//! Phases recorded on vLLM 0.32.0 and LMCache 0.5.6, for tests: prompts, stamps, counters, and the events of a simulation
//! that explained them.

use std::path::Path;

use serde_json::Value;

use super::{Catalog, Prompt, Settings, Stack, Vllm};

pub const SERIES: [&str; 4] = ["chat", "hbm-large", "hbm-small", "l1-small-l2"];

/// Phases that follow each other on the same servers.
pub struct Series {
    pub block_tokens: usize,
    pub blocks: u32,
    pub chunk_tokens: usize,
    pub settings: Settings,
    pub phases: Vec<Recorded>,
}

pub struct Recorded {
    pub name: String,
    pub json: Value,
    pub requests: Vec<RecordedRequest>,
}

pub struct RecordedRequest {
    pub prompt: Prompt,
    /// Seconds since the phase began.
    pub sent_s: f64,
    pub first_token_s: f64,
    pub done_s: f64,
    pub cached_tokens: u64,
}

pub enum Event {
    Tick,
    Admit(usize),
    Stored(usize),
    Freed(usize),
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn expanded(runs: &Value) -> Vec<u32> {
    let runs = runs.as_array().unwrap().iter();
    runs.flat_map(|run| vec![number(&run[0]) as u32; number(&run[1]) as usize])
        .collect()
}

impl Series {
    pub fn read(name: &str) -> Series {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/ledger/{name}.json"));
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let config = &json["config"];
        assert_eq!(config["l2_prefetch_policy"], "default");
        Series {
            block_tokens: number(&config["block_tokens"]) as usize,
            blocks: number(&config["usable_blocks"]) as u32,
            chunk_tokens: number(&config["chunk_tokens"]) as usize,
            settings: Settings {
                l1_chunks: Some(number(&config["l1_chunks"]) as u32),
                watermark: config["l1_watermark"].as_f64().unwrap(),
                ratio: config["l1_eviction_ratio"].as_f64().unwrap(),
                retain: false,
                l2_chunks: None,
            },
            phases: json["phases"].as_array().unwrap().iter().map(Recorded::read).collect(),
        }
    }

    /// The catalog, and the entries of the requests of each phase.
    pub fn catalog(&self) -> (Catalog, Vec<Vec<usize>>) {
        let prompts = self
            .phases
            .iter()
            .flat_map(|phase| phase.requests.iter().map(|request| &request.prompt));
        let (catalog, entries) = Catalog::new(self.block_tokens, self.chunk_tokens, prompts);
        let mut entries = entries.into_iter();
        let of_phases = self.phases.iter();
        let of_phases = of_phases.map(|phase| entries.by_ref().take(phase.requests.len()).collect());
        (catalog, of_phases.collect())
    }

    pub fn stack(&self, catalog: &Catalog) -> Stack {
        Stack::Vllm(Vllm::new(catalog, Some(self.blocks), Some(self.settings), 0))
    }
}

impl Recorded {
    fn read(json: &Value) -> Recorded {
        let requests = json["requests"].as_array().unwrap().iter();
        Recorded {
            name: json["name"].as_str().unwrap().to_owned(),
            json: json.clone(),
            requests: requests.map(RecordedRequest::read).collect(),
        }
    }

    /// The events of the simulation, in order.
    pub fn timeline(&self) -> Vec<Event> {
        let events = self.json["timeline"].as_array().unwrap().iter();
        events
            .map(|event| {
                let request = || number(&event[2]) as usize;
                match event[1].as_str().unwrap() {
                    "tick" => Event::Tick,
                    "admit" => Event::Admit(request()),
                    "stored" => Event::Stored(request()),
                    _ => Event::Freed(request()),
                }
            })
            .collect()
    }
}

impl RecordedRequest {
    fn read(json: &Value) -> RecordedRequest {
        let answer = json.get("answer_rle").map(expanded).unwrap_or_default();
        let seconds = |name: &str| json[name].as_f64().unwrap();
        RecordedRequest {
            prompt: Prompt {
                tokens: expanded(&json["tokens_rle"]).into(),
                answer: answer.into(),
                answer_tokens: number(&json["max_tokens"]),
            },
            sent_s: seconds("sent_s"),
            first_token_s: seconds("first_token_s"),
            done_s: seconds("done_s"),
            cached_tokens: number(&json["cached_tokens"]),
        }
    }
}
