//! The interactive mode: asks for required settings, general ones and those of the workload, then shows a summary. Returns what
//! the user chose to do with them.

use serde_json::Value;

use super::items::{GENERAL, Item, REQUIRED, needs_cache_size, workload_items};
use crate::engine::args::{EngineArgs, WorkloadName};
use crate::engine::workload::descriptor::Input;
use crate::python::number::{float, int};
use crate::report::prompt::{Ended, Heading, Prompter, Reply};

/// What to do with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    Export,
    Quit,
}

const ACTIONS: [(&str, &str); 3] = [
    ("start", "Run the benchmark now"),
    ("export", "Write a config file and end"),
    ("quit", "End without running"),
];
const GATE: [(&str, &str); 2] = [
    ("use defaults", "Take the defaults"),
    ("configure", "Ask for each setting"),
];
const CONFIGURE: usize = 1;
const SERVER_TITLE: &str = "LMCache Server";
const SERVER_ABOUT: &str = "Is an LMCache server running? It knows how large the KV cache of a token is.";

/// A group of optional settings that is skipped or asked for as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    General,
    Workload,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Item(Item),
    HasServer,
    Gate(Section),
}

/// The settings so far, and the answered questions.
pub struct Interview {
    pub args: EngineArgs,
    /// Settings in the order in which they were given, which is their order in an exported file.
    pub order: Vec<Item>,
    has_server: Option<bool>,
    gates: Vec<(Section, bool)>,
    /// Answered questions, to go back to.
    trail: Vec<Question>,
}

impl Interview {
    pub fn new(args: &EngineArgs) -> Interview {
        let given = REQUIRED.iter().chain(GENERAL).copied();
        let given = given.chain(workload_items(args.workload));
        Interview {
            order: given.filter(|item| item.is_set(args)).collect(),
            has_server: args.lmcache_url.as_ref().map(|_| true),
            args: args.clone(),
            gates: Vec::new(),
            trail: Vec::new(),
        }
    }

    /// Asks until an action is chosen.
    pub fn run(&mut self, prompter: &mut Prompter) -> Result<Action, Ended> {
        loop {
            let back = !self.trail.is_empty();
            let went_back = match self.next_question() {
                Some(question) => self.ask(question, back, prompter)?,
                None => {
                    prompter.summary("Configuration Summary", &self.summary())?;
                    let heading = heading("What would you like to do?", "", back);
                    match prompter.choose(&heading, &ACTIONS, 0)? {
                        Reply::Value(0) => return Ok(Action::Start),
                        Reply::Value(1) => return Ok(Action::Export),
                        Reply::Value(_) => return Ok(Action::Quit),
                        Reply::Back => true,
                    }
                }
            };
            if went_back {
                self.step_back();
            }
        }
    }

    /// The next unanswered question. Depends only on the answers, so a withdrawn answer is asked for again.
    fn next_question(&self) -> Option<Question> {
        self.required_question().or_else(|| {
            // What has no default may be left out, so there is nothing to ask.
            let unset = |items: Vec<Item>| {
                let has_default = |item: &Item| item.default_text().or(item.with_server).is_some();
                let mut items = items.into_iter();
                items.find(|item| has_default(item) && !item.is_set(&self.args))
            };
            let of_workload = workload_items(self.args.workload);
            [(Section::General, GENERAL.to_vec()), (Section::Workload, of_workload)]
                .into_iter()
                .find_map(|(section, items)| match (unset(items), self.gate(section)) {
                    (Some(_), None) => Some(Question::Gate(section)),
                    (Some(item), Some(true)) => Some(Question::Item(item)),
                    _ => None,
                })
        })
    }

    fn required_question(&self) -> Option<Question> {
        let args = &self.args;
        let sized = args.tokens_per_gb_kvcache.is_some() || !needs_cache_size(args);
        for &item in REQUIRED {
            let wanted = match item.flag {
                "lmcache-url" if !sized && self.has_server.is_none() => return Some(Question::HasServer),
                "lmcache-url" => !sized && self.has_server == Some(true),
                "tokens-per-gb-kvcache" => !sized && !self.asks_server(),
                _ => true,
            };
            if wanted && !item.is_set(args) {
                return Some(Question::Item(item));
            }
        }
        let mut of_workload = workload_items(args.workload).into_iter();
        let missing = of_workload.find(|item| item.required && !item.is_set(args));
        missing.map(Question::Item)
    }

    fn asks_server(&self) -> bool {
        self.args.lmcache_url.as_ref().is_some_and(|url| !url.is_empty())
    }

    fn gate(&self, section: Section) -> Option<bool> {
        self.gates.iter().find(|(of, _)| *of == section).map(|(_, open)| *open)
    }

    /// Asks one question and stores the answer. Returns true if the user went back instead.
    fn ask(&mut self, question: Question, back: bool, prompter: &mut Prompter) -> Result<bool, Ended> {
        match question {
            Question::HasServer => match prompter.yes_no(&heading(SERVER_TITLE, SERVER_ABOUT, back), true)? {
                Reply::Value(has) => self.has_server = Some(has),
                Reply::Back => return Ok(true),
            },
            Question::Gate(section) => {
                let (title, about) = self.gate_heading(section);
                match prompter.choose(&heading(&title, &about, back), &GATE, 0)? {
                    Reply::Value(choice) => self.gates.push((section, choice == CONFIGURE)),
                    Reply::Back => return Ok(true),
                }
            }
            Question::Item(item) => {
                let text = match ask_item(item, self.asks_server(), back, prompter)? {
                    Reply::Value(text) => text,
                    Reply::Back => return Ok(true),
                };
                let set = self.args.set(item.flag, &text);
                if let Some(Err(why)) = set {
                    prompter.remark(&format!("{why}."))?;
                    return Ok(false);
                }
                self.order.push(item);
            }
        }
        self.trail.push(question);
        Ok(false)
    }

    fn gate_heading(&self, section: Section) -> (String, String) {
        let skipped = "The defaults are taken otherwise.";
        match section {
            Section::General => (
                "General settings".to_string(),
                format!("Set the model, the KV cache volume and the like?\n{skipped}"),
            ),
            Section::Workload => (
                format!(
                    "Workload settings ({})",
                    self.args.workload.map_or("none", WorkloadName::text)
                ),
                format!("Set what only this workload has?\n{skipped}"),
            ),
        }
    }

    fn step_back(&mut self) {
        match self.trail.pop() {
            Some(Question::Item(item)) => {
                self.args.clear(&item.key());
                self.order.retain(|given| given.flag != item.flag);
            }
            Some(Question::HasServer) => self.has_server = None,
            Some(Question::Gate(section)) => self.gates.retain(|(of, _)| *of != section),
            None => {}
        }
    }

    fn summary(&self) -> Vec<(String, String)> {
        let asks_server = self.asks_server();
        let required = REQUIRED.iter().filter(|item| match item.flag {
            "lmcache-url" => asks_server,
            "tokens-per-gb-kvcache" => !asks_server,
            _ => true,
        });
        let of_workload = workload_items(self.args.workload).into_iter();
        let (own_required, others): (Vec<Item>, Vec<Item>) = of_workload.partition(|item| item.required);
        let items = required.copied().chain(own_required);
        let items = items.chain(GENERAL.iter().copied()).chain(others);
        items
            .map(|item| (item.title.to_string(), shown(&item, &self.args)))
            .collect()
    }
}

fn heading<'a>(title: &'a str, about: &'a str, back: bool) -> Heading<'a> {
    Heading { title, about, back }
}

/// A value as Python would print it.
fn shown(item: &Item, args: &EngineArgs) -> String {
    match item.value_or_default(args) {
        Some(Value::Bool(on)) => if on { "True" } else { "False" }.to_string(),
        Some(Value::String(text)) if text.is_empty() && item.flag == "model" => "(auto-detect)".to_string(),
        Some(Value::String(text)) if !text.is_empty() => text,
        Some(value @ Value::Number(_)) => value.to_string(),
        _ => "(not set)".to_string(),
    }
}

/// Asks for one setting. The reply is the text that would be typed after its flag.
fn ask_item(item: Item, has_server: bool, back: bool, prompter: &mut Prompter) -> Result<Reply<String>, Ended> {
    let heading = heading(item.title, item.about, back);
    let default = item.with_server.filter(|_| has_server).or(item.default_text());
    match item.input {
        Input::Text => prompter.text(&heading, default.unwrap_or_default()),
        Input::Url => Ok(match prompter.text(&heading, default.unwrap_or_default())? {
            Reply::Value(answer) => Reply::Value(full_url(&answer)),
            Reply::Back => Reply::Back,
        }),
        Input::Int => prompter.number(
            &heading,
            default,
            |text| int(text).is_ok(),
            "Please enter a valid integer.",
        ),
        Input::Float => prompter.number(
            &heading,
            default,
            |text| float(text).is_ok(),
            "Please enter a valid number.",
        ),
        Input::YesNo => Ok(match prompter.yes_no(&heading, default == Some("on"))? {
            Reply::Value(on) => Reply::Value(if on { "on" } else { "off" }.to_string()),
            Reply::Back => Reply::Back,
        }),
        Input::Choice(about) => choose(item, about, &heading, prompter),
    }
}

fn choose(
    item: Item,
    about: &'static [&'static str],
    heading: &Heading,
    prompter: &mut Prompter,
) -> Result<Reply<String>, Ended> {
    let names = item.spec().choices;
    let choices: Vec<(&str, &str)> = names.iter().copied().zip(about.iter().copied()).collect();
    let selected = names
        .iter()
        .position(|&name| Some(name) == item.default_text())
        .unwrap_or(0);
    Ok(match prompter.choose(heading, &choices, selected)? {
        Reply::Back => Reply::Back,
        Reply::Value(at) => Reply::Value(names[at].to_string()),
    })
}

/// Completes a port or a host to a URL.
fn full_url(answer: &str) -> String {
    if answer.is_empty() || answer.contains("://") {
        return answer.to_string();
    }
    if answer.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("http://localhost:{answer}");
    }
    format!("http://{answer}")
}
