//! Completions for fish. Must never offer files where a flag or a choice is meant.

use super::*;

pub fn fish(pages: &[Page]) -> String {
    let mut out = String::from(
        "# Completions of lmcache-bench for fish; written by `lmcache-bench --generate complete-fish`.\n\
         complete -c lmcache-bench -f\n",
    );
    let words: Vec<&str> = commands(pages).map(|page| page.word).collect();
    let before_command = format!("not __fish_seen_subcommand_from {}", words.join(" "));
    for page in commands(pages) {
        push_word(&mut out, &before_command, page.word, page.summary);
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
            word => format!("__fish_seen_subcommand_from {word}"),
        };
        page.flags.iter().for_each(|spec| push_flag(&mut out, &condition, spec));
    }
    out
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

/// fish knows two escapes between single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
