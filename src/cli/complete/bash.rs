//! Completions for bash 4 and later, without the bash-completion package.

use super::*;

const HEAD: &str = r#"# Completions of lmcache-bench for bash; written by `lmcache-bench --generate complete-bash`.
_lmcache_bench() {
    local cur=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} command= before= words= i
    COMPREPLY=()
    # --flag=value arrives as three words where = separates words, and as one where it does not.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD-2]}
    elif [[ $cur == --*=* ]]; then
        flag=${cur%%=*} before=${cur%%=*}= cur=${cur#*=}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$command ${COMP_WORDS[i]}" in
"#;

const FOUND: &str = r#"        esac
    done
    case "$command $flag" in
"#;

const WORDS: &str = r#"        *)
            case $command in
"#;

const TAIL: &str = r#"            esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$words" -- "$cur")
}
complete -F _lmcache_bench lmcache-bench
"#;

/// Offers file names.
const FILES: &str = "compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -P \"$before\" -f -- \"$cur\")
            return";

pub fn bash(pages: &[Page]) -> String {
    let mut out = HEAD.to_string();
    out.push_str(&format!("            ' {PREFIX_WORD}') command={PREFIX_WORD} ;;\n"));
    for (word, _) in first_words(pages) {
        let seconds = second_words(pages, word);
        let last = if seconds.is_empty() { "; break" } else { "" };
        out.push_str(&format!(
            "            ' {word}' | '{PREFIX_WORD} {word}') command={word}{last} ;;\n"
        ));
        for (_, page) in seconds {
            out.push_str(&format!("            '{0}') command='{0}'; break ;;\n", page.word));
        }
    }
    out.push_str(FOUND);
    for page in pages {
        for spec in page.flags.iter().filter(|spec| spec.kind == Kind::Value) {
            push_value(&mut out, page, spec);
        }
    }
    out.push_str(WORDS);
    let subcommands: Vec<&str> = first_words(pages).into_iter().map(|(word, _)| word).collect();
    for page in pages {
        let flags = page
            .flags
            .iter()
            .flat_map(|spec| typed_forms(spec))
            .collect::<Vec<_>>()
            .join(" ");
        let indent = " ".repeat(16);
        if page.word.is_empty() {
            let named = subcommands.join(" ");
            out.push_str(&format!("{indent}'') words='{PREFIX_WORD} {named} {flags}' ;;\n"));
            out.push_str(&format!("{indent}{PREFIX_WORD}) words='{named} {flags}' ;;\n"));
        } else {
            out.push_str(&format!("{indent}'{}') words='{flags}'", page.word));
            if page.takes_file() {
                out.push_str(&format!("; [[ $cur == -* ]] || {{\n            {FILES}; }}"));
            }
            out.push_str(" ;;\n");
        }
    }
    for word in subcommands {
        let seconds: Vec<&str> = second_words(pages, word)
            .into_iter()
            .map(|(second, _)| second)
            .collect();
        if !seconds.is_empty() {
            out.push_str(&format!("                {word}) words='{}' ;;\n", seconds.join(" ")));
        }
    }
    out.push_str(TAIL);
    out
}

fn push_value(out: &mut String, page: &Page, spec: &FlagSpec) {
    let after = |command: &str| {
        let forms = typed_forms(spec);
        forms
            .iter()
            .map(|form| in_quotes(&format!("{command} {form}")))
            .collect::<Vec<_>>()
            .join(" | ")
    };
    let pattern = if page.word.is_empty() {
        format!("{} | {}", after(""), after(PREFIX_WORD))
    } else {
        after(page.word)
    };
    let action = if spec.takes_path() {
        FILES.to_string()
    } else if spec.choices.is_empty() {
        "return".to_string()
    } else {
        format!("words='{}'", spec.choices.join(" "))
    };
    out.push_str(&format!("        {pattern})\n            {action} ;;\n"));
}
