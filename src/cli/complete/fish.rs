//! Completions for fish. Files are offered only for values that are paths.

use super::*;

pub fn fish(pages: &[Page]) -> String {
    let mut out = String::from(
        "# Completions of lmcache-bench for fish; written by `lmcache-bench --generate complete-fish`.\n\
         complete -c lmcache-bench -f\n",
    );
    let firsts = first_words(pages);
    let words: Vec<&str> = firsts.iter().map(|(word, _)| *word).collect();
    let before_command = format!("not __fish_seen_subcommand_from {}", words.join(" "));
    for (word, about) in &firsts {
        push_word(&mut out, &before_command, word, about);
        for (second, page) in second_words(pages, word) {
            push_word(&mut out, &seen(word, &[]), second, page.summary);
        }
    }
    let before_prefix = format!("not __fish_seen_subcommand_from {PREFIX_WORD} {}", words.join(" "));
    push_word(
        &mut out,
        &before_prefix,
        PREFIX_WORD,
        "As LMCache calls it; then a command",
    );
    for page in pages {
        let condition = match page.word {
            "" => before_command.clone(),
            word => match word.split_once(' ') {
                Some((first, second)) => seen(first, &[second]),
                None => seen(word, &[]),
            },
        };
        page.flags.iter().for_each(|spec| push_flag(&mut out, &condition, spec));
        if page.takes_file() {
            out.push_str(&format!("complete -c lmcache-bench -n {} -F\n", quoted(&condition)));
        }
    }
    out
}

/// The condition for a command line that contains `first` and one of the `further` words.
fn seen(first: &str, further: &[&str]) -> String {
    let mut condition = format!("__fish_seen_subcommand_from {first}");
    for word in further {
        condition.push_str(&format!("; and __fish_seen_subcommand_from {word}"));
    }
    if further.is_empty() && first != "mock" {
        condition.push_str("; and not __fish_seen_subcommand_from mock");
    }
    condition
}

fn push_word(out: &mut String, condition: &str, word: &str, about: &str) {
    out.push_str(&format!(
        "complete -c lmcache-bench -n {} -a {word} -d {}\n",
        quoted(condition),
        quoted(about)
    ));
}

fn push_flag(out: &mut String, condition: &str, spec: &FlagSpec) {
    let short = spec.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
    let value = match spec.kind {
        Kind::Value if spec.takes_path() => " -r -F".to_string(),
        Kind::Value if spec.choices.is_empty() => " -x".to_string(),
        Kind::Value => format!(" -x -a {}", quoted(&spec.choices.join(" "))),
        _ => String::new(),
    };
    for (long, _) in spec.spellings() {
        let about = quoted(&plain(&spec.help_of(&long)));
        out.push_str(&format!(
            "complete -c lmcache-bench -n {}{short} -l {long} -d {about}{value}\n",
            quoted(condition)
        ));
    }
}

/// Single quotes; inside them fish has two escapes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
