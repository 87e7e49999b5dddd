//! The commands of the program, one row each.

use crate::cli::command::Command;
use crate::cli::page::Page;
use crate::{cli, engine, l2, mock, saved, server};

/// In the order of the help.
pub const COMMANDS: &[Command] = &[
    engine::COMMAND,
    server::COMMAND,
    l2::COMMAND,
    saved::COMMAND,
    mock::COMMAND,
];

/// The help of the program and of each command.
pub fn pages() -> Vec<Page> {
    cli::pages(COMMANDS)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::cli::command::Invocation;
    use crate::cli::{help, top};
    use crate::error::Error;
    use crate::l2;

    fn typed(words: &[&str]) -> Result<Invocation, Error> {
        cli::parse(words.iter().map(OsString::from), COMMANDS)
    }

    fn printed(words: &[&str]) -> String {
        match typed(words) {
            Ok(Invocation::Print(text)) => text,
            Ok(Invocation::Run(_)) => panic!("{words:?} would run"),
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    fn refused(words: &[&str]) -> String {
        match typed(words) {
            Err(Error::Usage(text)) => text,
            Err(error) => panic!("{words:?}: {error}"),
            Ok(_) => panic!("{words:?} was taken"),
        }
    }

    #[test]
    fn a_leading_bench_is_skipped_once() {
        for words in [&["l2", "--num-keys", "3"][..], &["bench", "l2", "--num-keys", "3"]] {
            assert!(matches!(typed(words), Ok(Invocation::Run(_))), "{words:?}");
        }
        assert_eq!(
            refused(&["bench", "bench", "l2"]),
            "lmcache-bench: unknown command 'bench'; the commands are: engine, server, l2, report, mock"
        );
    }

    #[test]
    fn help_version_and_generated_texts_are_printed() {
        assert_eq!(
            printed(&["--version"]),
            format!("lmcache-bench {}\n", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(printed(&["bench", "-V"]), printed(&["--vers"]));
        assert_eq!(printed(&["-h"]), help::render(&top::page(COMMANDS), false));
        assert_eq!(printed(&["bench", "--help"]), help::render(&top::page(COMMANDS), true));
        assert_eq!(printed(&["l2", "-qh"]), help::render(&l2::flags::page(), false));
        assert_eq!(
            printed(&["l2", "--num-keys", "3", "--help"]),
            help::render(&l2::flags::page(), true)
        );
        for choice in top::TABLE.specs().iter().flat_map(|spec| spec.choices) {
            let text = printed(&["--generate", choice]);
            assert!(text.contains("num-keys") || text.contains("num\\-keys"), "{choice}");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{choice}");
        }
    }

    #[test]
    fn a_missing_or_unknown_command_is_a_usage_error() {
        let usage = "usage: lmcache-bench [bench] {engine,server,l2,report,mock} [options]\n\
                     lmcache-bench: no command given; start with `lmcache-bench --help`";
        assert_eq!(refused(&[]), usage);
        assert_eq!(refused(&["bench"]), usage);
        assert_eq!(
            refused(&["l3"]),
            "lmcache-bench: unknown command 'l3'; did you mean l2?"
        );
        assert!(refused(&["mock"]).contains("`lmcache-bench mock engine --help`"));
        assert!(refused(&["mock"]).contains("name what to imitate"));
        assert!(refused(&["mock", "engin"]).ends_with("'engin'; did you mean engine?"));
        assert!(refused(&["mock", "queue"]).ends_with("'queue'; there are engine and server"));
        assert!(refused(&["mock", "--x"]).starts_with("lmcache-bench mock: unknown argument '--x'"));
        assert!(printed(&["mock", "-h"]).starts_with("Imitate what the benchmarks measure"));
    }

    #[test]
    fn l2_takes_no_bare_words() {
        let text = refused(&["l2", "/tmp/bench"]);
        assert!(
            text.starts_with("lmcache-bench l2: unexpected argument '/tmp/bench'"),
            "{text}"
        );
        match cli::parse(["l2".into(), OsString::from_vec(vec![0xff])], COMMANDS) {
            Err(error) => assert!(error.to_string().contains("unexpected argument '\u{fffd}'"), "{error}"),
            Ok(_) => panic!("a bare word was taken"),
        }
    }

    #[test]
    fn markup_is_closed_in_every_text() {
        for page in pages() {
            let of_flags = page.flags.iter().map(|spec| spec.full_help());
            let of_page = page.about.iter().map(|text| text.to_string());
            for text in of_flags.chain(of_page) {
                assert!(text.matches('`').count() % 2 == 0, "{text}");
                assert!(text.ends_with('.'), "{text}");
            }
        }
    }
}
