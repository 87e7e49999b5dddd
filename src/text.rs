//! Text for people: its width, and its lines.

/// Columns of a terminal that the text takes; characters of two columns count as one.
pub fn columns_of(text: &str) -> usize {
    text.chars().count()
}

/// Wraps at blanks into lines of at most `width` columns, at least one line. A longer word gets its own line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::with_capacity(width), 0);
    for word in text.split_whitespace() {
        let needed = columns_of(word);
        if used > 0 && used + 1 + needed > width {
            lines.push(std::mem::replace(&mut line, String::with_capacity(width)));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += needed;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_hold_what_fits() {
        assert_eq!(wrapped("ab cd  efg", 5), ["ab cd", "efg"]);
        assert_eq!(wrapped("äöü äö", 6), ["äöü äö"]);
        assert_eq!(wrapped(" a /a/long/path b", 4), ["a", "/a/long/path", "b"]);
        assert_eq!(wrapped(" ", 4), [""]);
    }
}
