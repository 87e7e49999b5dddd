//! Shell completions. The scripts need only the shell: no completion library, and they do not run the program.

use super::flag::{FlagSpec, Kind};
use super::page::{Page, plain};

mod bash;
mod fish;
mod zsh;

pub use bash::bash;
pub use fish::fish;
pub use zsh::zsh;

/// The optional word before every subcommand.
const PREFIX_WORD: &str = "bench";

/// The pages of subcommands.
fn commands(pages: &[Page]) -> impl Iterator<Item = &Page> {
    pages.iter().filter(|page| !page.word.is_empty())
}

/// The possible first words, each with a one-line description; `mock` is listed once for all its pages.
fn first_words(pages: &[Page]) -> Vec<(&'static str, &'static str)> {
    let mut words: Vec<(&str, &str)> = Vec::new();
    for page in commands(pages) {
        match page.word.split_once(' ') {
            None => words.push((page.word, page.summary)),
            Some((first, _)) if words.iter().any(|(word, _)| *word == first) => {}
            Some((first, _)) => words.push((first, "Imitate a peer with exact delays")),
        }
    }
    words
}

/// The possible words after `first`, each with its page.
fn second_words<'p>(pages: &'p [Page], first: &str) -> Vec<(&'static str, &'p Page)> {
    let split = commands(pages).filter_map(|page| page.word.split_once(' ').map(|words| (words, page)));
    split
        .filter(|((word, _), _)| *word == first)
        .map(|((_, second), page)| (second, page))
        .collect()
}

/// Everything that can be typed for a flag: `-q`, `--quiet`, `--x`, `--no-x`.
fn typed_forms(spec: &FlagSpec) -> Vec<String> {
    described_forms(spec).into_iter().map(|(form, _)| form).collect()
}

/// The same, each with a one-line description.
fn described_forms(spec: &FlagSpec) -> Vec<(String, String)> {
    let short = spec.short.map(|letter| (format!("-{letter}"), plain(spec.help)));
    let long = |(text, _): (String, _)| (format!("--{text}"), plain(&spec.help_of(&text)));
    short
        .into_iter()
        .chain(spec.spellings().into_iter().map(long))
        .collect()
}

/// Text between single quotes, for bash and zsh.
fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::commands::pages;

    /// The success and the output of a shell with a script on its stdin; `None` when the shell is not installed.
    fn run(shell: &str, args: &[&str], script: &str) -> Option<(bool, String)> {
        let child = Command::new(shell)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{shell}: {error}"),
        };
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Completes the last of the words in bash, calling the function as readline does.
    fn completed_by_bash(words: &[&str]) -> Vec<String> {
        let script = bash(&pages());
        let words: Vec<String> = words.iter().map(|word| in_quotes(word)).collect();
        let call = format!(
            "{script}\nCOMP_WORDS=({})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n_lmcache_bench\n\
             (( ${{#COMPREPLY[@]}} )) && printf '%s\\n' \"${{COMPREPLY[@]}}\"\ntrue\n",
            words.join(" ")
        );
        let (fine, text) = run("bash", &["--norc"], &call).expect("bash is needed by the build as well");
        assert!(fine, "{text}");
        text.lines().map(str::to_string).collect()
    }

    #[test]
    fn bash_completes_commands_and_flags() {
        assert_eq!(completed_by_bash(&["lmcache-bench", "b"]), ["bench"]);
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "bench", ""])[..4],
            ["engine", "server", "l2", "report"]
        );
        assert_eq!(completed_by_bash(&["lmcache-bench", "mock", ""]), ["engine", "server"]);
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "mock", "server", "--he"]),
            ["--help"]
        );
        assert_eq!(completed_by_bash(&["lmcache-bench", "--gen"]), ["--generate"]);
        assert_eq!(completed_by_bash(&["lmcache-bench", "l2", "--num"]), ["--num-keys"]);
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "bench", "l2", "--no-s"]),
            ["--no-skip-verify"]
        );
        assert!(completed_by_bash(&["lmcache-bench", "l2", "--gen"]).is_empty());
    }

    #[test]
    fn bash_completes_values() {
        assert_eq!(completed_by_bash(&["lmcache-bench", "l2", "--format", "j"]), ["json"]);
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "l2", "--only", "="]),
            ["lookup", "store", "load"]
        );
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "l2", "--only", "=", "st"]),
            ["store"]
        );
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "l2", "--only=st"]),
            ["--only=store"]
        );
        assert_eq!(completed_by_bash(&["lmcache-bench", "--generate", "m"]), ["man"]);
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "l2", "--output", "src/cli/fl"]),
            ["src/cli/flag.rs"]
        );
        assert_eq!(
            completed_by_bash(&["lmcache-bench", "report", "src/cli/fl"]),
            ["src/cli/flag.rs"]
        );
        assert_eq!(completed_by_bash(&["lmcache-bench", "report", "--fo"]), ["--format"]);
        assert!(completed_by_bash(&["lmcache-bench", "l2", "--num-keys", ""]).is_empty());
    }

    #[test]
    fn installed_shells_accept_their_scripts() {
        for (shell, script) in [
            ("bash", bash(&pages())),
            ("zsh", zsh(&pages())),
            ("fish", fish(&pages())),
        ] {
            let Some((fine, text)) = run(shell, &["-n"], &script) else {
                continue;
            };
            assert!(fine && text.is_empty(), "{shell}: {text}");
        }
    }

    #[test]
    fn fish_completes_when_it_is_installed() {
        let script = format!("{}\ncomplete -C 'lmcache-bench bench l2 --only st'\n", fish(&pages()));
        if let Some((_, text)) = run("fish", &["--no-config"], &script) {
            assert_eq!(
                text.lines()
                    .map(|line| line.split('\t').next().unwrap())
                    .collect::<Vec<_>>(),
                ["store"]
            );
        }
    }

    #[test]
    fn every_flag_is_in_every_script() {
        for spec in pages().iter().flat_map(|page| &page.flags) {
            for form in typed_forms(spec).iter().filter(|form| form.starts_with("--")) {
                assert!(bash(&pages()).contains(form.as_str()), "bash lacks {form}");
                assert!(zsh(&pages()).contains(form.as_str()), "zsh lacks {form}");
                assert!(
                    fish(&pages()).contains(&format!("-l {} ", &form[2..])),
                    "fish lacks {form}"
                );
            }
        }
    }
}
