//! docs/cli.md. A test compares the file in the repository with it, so it contains no version or date.

use super::PROGRAM;
use super::flag::FlagSpec;
use super::page::{Body, Note, Page, pieces};

/// One document for the program and all its subcommands.
pub fn render(pages: &[Page]) -> String {
    let mut out = format!(
        "# The command line of {PROGRAM}\n\n\
         <!-- Written by `{PROGRAM} --generate cli-md` from the flag tables in src; edit those. -->\n"
    );
    for page in pages {
        out.push_str(&format!(
            "\n## {}\n\n```\n{}\n```\n\n{}.\n",
            page.command(),
            page.usage,
            page.summary
        ));
        for paragraph in page.about {
            out.push_str(&format!("\n{}\n", marked(paragraph)));
        }
        for (group, flags) in page.groups() {
            out.push_str(&format!("\n### {}\n", group.title));
            flags.into_iter().for_each(|spec| push_flag(&mut out, spec));
        }
        for note in &page.notes {
            push_note(&mut out, note);
        }
    }
    out
}

fn push_flag(out: &mut String, spec: &FlagSpec) {
    let mut forms: Vec<String> = spec.short.map(|letter| format!("-{letter}")).into_iter().collect();
    forms.extend(spec.spellings().into_iter().map(|(text, _)| format!("--{text}")));
    let heading = format!("{} {}", forms.join(", "), spec.placeholder());
    out.push_str(&format!(
        "\n#### `{}`\n\n{}\n",
        heading.trim_end(),
        marked(&spec.full_help())
    ));
    if let Some(default) = spec.default_text() {
        out.push_str(&format!("\nDefault: {}.\n", marked(&default)));
    }
}

fn push_note(out: &mut String, note: &Note) {
    out.push_str(&format!("\n### {}\n", note.title));
    match note.body {
        Body::Terms(_) | Body::Commands(_) => {
            out.push('\n');
            for (term, text) in note.body.terms() {
                out.push_str(&format!("- `{term}`: {}\n", marked(text)));
            }
        }
        Body::Examples(examples) => {
            for (purpose, commands) in examples {
                out.push_str(&format!(
                    "\n{}\n\n```sh\n{}\n```\n",
                    marked(purpose),
                    commands.join("\n")
                ));
            }
        }
    }
}

/// Keeps the backticks of literals and escapes Markdown's markup characters in the prose.
fn marked(text: &str) -> String {
    pieces(text)
        .map(|(is_literal, piece)| {
            if is_literal {
                format!("`{piece}`")
            } else {
                escaped(piece)
            }
        })
        .collect()
}

fn escaped(prose: &str) -> String {
    let mut out = String::new();
    for c in prose.chars() {
        if matches!(c, '\\' | '*' | '_' | '<' | '[' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::pages;

    #[test]
    fn prose_is_escaped_and_literals_are_not() {
        assert_eq!(marked("O_DIRECT with `use_odirect`"), "O\\_DIRECT with `use_odirect`");
    }

    #[test]
    fn the_file_in_the_repository_is_the_generated_one() {
        let kept = include_str!("../../docs/cli.md");
        assert!(
            kept == render(&pages()),
            "docs/cli.md is not what the flag tables say; run: cargo run -- --generate cli-md > docs/cli.md"
        );
    }
}
