//! What every table of flags must hold to, for the tests of each.

use std::fmt::Debug;

use super::flag::{Kind, Preset};
use super::parse::{Stop, Table};

/// What these words give on top of `args`.
pub fn typed<C: Debug>(table: &Table<C>, mut args: C, words: &[&str]) -> C {
    let mut parser = lexopt::Parser::from_args(words);
    match table.walk(&mut parser, &mut args) {
        Ok(Stop::End) => args,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Every choice that a row lists is taken, no two mean the same, and nothing else is taken.
pub fn choices_are_taken_and_differ<C: Default + PartialEq + Debug>(table: &Table<C>) {
    for flag in table.flags.iter().filter(|flag| !flag.spec.choices.is_empty()) {
        let mut results: Vec<C> = Vec::new();
        for choice in flag.spec.choices {
            let mut args = C::default();
            (flag.set)(&mut args, choice).unwrap();
            assert!(!results.contains(&args), "--{} {choice}", flag.spec.long);
            results.push(args);
        }
        assert!((flag.set)(&mut C::default(), "?").is_err());
    }
}

/// Every row says what its flag does and how its value is called, and its default is one of its choices.
pub fn rows_are_complete<C>(table: &Table<C>) {
    for spec in table.specs() {
        assert_eq!(spec.value_name.is_empty(), spec.kind != Kind::Value, "--{}", spec.long);
        let explained = !spec.help.is_empty() && (spec.kind == Kind::Help || !spec.detail.is_empty());
        assert!(explained, "--{}", spec.long);
        if let Preset::Text(text) = spec.preset {
            let taken = spec.choices.is_empty() || spec.choices.contains(&text);
            assert!(taken, "--{}", spec.long);
        }
    }
}

/// Every beginning of every flag of LMCache does here what it would do if our flags did not exist. In the table theirs come
/// first, and `first_of_ours` is the first of ours.
pub fn our_flags_leave_abbreviations_alone<C: Default + Debug>(table: &Table<C>, first_of_ours: &str) {
    let flags = table.flags.iter();
    let count = flags.take_while(|flag| flag.spec.long != first_of_ours).count();
    assert!(count < table.flags.len(), "--{first_of_ours} is no flag");
    let theirs = Table {
        flags: &table.flags[..count],
        ..*table
    };
    let outcome = |table: &Table<C>, word: &str| {
        let mut args = C::default();
        match table.walk(&mut lexopt::Parser::from_args([word]), &mut args) {
            Ok(stop) => format!("{stop:?} {args:?}"),
            // Which flags to choose from may differ, that there is a choice may not.
            Err(error) => error
                .to_string()
                .split("it could be")
                .next()
                .unwrap_or_default()
                .to_string(),
        }
    };
    let spellings = theirs.specs().into_iter().flat_map(|spec| spec.spellings());
    let names = spellings.map(|(text, _)| text);
    for name in names.chain(table.absent.iter().map(|absent| absent.long.to_string())) {
        for typed in (1..=name.len()).map(|end| &name[..end]) {
            for word in [format!("--{typed}"), format!("--{typed}=1")] {
                assert_eq!(outcome(table, &word), outcome(&theirs, &word), "{word}");
            }
        }
    }
}
