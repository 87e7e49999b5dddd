//! The settings of config files and of the interactive mode, in LMCache's order: required and general ones here, the others in
//! the workloads. Types, choices and defaults are those of the flags of the same name.

use serde_json::Value;

use super::staircase::is_asked_for;
use crate::cli::flag::{FlagSpec, Kind, Preset};
use crate::engine::args::{EngineArgs, WorkloadName};
use crate::engine::flags::TABLE;
use crate::engine::workload;
use crate::engine::workload::descriptor::Input;

/// A setting with the texts of its question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// The flag without its leading dashes.
    pub flag: &'static str,
    /// LMCache's title of the question; scripts match on it.
    pub title: &'static str,
    /// Sentences below the title, lines of about 75 characters.
    pub about: &'static str,
    pub input: Input,
    /// The value of an empty answer, where it is not the flag's default.
    pub default: Option<&'static str>,
    /// Whether no run of its workload goes without it.
    pub required: bool,
    /// The value of an empty answer when there is an LMCache server.
    pub with_server: Option<&'static str>,
}

impl Item {
    const fn new(flag: &'static str, title: &'static str, input: Input, about: &'static str) -> Item {
        Item {
            flag,
            title,
            about,
            input,
            default: None,
            required: false,
            with_server: None,
        }
    }

    const fn with_default(mut self, text: &'static str) -> Item {
        self.default = Some(text);
        self
    }

    /// Its name in config files.
    pub fn key(&self) -> String {
        self.flag.replace('-', "_")
    }

    pub fn spec(&self) -> &'static FlagSpec {
        let found = TABLE.flags.iter().find(|row| row.spec.long == self.flag);
        &found.expect("a test looks up every item's flag").spec
    }

    /// The value of an empty answer as text; `None` where an answer is required.
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
        args.value(&self.key()).is_some()
    }

    /// The value or else the default, as in a config file; `None` where there is neither.
    pub fn value_or_default(&self, args: &EngineArgs) -> Option<Value> {
        args.value(&self.key()).or_else(|| {
            let mut defaults = EngineArgs::default();
            let set = defaults.set(self.flag, self.default_text()?);
            set.and_then(Result::ok)?;
            defaults.value(&self.key())
        })
    }
}

/// The required settings. The question whether there is an LMCache server comes before that for its address.
pub const REQUIRED: &[Item] = &[
    Item::new(
        "engine-url",
        "Engine URL",
        Input::Url,
        "Where the engine listens. A port alone means this machine. A key goes into OPENAI_API_KEY.",
    )
    .with_default("http://localhost:8000"),
    Item::new(
        "workload",
        "Workload",
        Input::Choice(&workload::ABOUTS),
        "What is sent to the engine.",
    ),
    Item::new(
        "lmcache-url",
        "LMCache Server URL",
        Input::Url,
        "Its HTTP address. A port alone means this machine.",
    )
    .with_default("http://localhost:8080"),
    Item::new(
        "tokens-per-gb-kvcache",
        "Tokens per GB KV cache",
        Input::Int,
        "How many tokens one GB of KV cache holds for the model. vLLM logs both parts at its \
         start:\n  tokens of the GPU KV cache, divided by the GiB that are available to it.",
    ),
];

pub const GENERAL: &[Item] = &[
    Item::new(
        "model",
        "Model name",
        Input::Text,
        "As the engine serves it. Empty: the first that the engine lists.",
    )
    .with_default(""),
    Item::new(
        "kv-cache-volume",
        "KV cache volume (GB)",
        Input::Float,
        "How much KV cache the requests fill.",
    ),
    Item::new(
        "ignore-eos",
        "Ignore EOS",
        Input::YesNo,
        "Let answers go on to their full length. vLLM and SGLang understand it.",
    ),
    Item::new(
        "no-warmup",
        "Skip warmup",
        Input::YesNo,
        "Measure from the first request on, against a cold cache.",
    ),
];

/// The settings of one workload that are asked for and exported.
pub fn workload_items(name: Option<WorkloadName>) -> Vec<Item> {
    let flags = name.map_or(&[][..], |name| name.descriptor().flags);
    let asked = flags.iter().filter(|flag| !flag.title.is_empty());
    let items = asked.map(|flag| Item {
        required: flag.required,
        with_server: flag.with_server,
        ..Item::new(flag.row.spec.long, flag.title, flag.input, flag.about)
    });
    items.collect()
}

/// Whether the tokens per GB are among the required settings; they are until a workload is chosen that does without.
pub fn needs_cache_size(args: &EngineArgs) -> bool {
    !is_asked_for(args) && args.workload.is_none_or(|name| name.descriptor().needs_cache_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::workload::WORKLOADS;

    fn all() -> Vec<Item> {
        let of_workloads = WORKLOADS
            .iter()
            .flat_map(|workload| workload_items(Some(workload.name())));
        REQUIRED.iter().chain(GENERAL).copied().chain(of_workloads).collect()
    }

    #[test]
    fn every_item_is_a_flag_of_its_kind() {
        for item in all() {
            let spec = item.spec();
            let fits = match item.input {
                Input::YesNo => spec.kind == Kind::Switch,
                // Workloads that LMCache does not have are not in the menu.
                Input::Choice(about) if item.flag == "workload" => spec.choices.len() >= about.len(),
                Input::Choice(about) => spec.choices.len() == about.len(),
                _ => spec.kind == Kind::Value && spec.choices.is_empty(),
            };
            assert!(fits, "{}", item.flag);
            for text in item.default_text().into_iter().chain(item.with_server) {
                let set = EngineArgs::default().set(item.flag, text);
                assert_eq!(set, Some(Ok(())), "{}", item.flag);
            }
        }
    }

    #[test]
    fn every_workload_flag_with_a_question_is_an_item() {
        let items = all();
        let mut others = Vec::new();
        for flag in WORKLOADS.iter().flat_map(|workload| workload.flags) {
            let long = flag.row.spec.long;
            let is_item = items.iter().any(|item| item.flag == long);
            assert_eq!(is_item, !flag.title.is_empty(), "--{long}");
            others.extend((!is_item).then_some(long));
        }
        assert_eq!(others, ["rag-template-kwargs", "rag-output"]);
    }

    #[test]
    fn defaults_are_values() {
        let args = EngineArgs::default();
        let of = |flag: &str| {
            all()
                .into_iter()
                .find(|item| item.flag == flag)
                .unwrap()
                .value_or_default(&args)
        };
        assert_eq!(of("kv-cache-volume"), Some(Value::from(100.0)));
        assert_eq!(of("no-warmup"), Some(Value::from(false)));
        assert_eq!(of("ldqa-shuffle-policy"), Some(Value::from("random")));
        assert_eq!(of("tokens-per-gb-kvcache"), None);
    }
}
