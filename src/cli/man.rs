//! The man page (section 1) in roff with the `man` macros. It contains no date, so that builds are reproducible.

use super::PROGRAM;
use super::flag::FlagSpec;
use super::page::{Body, Note, Page, pieces};

/// One man page for the program and all its subcommands.
pub fn render(pages: &[Page]) -> String {
    let title = PROGRAM.to_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        ".TH {} 1 \"\" \"{PROGRAM} {version}\" \"User Commands\"\n",
        literal(&title)
    );
    out.push_str(".nh\n.ad l\n.SH NAME\n");
    if let Some(program) = pages.first() {
        out.push_str(&format!("{} \\- {}\n", literal(PROGRAM), prose(program.summary)));
    }
    out.push_str(".SH SYNOPSIS\n.nf\n");
    for page in pages {
        out.push_str(&format!("\\fB{}\\fR\n", literal(&page.usage)));
    }
    out.push_str(".fi\n");
    for page in pages {
        push_page(&mut out, page);
    }
    out
}

/// The program's own page fills the usual sections; each subcommand is one section with subsections.
fn push_page(out: &mut String, page: &Page) {
    let of_program = page.word.is_empty();
    let heading = if of_program {
        "DESCRIPTION".to_string()
    } else {
        literal(&page.command()).to_uppercase()
    };
    out.push_str(&format!(".SH \"{heading}\"\n"));
    if !of_program {
        out.push_str(&line(&format!("{}.", page.summary)));
    }
    for paragraph in page.about {
        out.push_str(".PP\n");
        out.push_str(&line(paragraph));
    }
    let part = if of_program { "SH" } else { "SS" };
    for (group, flags) in page.groups() {
        push_heading(out, part, group.title);
        flags.into_iter().for_each(|spec| push_flag(out, spec));
    }
    for note in &page.notes {
        push_heading(out, part, note.title);
        push_note(out, note);
    }
}

fn push_heading(out: &mut String, macro_name: &str, title: &str) {
    let title = if macro_name == "SH" {
        title.to_uppercase()
    } else {
        title.to_string()
    };
    out.push_str(&format!(".{macro_name} \"{}\"\n", prose(&title)));
}

fn push_flag(out: &mut String, spec: &FlagSpec) {
    let short = spec
        .short
        .map(|letter| format!("\\fB\\-{letter}\\fR, "))
        .unwrap_or_default();
    let spellings: Vec<String> = spec
        .spellings()
        .iter()
        .map(|(text, _)| format!("\\fB\\-\\-{}\\fR", literal(text)))
        .collect();
    let value = match spec.placeholder() {
        none if none.is_empty() => none,
        value => format!(" \\fI{}\\fR", literal(&value)),
    };
    out.push_str(&format!(".TP\n{short}{}{value}\n", spellings.join(", ")));
    let default = spec
        .default_text()
        .map(|text| format!(" Default: {text}."))
        .unwrap_or_default();
    out.push_str(&line(&format!("{}{default}", spec.full_help())));
}

fn push_note(out: &mut String, note: &Note) {
    match note.body {
        Body::Terms(_) | Body::Commands(_) => {
            for (term, text) in note.body.terms() {
                out.push_str(&format!(".TP\n\\fB{}\\fR\n", literal(term)));
                out.push_str(&line(text));
            }
        }
        Body::Examples(examples) => {
            for (purpose, commands) in examples {
                out.push_str(".PP\n");
                out.push_str(&line(purpose));
                out.push_str(".PP\n.RS 4\n.nf\n");
                commands
                    .iter()
                    .for_each(|command| out.push_str(&format!("{}\n", guarded(&literal(command)))));
                out.push_str(".fi\n.RE\n");
            }
        }
    }
}

/// A paragraph as one input line, which roff wraps.
fn line(text: &str) -> String {
    let marked: String = pieces(text)
        .map(|(is_literal, piece)| {
            if is_literal {
                format!("\\fB{}\\fR", literal(piece))
            } else {
                prose(piece)
            }
        })
        .collect();
    format!("{}\n", guarded(&marked))
}

/// Escapes text that readers copy: roff would turn its dashes and quotes into typographic characters.
fn literal(text: &str) -> String {
    prose(text)
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

fn prose(text: &str) -> String {
    text.replace('\\', "\\e").replace('"', "\\(dq")
}

/// Protects a line that begins with a dot or a quote, which roff would read as a request.
fn guarded(text: &str) -> String {
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::pages;

    #[test]
    fn literals_are_escaped() {
        assert_eq!(literal("--x 'a\\b' \"~\""), "\\-\\-x \\(aqa\\eb\\(aq \\(dq\\(ti\\(dq");
        assert_eq!(line(".5 of `--x`"), "\\&.5 of \\fB\\-\\-x\\fR\n");
    }

    #[test]
    fn every_flag_has_a_paragraph() {
        let page = render(&pages());
        for spec in pages().iter().flat_map(|page| &page.flags) {
            let name = format!("\\fB\\-\\-{}\\fR", spec.long.replace('-', "\\-"));
            assert!(page.contains(&name), "{name} is missing");
        }
    }

    #[test]
    fn only_known_macros_begin_lines() {
        let known = [
            ".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi", ".nh", ".ad",
        ];
        for line in render(&pages()).lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(known.iter().any(|name| line.split(' ').next() == Some(name)), "{line}");
        }
    }
}
