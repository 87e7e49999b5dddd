//! What a model's chat template puts before the text of a user: Jinja as transformers renders it, for one message. A template is
//! foreign text, so its length, its steps and the memory that they take are bounded; it can neither read files nor run code.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, Output};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::special::SpecialTokens;
use crate::engine::template_kwargs::{Kwarg, TemplateKwargs};
use crate::sys::whole_file;

const FILE_NAME: &str = "chat_template.jinja";
/// The longest known one, with tools in several languages, has some 30 kB.
const BYTES_MAX: u64 = 256 << 10;
/// minijinja reads an expression by recursion, down one level for each operator: 280 bytes in an optimized build, more in others.
const STACK_BYTES: usize = 512 << 20;
/// minijinja keeps columns in 16 bits and adds one to the last.
const LINE_BYTES_MAX: usize = 65_534;
/// Steps of a template, each some 64 bytes of memory at most; real ones take some thousand.
const FUEL: u64 = 1_000_000;
/// The text of one value. minijinja takes steps for a text after it has written it, and a list times a number is no longer than the
/// list until then.
const VALUE_BYTES_MAX: usize = 4 << 20;
const RECURSION_MAX: usize = 100;
/// In place of the user's text. It is in no template and does not merge with what is around it.
const SENTINEL: &str = "██SENTINEL██";
/// Parts of a date for `strftime_now`. One day for all runs, so that their prompts are equal; its text is as many tokens as that
/// of another day.
const DATE: [(char, &str); 12] = [
    ('d', "26"),
    ('m', "07"),
    ('y', "24"),
    ('Y', "2024"),
    ('b', "Jul"),
    ('B', "July"),
    ('a', "Fri"),
    ('A', "Friday"),
    ('H', "12"),
    ('M', "00"),
    ('S', "00"),
    ('%', "%"),
];

#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    /// `bos_token` and the like, with their texts.
    special: Vec<(String, String)>,
}

impl ChatTemplate {
    /// That of a model's folder: a file of its own, or else a field of its tokenizer_config.json.
    pub(crate) fn of_folder(folder: &Path, config: &SpecialTokens) -> Result<ChatTemplate, String> {
        let file = folder.join(FILE_NAME);
        let source = if file.is_file() {
            let bytes = whole_file::read(&file, BYTES_MAX)
                .map_err(|cause| format!("could not read {}: {cause}", file.display()))?;
            String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", file.display()))?
        } else {
            let source = config.chat_template().filter(|source| source.len() as u64 <= BYTES_MAX);
            let none = || format!("there is no chat template in {}", folder.display());
            source.ok_or_else(none)?.to_owned()
        };
        let special = config.named().map(|(name, text)| (name.to_owned(), text.to_owned()));
        Ok(ChatTemplate {
            source,
            special: special.collect(),
        })
    }

    /// One that is in no folder.
    #[cfg(any(test, fuzzing))]
    pub fn of_source(source: &str) -> ChatTemplate {
        ChatTemplate {
            source: source.to_owned(),
            special: vec![("bos_token".to_owned(), "<s>".to_owned())],
        }
    }

    /// The text before that of the user, for one message and an answer to come.
    pub fn head(&self, kwargs: &TemplateKwargs) -> Result<String, String> {
        if self.source.len() as u64 > BYTES_MAX {
            return Err(format!("the chat template has more than {} KiB", BYTES_MAX >> 10));
        }
        // The system gives memory only to the part of a stack that is used.
        thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            let started = builder.spawn_scoped(scope, || self.head_on_this_stack(kwargs));
            let started =
                started.map_err(|cause| format!("could not start a thread for the chat template: {cause}"))?;
            started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn head_on_this_stack(&self, kwargs: &TemplateKwargs) -> Result<String, String> {
        let rendered = self.render(kwargs).map_err(|error| {
            let line = error.line().map_or(String::new(), |line| format!(" in line {line}"));
            format!("the chat template could not be rendered: {error}{line}")
        })?;
        let head = rendered.split(SENTINEL).next().unwrap_or_default();
        Ok(head.to_owned())
    }

    fn render(&self, kwargs: &TemplateKwargs) -> Result<String, Error> {
        if self.source.split('\n').any(|line| line.len() > LINE_BYTES_MAX) {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_formatter(|out, _, value| write_value(out, value));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format));
        let message = BTreeMap::from([("role", "user"), ("content", SENTINEL)]);
        let special = self
            .special
            .iter()
            .map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let given = kwargs.iter().map(|(key, value)| (key.as_str(), variable(value)));
        let fixed = [
            ("messages", Value::from(vec![Value::from(message)])),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(true)),
        ];
        let context: BTreeMap<&str, Value> = special.chain(fixed).chain(given).collect();
        environment.render_str(&without_generation_tags(&self.source), Value::from(context))
    }
}

fn write_value(out: &mut Output, value: &Value) -> Result<(), Error> {
    let mut out = Limited {
        out,
        left: VALUE_BYTES_MAX,
    };
    // A list goes on to its end when its text can no longer be written.
    let too_many = value.as_object().is_some() && value.len().is_some_and(|items| items > VALUE_BYTES_MAX);
    let written = if too_many {
        Err(fmt::Error)
    } else {
        write!(out, "{value}")
    };
    written.map_err(|_| {
        let most = VALUE_BYTES_MAX >> 20;
        Error::new(
            ErrorKind::InvalidOperation,
            format!("the text of a value is longer than {most} MiB"),
        )
    })
}

/// Fails when more than `left` bytes are written.
struct Limited<'a, 'b> {
    out: &'a mut Output<'b>,
    left: usize,
}

impl Write for Limited<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.out.write_str(text)
    }
}

fn variable(value: &Kwarg) -> Value {
    match value {
        Kwarg::Bool(on) => Value::from(*on),
        Kwarg::Text(text) => Value::from(text.as_str()),
        Kwarg::Int(number) => {
            let digits = number.to_string();
            digits.parse::<i128>().map_or_else(|_| Value::from(digits), Value::from)
        }
    }
}

fn strftime(format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let directive = rest.next();
        let part = DATE.iter().find(|(name, _)| Some(*name) == directive);
        let (_, part) = part.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now does not know the format {format:?}"),
            )
        })?;
        text.push_str(part);
    }
    Ok(text)
}

/// The template with `{% if true %}` for transformers' own tag `{% generation %}`, which only marks what a model wrote.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        out.push_str(&match tag.trim_matches(['-', '+']).trim() {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::golden;

    fn head(source: &str, kwargs: &[&str]) -> Result<String, String> {
        ChatTemplate::of_source(source).head(&TemplateKwargs::parse(kwargs.iter().copied()).unwrap())
    }

    #[test]
    fn a_folder_has_its_template_in_a_file_or_in_its_config() {
        let words = golden("words-tokenizer");
        let config = SpecialTokens::of_config(&words.join("tokenizer_config.json"));
        let template = ChatTemplate::of_folder(&words, &config).unwrap();
        assert_eq!(template.head(&TemplateKwargs::default()).unwrap(), "<|bos|>user\n");
        let tiny = golden("tiny-tokenizer");
        let config = SpecialTokens::of_config(&tiny.join("tokenizer_config.json"));
        let none = ChatTemplate::of_folder(&tiny, &config).unwrap_err();
        assert!(none.starts_with("there is no chat template in "), "{none}");
        let folder = crate::testing::temporary_path("template");
        std::fs::create_dir_all(&folder).unwrap();
        let own = |text: &str| {
            std::fs::write(folder.join(FILE_NAME), text).unwrap();
            ChatTemplate::of_folder(&folder, &config)
                .unwrap()
                .head(&TemplateKwargs::default())
        };
        assert_eq!(own("[{{ messages[0].content }}]").unwrap(), "[");
        assert!(own("{% if %}").unwrap_err().ends_with(" in line 1"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    // Each head is what transformers 5 renders for the same template and message.
    #[test]
    fn heads_are_those_of_transformers() {
        let system = "{{ bos_token }}{% for m in messages %}{%- if loop.first and m.role != 'system' %}<sys>You help.\
                      {{ strftime_now('%d %b %Y') }}</sys>\n{% endif %}\n  {% if m['role'] == 'user' -%}\n   [{{ m.role.upper() }}] \
                      {{ m.content.strip() }}{% endif %}{% endfor %}";
        assert_eq!(
            head(system, &[]).unwrap(),
            "<s><sys>You help.26 Jul 2024</sys>\n[USER] "
        );
        let thinks = "{%- set ns = namespace(n=0) -%}{% set think = enable_thinking is not defined or enable_thinking %}\
                      {% if not think %}/off {% endif %}{% if budget is defined %}{{ budget + 1 }} {% endif %}\
                      {%- for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m.content }}{% endfor %}";
        assert_eq!(head(thinks, &[]).unwrap(), "1");
        assert_eq!(
            head(thinks, &["enable_thinking=false", "budget=-3"]).unwrap(),
            "/off -2 1"
        );
        let tags = "{%- generation -%} a {%+ endgeneration %}\n{% for k, v in messages[0].items() if k == 'content' %}{{ k }}={{ v|tojson }}{% endfor %}";
        assert_eq!(head(tags, &[]).unwrap(), "a content=\"");
        assert_eq!(head("no message", &[]).unwrap(), "no message");
    }

    #[test]
    fn what_cannot_be_rendered_says_why() {
        let why = head("\n{{ raise_exception('no users') }}", &[]).unwrap_err();
        assert!(why.contains("no users") && why.ends_with(" in line 2"), "{why}");
        assert!(head("{{ strftime_now('%Q') }}", &[]).unwrap_err().contains("%Q"));
        // The error is in the last column that minijinja can count.
        let long = |spaces: usize| head(&format!("{{{{{}!", " ".repeat(spaces)), &[]).unwrap_err();
        assert!(long(LINE_BYTES_MAX - 3).contains("unexpected character"));
        assert!(long(LINE_BYTES_MAX - 2).contains("a line is longer than"));
        for endless in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
            "{{ 'x' * 999999999 }}",
            "{% set n = namespace(a='xxxxxxxx') %}{% for i in range(40) %}{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        ] {
            assert!(head(endless, &[]).is_err(), "{endless}");
        }
    }

    #[test]
    fn a_value_with_a_very_long_text_is_refused_before_it_is_written() {
        let head = |source: &str| ChatTemplate::of_source(source).head(&TemplateKwargs::default());
        for source in [
            "{{ ['x' * 10_000] * 1_000 }}",
            "{{ ['x'] * 50_000_000 }}",
            "{{ 'x' * 5_000_000 }}",
        ] {
            let why = head(source).unwrap_err();
            assert!(why.contains("the text of a value is longer than 4 MiB"), "{why}");
        }
        assert_eq!(
            head("{{ ['x', none, true] * 2 }}|{{ missing }}").unwrap(),
            "['x', None, True, 'x', None, True]|"
        );
    }

    #[test]
    fn expressions_of_any_depth_do_not_exhaust_the_stack() {
        let head = |source: &str| ChatTemplate::of_source(source).head(&TemplateKwargs::default());
        for operator in ["-", "+1", "[0]", "|e"] {
            let line = operator.repeat(10_000);
            let _ = head(&format!("{{{{ 1\n{line}\n{line}\n{line}\n{line} }}}}"));
        }
        assert!(head(&"-".repeat(300_000)).unwrap_err().contains("more than 256 KiB"));
    }
}
