//! Checks that the unit tests of every flag table share.

use std::fmt::Debug;

use super::flag::{Kind, Preset};
use super::parse::{Stop, Table};

/// `args` after these words have been parsed.
pub fn typed<C: Debug>(table: &Table<C>, mut args: C, words: &[&str]) -> C {
    let mut parser = lexopt::Parser::from_args(words);
    match table.walk(&mut parser, &mut args) {
        Ok(Stop::End) => args,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Every listed choice is accepted, no two set the same value, and other words are refused.
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

/// Every row has help, detail and a value name, and its default is one of its choices.
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

/// Every prefix of every LMCache flag has the same outcome as in a table without our flags. LMCache's flags come first in the
/// table; `first_of_ours` is the first of ours.
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
            // The list of candidates may differ, but both must be ambiguous.
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
