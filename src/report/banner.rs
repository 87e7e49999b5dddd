//! The banner that is printed before a run: labels and values, with or without colour.

const RULE_WIDTH: usize = 50;
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[96m";
const YELLOW: &str = "\x1b[93m";
const RESET: &str = "\x1b[0m";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// The workload's name.
    pub title: String,
    /// Width of the labels, in characters.
    pub label_width: usize,
    pub lines: Vec<BannerLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BannerLine {
    pub label: &'static str,
    pub value: String,
    /// Text after the value: a unit or a remark. May be empty.
    pub rest: String,
}

impl Banner {
    pub fn new(title: &str, label_width: usize) -> Banner {
        Banner {
            title: title.to_string(),
            label_width,
            lines: Vec::new(),
        }
    }

    pub fn line(mut self, label: &'static str, value: impl ToString, rest: &str) -> Banner {
        self.lines.push(BannerLine {
            label,
            value: value.to_string(),
            rest: rest.to_string(),
        });
        self
    }

    /// The lines as text, without the last newline. `colour` is for terminals; `NO_COLOR` overrides it.
    pub fn render(&self, colour: bool) -> String {
        let colour = colour && super::screen::wants_colour();
        let paint = |code: &'static str| if colour { code } else { "" };
        let (bold, cyan, yellow, reset) = (paint(BOLD), paint(CYAN), paint(YELLOW), paint(RESET));
        let rule = |mark: &str| format!("{bold}{}{reset}", mark.repeat(RULE_WIDTH));
        let mut lines = vec![
            rule("═"),
            format!("{bold} Workload: {cyan}{}{reset}", self.title),
            rule("─"),
        ];
        for line in &self.lines {
            let label = format!("{}:", line.label);
            let rest = if line.rest.is_empty() {
                String::new()
            } else {
                format!(" {}", line.rest)
            };
            let width = self.label_width;
            lines.push(format!("  {label:width$}{yellow}{}{reset}{rest}", line.value));
        }
        lines.push(rule("═"));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let banner = Banner::new("random-prefill", 18)
            .line("Requests", 8, "")
            .line("Request length", 50, "tokens");
        let plain = banner.render(false);
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[1], " Workload: random-prefill");
        assert_eq!(lines[3], "  Requests:         8");
        assert_eq!(lines[4], "  Request length:   50 tokens");
        assert_eq!(lines[5], "═".repeat(50));
        let coloured = banner.render(true);
        assert!(coloured.contains("  Request length:   \x1b[93m50\x1b[0m tokens\n"));
    }
}
