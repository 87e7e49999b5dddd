//! The `example` adapter: a set of keys in memory. Nothing is copied; lookups find what was stored.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::field::{self, Fields};
use super::registry::{AdapterConfig, AdapterType};
use crate::l2::adapter::{Adapter, Capabilities, Completion, Environment, IoPath, Operation, Outcome, Submit, Task};
use crate::l2::keys::ObjectKey;
use crate::report::warning::Warning;

pub const TYPE: AdapterType = AdapterType::new("example", &["max_keys"], |fields| Ok(Arc::new(parse(fields)?)));

#[derive(Clone, Debug, PartialEq)]
pub struct ExampleConfig {
    pub max_keys: u64,
}

fn parse(fields: &Fields) -> Result<ExampleConfig, String> {
    let max_keys = field::positive_int(fields, "max_keys", Some(1 << 20))?;
    Ok(ExampleConfig { max_keys })
}

impl AdapterConfig for ExampleConfig {
    fn open(&self, _environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Ok(Box::new(ExampleAdapter {
            capabilities: Capabilities {
                class_name: "ExampleL2Adapter",
                keeps_data: false,
                storage_path: None,
            },
            max_keys: self.max_keys,
            keys: HashSet::new(),
            done: VecDeque::new(),
        }))
    }
}

struct ExampleAdapter {
    capabilities: Capabilities,
    max_keys: u64,
    keys: HashSet<ObjectKey>,
    done: VecDeque<Completion>,
}

impl Adapter for ExampleAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn prepare(&mut self, _operation: Operation) -> Result<IoPath, String> {
        Ok(IoPath::new("set in memory", 1))
    }

    fn submit(&mut self, mut task: Task) -> Submit {
        let submitted = Instant::now();
        for item in &mut task.items {
            item.outcome = match task.operation {
                Operation::Store if self.keys.len() as u64 >= self.max_keys => {
                    Outcome::Failed("the example is full; raise max_keys".to_owned())
                }
                Operation::Store if self.keys.insert(item.key.clone()) => Outcome::Stored,
                Operation::Store => Outcome::AlreadyThere,
                Operation::Lookup if self.keys.contains(&item.key) => Outcome::Found,
                Operation::Load if self.keys.contains(&item.key) => Outcome::Loaded,
                Operation::Lookup | Operation::Load => Outcome::Missing,
            };
        }
        self.done.push_back(task.complete(submitted, Instant::now()));
        Submit::Queued
    }

    fn wait(&mut self, _timeout: Duration) -> Option<Completion> {
        self.done.pop_front()
    }

    fn unlock(&mut self, _keys: &[ObjectKey]) {}

    fn cancel(&mut self) {}

    fn take_warnings(&mut self) -> Vec<Warning> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
