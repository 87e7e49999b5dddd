//! `-h` and `--help`: a page as plain text of at most 80 columns.

use super::flag::{FlagSpec, Kind};
use super::page::{Body, Page, plain};
use crate::text::wrapped;

const WIDTH: usize = 80;
/// Column at which the descriptions of `-h` begin.
const COLUMN: usize = 30;
/// Column at which the descriptions of `--help` begin.
const TERM_COLUMN: usize = 10;

/// The text of `--help` (`long`) with every sentence and the notes, or of `-h` with a line or two for each flag.
pub fn render(page: &Page, long: bool) -> String {
    let mut out = format!("{}.\n\nUsage: {}\n", page.summary, page.usage);
    if long {
        for paragraph in page.about {
            out.push('\n');
            push_wrapped(&mut out, &plain(paragraph), 0);
        }
    }
    for (group, flags) in page.groups() {
        out.push_str(&format!("\n{}:\n", group.title));
        for (at, spec) in flags.into_iter().enumerate() {
            if long {
                out.push_str(if at == 0 { "" } else { "\n" });
                push_long(&mut out, spec);
            } else {
                push_short(&mut out, spec);
            }
        }
    }
    for note in &page.notes {
        match (&note.body, long) {
            (Body::Terms(_) | Body::Commands(_), _) if long || page.word.is_empty() => {
                out.push_str(&format!("\n{}:\n", note.title));
                let terms = note.body.terms();
                terms.iter().for_each(|(term, text)| push_term(&mut out, term, text));
            }
            (Body::Examples(examples), true) => {
                out.push_str(&format!("\n{}:\n", note.title));
                examples
                    .iter()
                    .enumerate()
                    .for_each(|(at, example)| push_example(&mut out, at, *example));
            }
            _ => {}
        }
    }
    if !long {
        out.push_str(&format!("\nSee `{} --help` for details.\n", page.command()));
    }
    out
}

/// The spellings of a flag and the placeholder of its value, such as `-q, --quiet` or `--[no-]x`.
fn heading(spec: &FlagSpec, long: bool) -> String {
    let name = match (spec.kind, long) {
        (Kind::Negatable, false) => format!("--[no-]{}", spec.long),
        (Kind::Negatable, true) => format!("--{0}, --no-{0}", spec.long),
        _ => format!("--{}", spec.long),
    };
    let short = spec.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
    format!("{short}{name} {}", spec.placeholder()).trim_end().to_string()
}

fn default_note(spec: &FlagSpec) -> String {
    spec.default_text()
        .map(|text| format!(" (default: {})", plain(&text)))
        .unwrap_or_default()
}

fn push_short(out: &mut String, spec: &FlagSpec) {
    let heading = format!("  {}", heading(spec, false));
    let text = format!("{}{}", plain(spec.help), default_note(spec));
    let mut lines = wrapped(&text, WIDTH - COLUMN).into_iter();
    if heading.len() + 2 > COLUMN {
        out.push_str(&format!("{heading}\n"));
    } else {
        out.push_str(&format!("{heading:COLUMN$}{}\n", lines.next().unwrap_or_default()));
    }
    lines.for_each(|line| out.push_str(&format!("{:COLUMN$}{line}\n", "")));
}

fn push_long(out: &mut String, spec: &FlagSpec) {
    out.push_str(&format!("  {}\n", heading(spec, true)));
    push_wrapped(
        out,
        &format!("{}{}", plain(&spec.full_help()), default_note(spec)),
        TERM_COLUMN,
    );
}

fn push_term(out: &mut String, term: &str, text: &str) {
    let start = out.len();
    push_wrapped(out, &plain(text), TERM_COLUMN);
    let heading = format!("  {term}");
    if heading.len() < TERM_COLUMN {
        out.replace_range(start..start + heading.len(), &heading);
    } else {
        out.insert_str(start, &format!("{heading}\n"));
    }
}

fn push_example(out: &mut String, at: usize, (purpose, lines): (&str, &[&str])) {
    out.push_str(if at == 0 { "" } else { "\n" });
    push_wrapped(out, &plain(purpose), 2);
    lines.iter().for_each(|line| out.push_str(&format!("    {line}\n")));
}

fn push_wrapped(out: &mut String, text: &str, indent: usize) {
    for line in wrapped(text, WIDTH - indent) {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(&line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::pages;

    #[test]
    fn both_forms_fit_80_columns_and_have_no_markup() {
        for page in pages() {
            for long in [false, true] {
                for line in render(&page, long).lines() {
                    assert!(
                        line.chars().count() <= WIDTH,
                        "{} columns: {line}",
                        line.chars().count()
                    );
                    assert_eq!(line.trim_end(), line, "blank at the end of a line");
                }
            }
            assert!(!render(&page, true).contains('`'), "unbalanced backticks");
        }
    }

    #[test]
    fn every_flag_is_explained_in_both_forms() {
        let words: Vec<&str> = pages().iter().map(|page| page.word).collect();
        assert_eq!(
            words,
            ["", "engine", "server", "l2", "report", "mock engine", "mock server"]
        );
        for page in pages() {
            let (short, long) = (render(&page, false), render(&page, true));
            for spec in &page.flags {
                assert!(short.contains(&heading(spec, false)), "-h lacks --{}", spec.long);
                assert!(long.contains(&heading(spec, true)), "--help lacks --{}", spec.long);
                assert!(
                    !spec.help.is_empty() && !spec.help.ends_with('.'),
                    "help of --{}",
                    spec.long
                );
            }
        }
    }

    #[test]
    fn the_short_form_shows_defaults_in_a_column() {
        let page = crate::l2::flags::page();
        let short = render(&page, false);
        assert!(
            short.contains("\n  --num-keys N                Keys in one submit (default: 32)\n"),
            "{short}"
        );
        assert!(
            short.contains("\n  --io-engine {auto,threads,uring}\n                              I/O path"),
            "{short}"
        );
    }
}
