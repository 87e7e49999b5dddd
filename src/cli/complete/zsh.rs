//! Completions for zsh, as an autoloaded function.

use super::*;

pub fn zsh(pages: &[Page]) -> String {
    let mut out = String::from(
        "#compdef lmcache-bench\n\
         # Completions of lmcache-bench for zsh; written by `lmcache-bench --generate complete-zsh`.\n",
    );
    for page in pages {
        push_function(&mut out, page, pages);
    }
    for (word, _) in first_words(pages) {
        push_group(&mut out, word, pages);
    }
    out.push_str("\n_lmcache-bench \"$@\"\n");
    out
}

fn push_function(out: &mut String, page: &Page, pages: &[Page]) {
    let of_program = page.word.is_empty();
    let name = if of_program {
        "_lmcache-bench".to_string()
    } else {
        format!("_lmcache-bench_{}", page.word.replace(' ', "_"))
    };
    out.push_str(&format!("\n{name}() {{\n"));
    if of_program {
        out.push_str("  local curcontext=$curcontext state line\n  typeset -A opt_args\n");
        push_words(out, pages);
    }
    out.push_str(if of_program {
        "  _arguments -C -s -S"
    } else {
        "  _arguments -s -S"
    });
    for argument in page.flags.iter().flat_map(|spec| arguments(spec)) {
        out.push_str(&format!(" \\\n    {argument}"));
    }
    if page.takes_file() {
        out.push_str(" \\\n    '1:FILE:_files'");
    }
    if of_program {
        out.push_str(" \\\n    '1:command:->command' \\\n    '*:: :->rest'\n");
        out.push_str("  case $state/$line[1] in\n");
        out.push_str("    command/*) _describe command words_here ;;\n");
        out.push_str(&format!("    rest/{PREFIX_WORD}) _lmcache-bench ;;\n"));
        for (word, _) in first_words(pages) {
            out.push_str(&format!("    rest/{word}) _lmcache-bench_{word} ;;\n"));
        }
        out.push_str("  esac\n}\n");
    } else {
        out.push_str("\n}\n");
    }
}

/// The function for a word with subcommands of its own, such as `mock`.
fn push_group(out: &mut String, word: &str, pages: &[Page]) {
    let seconds = second_words(pages, word);
    if seconds.is_empty() {
        return;
    }
    let named: Vec<&str> = seconds.iter().map(|(second, _)| *second).collect();
    out.push_str(&format!(
        "\n_lmcache-bench_{word}() {{\n  local curcontext=$curcontext state line\n  typeset -A opt_args\n  \
         _arguments -C '1:command:({})' '*:: :->rest'\n  case $line[1] in\n",
        named.join(" ")
    ));
    for (second, _) in seconds {
        out.push_str(&format!("    {second}) _lmcache-bench_{word}_{second} ;;\n"));
    }
    out.push_str("  esac\n}\n");
}

/// Completes the first word; after the prefix word, the same without the prefix word.
fn push_words(out: &mut String, pages: &[Page]) {
    let described = |word: &str, about: &str| in_quotes(&format!("{word}:{about}"));
    let named: Vec<String> = first_words(pages)
        .into_iter()
        .map(|(word, about)| described(word, about))
        .collect();
    let prefix = described(PREFIX_WORD, "As LMCache calls it; then a command");
    out.push_str(&format!("  local -a words_here=({})\n", named.join(" ")));
    out.push_str(&format!(
        "  [[ $words[1] == {PREFIX_WORD} ]] || words_here+=({prefix})\n"
    ));
}

/// One `_arguments` spec for each form. The forms of one flag exclude each other unless it is repeatable.
fn arguments(spec: &FlagSpec) -> Vec<String> {
    let forms = typed_forms(spec);
    let guard = match (spec.kind, spec.repeatable) {
        (Kind::Help, _) => "(- *)".to_string(),
        (_, true) => "*".to_string(),
        _ => format!("({})", forms.join(" ")),
    };
    let value = match spec.kind {
        Kind::Value if spec.takes_path() => format!(":{}:_files", spec.value_name),
        Kind::Value if spec.choices.is_empty() => format!(":{}: ", spec.value_name),
        Kind::Value => format!(":{}:({})", spec.value_name, spec.choices.join(" ")),
        _ => String::new(),
    };
    let joined = |form: &String| {
        if spec.kind == Kind::Value && form.starts_with("--") {
            "="
        } else {
            ""
        }
    };
    described_forms(spec)
        .iter()
        .map(|(form, about)| in_quotes(&format!("{guard}{form}{}[{}]{value}", joined(form), escaped(about))))
        .collect()
}

/// Escapes the characters that end a description.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace(':', "\\:")
}
