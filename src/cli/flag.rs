//! The description of one flag. The parser, the help, the man page, the completions and docs/cli.md are all made from it.

/// The form of a flag on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--x VALUE`.
    Value,
    /// `--x`, which passes "on" to the setter.
    Switch,
    /// `--x` and `--no-x`, which pass "on" and "off" to the setter.
    Negatable,
    /// `-h` and `--help`: ends the parsing and sets nothing.
    Help,
}

/// The value of a flag that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This text, passed to the flag's setter like a typed one.
    Text(&'static str),
    /// Nothing is set. The text is the default in the help; when empty, the help shows none.
    Unset(&'static str),
}

/// A heading in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub title: &'static str,
    /// Whether LMCache has these flags too. Their abbreviations then win over those of other flags, so that a flag
    /// that only this program has cannot make an LMCache command line ambiguous.
    pub of_reference: bool,
}

/// The texts and properties of a flag. In `help` and `detail`, backticks enclose literal text.
#[derive(Clone, Copy, Debug)]
pub struct FlagSpec {
    /// Without the leading dashes; for a negatable flag the form without `no-`.
    pub long: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// The placeholder of the value in the help. For `PATH`, completions offer file names.
    pub value_name: &'static str,
    /// When not empty, the only accepted values.
    pub choices: &'static [&'static str],
    pub preset: Preset,
    pub group: &'static Group,
    /// One line without a full stop.
    pub help: &'static str,
    /// Further sentences, left out of `-h`. May be empty.
    pub detail: &'static str,
    /// Whether each use adds a value; otherwise the last use wins.
    pub repeatable: bool,
}

/// A row of a table: a flag, and the setter that stores its text in the typed arguments.
pub struct Flag<C> {
    pub spec: FlagSpec,
    pub set: fn(&mut C, &str) -> Result<(), String>,
}

// By hand, because a derive would require `C: Copy`.
impl<C> Clone for Flag<C> {
    fn clone(&self) -> Flag<C> {
        *self
    }
}

impl<C> Copy for Flag<C> {}

/// A flag of LMCache that this program does not have, with advice on what to do instead.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    pub long: &'static str,
    pub advice: &'static str,
}

impl Absent {
    pub const fn new(long: &'static str, advice: &'static str) -> Absent {
        Absent { long, advice }
    }
}

/// Characters. A longer list of choices is shown as the value's name.
const PLACEHOLDER_MAX: usize = 60;

/// The group of rows that name none.
pub const OPTIONS: Group = Group {
    title: "Options",
    of_reference: true,
};

/// Flags that LMCache does not have.
pub const BEYOND: Group = Group {
    title: "Beyond the reference",
    of_reference: false,
};

impl FlagSpec {
    /// The defaults of every field, for struct update syntax.
    pub const BLANK: FlagSpec = FlagSpec {
        long: "",
        short: None,
        kind: Kind::Value,
        value_name: "",
        choices: &[],
        preset: Preset::Unset(""),
        group: &OPTIONS,
        help: "",
        detail: "",
        repeatable: false,
    };

    /// The row of `-h, --help`.
    pub const fn help_flag(group: &'static Group) -> FlagSpec {
        FlagSpec {
            long: "help",
            short: Some('h'),
            kind: Kind::Help,
            group,
            help: "Print help: `-h` one line per flag, `--help` everything",
            ..FlagSpec::BLANK
        }
    }

    /// The spellings without the two dashes, each with the text that it passes to the setter.
    pub fn spellings(&self) -> Vec<(String, &'static str)> {
        let mut spellings = vec![(self.long.to_string(), "on")];
        if self.kind == Kind::Negatable {
            spellings.push((format!("no-{}", self.long), "off"));
        }
        spellings
    }

    /// The one-line description of one of the spellings, for completions.
    pub fn help_of(&self, spelling: &str) -> String {
        if spelling == self.long {
            self.help.to_string()
        } else {
            format!("The opposite of `--{}`", self.long)
        }
    }

    /// How the value is shown: the list of choices if it is short enough, else its name. Empty without a value.
    pub fn placeholder(&self) -> String {
        let choices = format!("{{{}}}", self.choices.join(","));
        match (self.kind, self.choices) {
            (Kind::Value, []) => self.value_name.to_string(),
            (Kind::Value, _) if choices.len() > PLACEHOLDER_MAX => self.value_name.to_string(),
            (Kind::Value, _) => choices,
            _ => String::new(),
        }
    }

    pub fn takes_path(&self) -> bool {
        self.kind == Kind::Value && self.value_name == "PATH"
    }

    /// The default as the help shows it; `None` for switches, which are off.
    pub fn default_text(&self) -> Option<String> {
        match (self.kind, self.preset) {
            (Kind::Help | Kind::Switch, _) | (_, Preset::Unset("") | Preset::Text("")) => None,
            (Kind::Negatable, Preset::Text("on")) => Some(format!("`--{}`", self.long)),
            (Kind::Negatable, Preset::Text(_)) => Some(format!("`--no-{}`", self.long)),
            (_, Preset::Text(text)) => Some(format!("`{text}`")),
            (_, Preset::Unset(meaning)) => Some(meaning.to_string()),
        }
    }

    /// `help` and `detail` as one paragraph, with the choices if the placeholder does not list them.
    pub fn full_help(&self) -> String {
        let mut text = format!("{}.", self.help);
        if !self.choices.is_empty() && self.placeholder() == self.value_name {
            text.push_str(&format!(" One of `{}`.", self.choices.join("`, `")));
        }
        if !self.detail.is_empty() {
            text.push_str(&format!(" {}", self.detail));
        }
        text
    }
}

/// Stores the text of a value, or refuses it.
pub type Set<C> = fn(&mut C, &str) -> Result<(), String>;

/// Builders of rows: name and setter, then the fields that differ from [`FlagSpec::BLANK`].
impl<C> Flag<C> {
    /// `--long VALUE`.
    pub const fn value(long: &'static str, value_name: &'static str, set: Set<C>) -> Flag<C> {
        let spec = FlagSpec {
            long,
            value_name,
            ..FlagSpec::BLANK
        };
        Flag { spec, set }
    }

    /// `--long`.
    pub const fn switch(long: &'static str, set: Set<C>) -> Flag<C> {
        let mut flag = Flag::value(long, "", set);
        flag.spec.kind = Kind::Switch;
        flag
    }

    /// `--long` and `--no-long`.
    pub const fn negatable(long: &'static str, set: Set<C>) -> Flag<C> {
        let mut flag = Flag::value(long, "", set);
        flag.spec.kind = Kind::Negatable;
        flag
    }

    /// `-h, --help`.
    pub const fn help_row() -> Flag<C> {
        Flag {
            spec: FlagSpec::help_flag(&OPTIONS),
            set: |_, _| Ok(()),
        }
    }

    pub const fn group(mut self, group: &'static Group) -> Flag<C> {
        self.spec.group = group;
        self
    }

    pub const fn short(mut self, letter: char) -> Flag<C> {
        self.spec.short = Some(letter);
        self
    }

    pub const fn choices(mut self, choices: &'static [&'static str]) -> Flag<C> {
        self.spec.choices = choices;
        self
    }

    /// The default, as a user would type it.
    pub const fn default(mut self, text: &'static str) -> Flag<C> {
        self.spec.preset = Preset::Text(text);
        self
    }

    /// No default; the help shows `meaning` in its place.
    pub const fn unset(mut self, meaning: &'static str) -> Flag<C> {
        self.spec.preset = Preset::Unset(meaning);
        self
    }

    /// Each use adds a value.
    pub const fn repeatable(mut self) -> Flag<C> {
        self.spec.repeatable = true;
        self
    }

    /// `help` is one line without a full stop, `detail` further sentences.
    pub const fn help(mut self, help: &'static str, detail: &'static str) -> Flag<C> {
        (self.spec.help, self.spec.detail) = (help, detail);
        self
    }
}

/// The setter of an optional flag that accepts any text or path.
pub fn keep<T: for<'a> From<&'a str>>(field: &mut Option<T>, text: &str) -> Result<(), String> {
    *field = Some(T::from(text));
    Ok(())
}

/// The setter of a flag with a default that accepts any text.
pub fn replace(field: &mut String, text: &str) -> Result<(), String> {
    field.clear();
    field.push_str(text);
    Ok(())
}

/// Reads the "on" or "off" that the parser passes to the setter of a switch.
pub fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!(
            "'{other}' is neither on nor off; give the flag without a value"
        )),
    }
}
