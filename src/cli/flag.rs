//! One row per flag: all that the parser, the help, the man page, the completions and docs/cli.md know about it.

/// What follows a flag on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--x VALUE`.
    Value,
    /// `--x`, which hands "on" to the setter.
    Switch,
    /// `--x` and `--no-x`, which hand "on" and "off" to the setter.
    Negatable,
    /// `-h` and `--help`: ends the parsing, has nothing to set.
    Help,
}

/// What holds when a flag is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This text, which goes through the flag's setter like a typed one.
    Text(&'static str),
    /// Nothing is set; the help says what that means, unless this is empty.
    Unset(&'static str),
}

/// A heading in the help, and where its flags come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub title: &'static str,
    /// Whether LMCache has these flags too. Then their abbreviations win over the other flags', as LMCache knows
    /// only these: a flag that is added here must not make an old command line ambiguous.
    pub of_reference: bool,
}

/// A flag as people see it. In `help` and `detail`, backticks enclose what is typed or printed literally.
#[derive(Clone, Copy, Debug)]
pub struct FlagSpec {
    /// Without the leading dashes; for a negatable flag the form without `no-`.
    pub long: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// The value's name in the help. `PATH` also says that shells may complete file names.
    pub value_name: &'static str,
    /// When not empty, the only values that are taken.
    pub choices: &'static [&'static str],
    pub preset: Preset,
    pub group: &'static Group,
    /// One line without a full stop.
    pub help: &'static str,
    /// Further sentences, shown after that line wherever there is room. May be empty.
    pub detail: &'static str,
    /// Whether every use counts; otherwise the last one wins.
    pub repeatable: bool,
}

/// A row of a table: a flag and how its text gets into the typed arguments.
pub struct Flag<C> {
    pub spec: FlagSpec,
    pub set: fn(&mut C, &str) -> Result<(), String>,
}

// By hand, because a derive would ask that `C` be `Copy` too.
impl<C> Clone for Flag<C> {
    fn clone(&self) -> Flag<C> {
        *self
    }
}

impl<C> Copy for Flag<C> {}

/// A flag of LMCache that this program does not have, and what to do instead.
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

/// Characters of choices beyond which the value's name stands for them.
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
    /// The row that rows are written as differences from.
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

    /// The row of `-h, --help`, to go into a group of the table.
    pub const fn help_flag(group: &'static Group) -> FlagSpec {
        FlagSpec {
            long: "help",
            short: Some('h'),
            kind: Kind::Help,
            group,
            help: "Print help: `-h` one line a flag, `--help` everything",
            ..FlagSpec::BLANK
        }
    }

    /// The spellings after the two dashes, each with what it hands to the setter.
    pub fn spellings(&self) -> Vec<(String, &'static str)> {
        let mut spellings = vec![(self.long.to_string(), "on")];
        if self.kind == Kind::Negatable {
            spellings.push((format!("no-{}", self.long), "off"));
        }
        spellings
    }

    /// What a completion says about one of the spellings, in one line.
    pub fn help_of(&self, spelling: &str) -> String {
        if spelling == self.long {
            self.help.to_string()
        } else {
            format!("The opposite of `--{}`", self.long)
        }
    }

    /// How the value is shown: its name, or all that may be given where that fits a line.
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

    /// What the help says about the default; nothing where there is nothing to say (a switch is off).
    pub fn default_text(&self) -> Option<String> {
        match (self.kind, self.preset) {
            (Kind::Help | Kind::Switch, _) | (_, Preset::Unset("")) => None,
            (Kind::Negatable, Preset::Text("on")) => Some(format!("`--{}`", self.long)),
            (Kind::Negatable, Preset::Text(_)) => Some(format!("`--no-{}`", self.long)),
            (_, Preset::Text(text)) => Some(format!("`{text}`")),
            (_, Preset::Unset(meaning)) => Some(meaning.to_string()),
        }
    }

    /// The one line and the further sentences as one paragraph, with the choices if the value's name stands for them.
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

/// Keeps the text of a value, or refuses it.
pub type Set<C> = fn(&mut C, &str) -> Result<(), String>;

/// Rows of a table: name and setter, then what differs from [`FlagSpec::BLANK`].
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

    /// The default as it would be typed.
    pub const fn default(mut self, text: &'static str) -> Flag<C> {
        self.spec.preset = Preset::Text(text);
        self
    }

    /// What it means that nothing is given.
    pub const fn unset(mut self, meaning: &'static str) -> Flag<C> {
        self.spec.preset = Preset::Unset(meaning);
        self
    }

    /// Every use counts.
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

/// The setter of a flag whose value is any text or path, where a flag may be absent.
pub fn keep<T: for<'a> From<&'a str>>(field: &mut Option<T>, text: &str) -> Result<(), String> {
    *field = Some(T::from(text));
    Ok(())
}

/// The same where the flag has a default.
pub fn replace(field: &mut String, text: &str) -> Result<(), String> {
    field.clear();
    field.push_str(text);
    Ok(())
}

/// The setter's side of a switch: the parser hands it "on" or "off".
pub fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!(
            "'{other}' is neither on nor off; give the flag without a value"
        )),
    }
}
