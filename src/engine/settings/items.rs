//! Which settings a config file holds and the interactive mode asks for, in the reference's order. Types, choices and
//! defaults are those of the flags of the same name. Must never ask or write anything.

use serde_json::Value;

use crate::cli::flag::{FlagSpec, Kind, Preset};
use crate::engine::flags::{EngineArgs, TABLE, WorkloadName};

mod table;

pub use table::{GENERAL, RAG_DATASET, REQUIRED, workload_items};

/// What a setting is for people. `key` is its name in config files; the flag has dashes instead of underscores.
#[derive(Debug, PartialEq)]
pub struct Item {
    pub key: &'static str,
    pub title: &'static str,
    /// Sentences below the title, lines of about 75 characters.
    pub about: &'static str,
    pub input: Input,
    /// What an empty answer means, where that is not the flag's default.
    pub default: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    Text,
    /// Text that may be a port or a host.
    Url,
    Int,
    Float,
    YesNo,
    /// Each with a few words about it, in the order of the flag's choices.
    Choice(&'static [&'static str]),
}

impl Item {
    /// The flag's name without dashes in front.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    pub fn spec(&self) -> &'static FlagSpec {
        let flag = self.flag();
        let found = TABLE.flags.iter().find(|row| row.spec.long == flag);
        &found.expect("a test looks up every item's flag").spec
    }

    /// What an empty answer means, as text; nothing where an answer is needed.
    pub fn default_text(&self) -> Option<&'static str> {
        let spec = self.spec();
        let preset = match spec.preset {
            Preset::Text(text) => Some(text),
            Preset::Unset(_) if spec.kind == Kind::Switch => Some("off"),
            Preset::Unset(_) => None,
        };
        self.default.or(preset)
    }

    pub fn is_set(&self, args: &EngineArgs) -> bool {
        args.value(self.key).is_some()
    }

    /// What is set, or the default, as a config file holds it; nothing where there is neither.
    pub fn value_or_default(&self, args: &EngineArgs) -> Option<Value> {
        args.value(self.key).or_else(|| {
            let mut defaults = EngineArgs::default();
            let set = defaults.set(&self.flag(), self.default_text()?);
            set.and_then(Result::ok)?;
            defaults.value(self.key)
        })
    }
}

/// Whether the engine's address and the workload suffice without this workload's own required setting.
pub fn is_rag(args: &EngineArgs) -> bool {
    args.workload == Some(WorkloadName::RagQaQuality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static Item> {
        let of_workloads = WorkloadName::ALL.into_iter().flat_map(workload_items);
        REQUIRED
            .iter()
            .chain([&RAG_DATASET])
            .chain(GENERAL)
            .chain(of_workloads)
            .collect()
    }

    #[test]
    fn every_item_is_a_flag_of_its_kind() {
        for item in all() {
            let spec = item.spec();
            let fits = match item.input {
                Input::YesNo => spec.kind == Kind::Switch,
                Input::Choice(about) => spec.choices.len() == about.len(),
                _ => spec.kind == Kind::Value && spec.choices.is_empty(),
            };
            assert!(fits, "{}", item.key);
            if let Some(text) = item.default_text() {
                let set = EngineArgs::default().set(&item.flag(), text);
                assert_eq!(set, Some(Ok(())), "{}", item.key);
            }
        }
    }

    #[test]
    fn every_workload_flag_is_an_item() {
        let items = all();
        for spec in TABLE
            .specs()
            .iter()
            .filter(|spec| spec.group.title.starts_with("Workload"))
        {
            let key = spec.long.replace('-', "_");
            let left_out = ["rag_template_kwargs", "rag_output"].contains(&key.as_str());
            assert_ne!(items.iter().any(|item| item.key == key), left_out, "{key}");
        }
    }

    #[test]
    fn defaults_are_values() {
        let args = EngineArgs::default();
        let of = |key: &str| {
            all()
                .into_iter()
                .find(|item| item.key == key)
                .unwrap()
                .value_or_default(&args)
        };
        assert_eq!(of("kv_cache_volume"), Some(Value::from(100.0)));
        assert_eq!(of("no_warmup"), Some(Value::from(false)));
        assert_eq!(of("ldqa_shuffle_policy"), Some(Value::from("random")));
        assert_eq!(of("tokens_per_gb_kvcache"), None);
    }
}
