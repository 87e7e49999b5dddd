//! The parser with a small table of its own.

use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;
use crate::cli::flag::{Group, on_off};
use crate::python::number::int;

#[derive(Debug, Default, PartialEq)]
struct Toy {
    rounds: i64,
    warm: bool,
    mode: String,
    names: Vec<String>,
    seed: i64,
}

const OLD: Group = Group {
    title: "Old",
    of_reference: true,
};
const NEW: Group = Group {
    title: "New",
    of_reference: false,
};
const TOY: Table<Toy> = Table {
    program: "toy",
    flags: FLAGS,
    absent: ABSENT,
};
const ABSENT: &[Absent] = &[
    Absent {
        long: "graph",
        advice: "draw it",
    },
    Absent {
        long: "graph-mode",
        advice: "draw it",
    },
];
const FLAGS: &[Flag<Toy>] = &[
    Flag {
        spec: FlagSpec {
            long: "rounds",
            short: Some('r'),
            value_name: "N",
            preset: Preset::Text("7"),
            group: &OLD,
            ..FlagSpec::BLANK
        },
        set: |toy, text| int(text).map(|n| toy.rounds = n),
    },
    Flag {
        spec: FlagSpec {
            long: "warm",
            short: Some('w'),
            kind: Kind::Negatable,
            preset: Preset::Text("on"),
            group: &OLD,
            ..FlagSpec::BLANK
        },
        set: |toy, text| on_off(text).map(|on| toy.warm = on),
    },
    Flag {
        spec: FlagSpec {
            long: "mode",
            value_name: "M",
            choices: &["a", "b"],
            group: &OLD,
            ..FlagSpec::BLANK
        },
        set: |toy, text| {
            toy.mode = text.to_string();
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "name",
            value_name: "X",
            group: &OLD,
            repeatable: true,
            ..FlagSpec::BLANK
        },
        set: |toy, text| {
            toy.names.push(text.to_string());
            Ok(())
        },
    },
    Flag {
        spec: FlagSpec {
            long: "round-seed",
            value_name: "N",
            group: &NEW,
            ..FlagSpec::BLANK
        },
        set: |toy, text| int(text).map(|n| toy.seed = n),
    },
    Flag {
        spec: FlagSpec {
            long: "round-size",
            value_name: "N",
            group: &NEW,
            ..FlagSpec::BLANK
        },
        set: |_, _| Ok(()),
    },
    Flag {
        spec: FlagSpec::help_flag(&OLD),
        set: |_, _| Ok(()),
    },
];

fn walk(words: &[&str]) -> Result<(Toy, Stop), String> {
    let mut toy = Toy::default();
    TOY.apply_presets(&mut toy).unwrap();
    let stop = TOY
        .walk(&mut Parser::from_args(words), &mut toy)
        .map_err(|error| error.to_string())?;
    Ok((toy, stop))
}

fn taken(words: &[&str]) -> Toy {
    let (toy, stop) = walk(words).unwrap();
    assert_eq!(stop, Stop::End, "{words:?}");
    toy
}

fn refused(words: &[&str]) -> String {
    walk(words).expect_err("a usage error")
}

#[test]
fn defaults_go_through_the_setters() {
    assert_eq!(
        taken(&[]),
        Toy {
            rounds: 7,
            warm: true,
            ..Toy::default()
        }
    );
}

#[test]
fn the_last_value_wins_and_repeatable_flags_accumulate() {
    let toy = taken(&[
        "--rounds",
        "1",
        "--name=x",
        "--warm",
        "--rounds=2",
        "--name",
        "",
        "--no-warm",
        "-r3",
    ]);
    assert_eq!(
        toy,
        Toy {
            rounds: 3,
            warm: false,
            names: vec!["x".into(), "".into()],
            ..Toy::default()
        }
    );
}

#[test]
fn abbreviations() {
    assert_eq!(taken(&["--m=b", "--no-w"]).mode, "b");
    assert_eq!(taken(&["--round", "3"]).rounds, 3, "a flag of LMCache wins over ours");
    assert_eq!(taken(&["--round-se", "3"]).seed, 3);
    assert_eq!(
        refused(&["--round-", "3"]),
        "toy: ambiguous argument --round-: it could be --round-seed or --round-size; write it out"
    );
    assert_eq!(
        refused(&["--n"]),
        "toy: ambiguous argument --n: it could be --no-warm or --name; write it out"
    );
    assert_eq!(
        refused(&["--=1"]),
        "toy: unknown argument '--'; `toy -h` lists all arguments"
    );
}

#[test]
fn flags_of_lmcache_that_are_absent_here_get_advice() {
    for typed in ["--graph", "--gra", "--graph=3"] {
        assert_eq!(refused(&[typed]), "toy: argument --graph: draw it");
    }
    assert_eq!(refused(&["--graph-m", "x"]), "toy: argument --graph-mode: draw it");
}

#[test]
fn values_that_begin_with_a_dash() {
    for (value, number) in [("-5", -5), ("-1_0", -10)] {
        assert_eq!(taken(&["--rounds", value]).rounds, number);
    }
    assert_eq!(
        taken(&["--name", "-", "--name", "--a b", "--name=--x"]).names,
        ["-", "--a b", "--x"]
    );
    for flag in ["--warm", "-q", "--", "--name=a b", "-inf"] {
        assert_eq!(
            refused(&["--name", flag, "x"]),
            format!(
                "toy: argument --name: expected one argument, but found '{flag}'; \
                 write --name X (or --name=X if it begins with -)"
            )
        );
    }
    assert!(refused(&["--mode"]).ends_with("but the command line ends there; write --mode {a,b}"));
}

#[test]
fn error_messages_name_the_flag_and_the_cause() {
    for (words, sentence) in [
        (
            vec!["--rounds", "abc"],
            "toy: argument --rounds: invalid int value: 'abc'; give a whole number",
        ),
        (
            vec!["--mode", "c"],
            "toy: argument --mode: invalid choice: 'c'; choose from a, b",
        ),
        (
            vec!["--warm=1"],
            "toy: argument --warm: takes no value, but '1' was given; write it without one",
        ),
        (
            vec!["-w=1"],
            "toy: argument -w: takes no value, but '1' was given; write it without one",
        ),
        (
            vec!["--ruonds", "1"],
            "toy: unknown argument '--ruonds'; did you mean --rounds?",
        ),
        (
            vec!["--compress"],
            "toy: unknown argument '--compress'; `toy -h` lists all arguments",
        ),
        (vec!["-wx"], "toy: unknown argument -x; `toy -h` lists all arguments"),
    ] {
        assert_eq!(refused(&words), sentence);
    }
}

#[test]
fn help_and_words_stop_the_parser() {
    assert_eq!(walk(&["-wh", "--bogus"]).unwrap().1, Stop::Help { long: false });
    assert_eq!(walk(&["--he", "--bogus"]).unwrap().1, Stop::Help { long: true });
    assert_eq!(
        walk(&["--no-warm", "go", "--bogus"]).unwrap().1,
        Stop::Word("go".into())
    );
    assert_eq!(walk(&["--", "--warm"]).unwrap().1, Stop::Word("--warm".into()));
    assert_eq!(walk(&["-"]).unwrap().1, Stop::Word("-".into()));
}

#[test]
fn a_value_that_is_not_utf8_is_refused() {
    let words = ["--name".into(), OsString::from_vec(vec![b'a', 0xff])];
    let error = TOY
        .walk(&mut Parser::from_args(words), &mut Toy::default())
        .expect_err("not UTF-8");
    assert_eq!(
        error.to_string(),
        "toy: argument --name: the value 'a\u{fffd}' is not valid UTF-8; give it in UTF-8"
    );
}

proptest! {
    /// Any command line parses or is refused with one line that names the program.
    #[test]
    fn any_command_line_parses_or_is_refused_in_one_line(words in prop::collection::vec(
        prop_oneof![
            "-{0,3}[a-z]{0,6}=?[-0-9a-z _]{0,4}".prop_map(OsString::from),
            prop::sample::select(vec!["--rounds", "--mode", "-rw", "--no-warm", "--", "-5"]).prop_map(OsString::from),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(OsString::from_vec),
        ], 0..6))
    {
        if let Err(error) = TOY.walk(&mut Parser::from_args(words), &mut Toy::default()) {
            let text = error.to_string();
            prop_assert!(text.starts_with("toy: ") && !text.contains('\n'), "{}", text);
        }
    }
}
