//! Misbehaviour on demand: a comma-separated list of words, given by `--fault`, by the request header `x-mock-fault`, or in
//! the prompt as `[[mock:LIST]]`.

use crate::python::quote::quoted;

/// Longest list that is read.
const LIST_BYTES_MAX: usize = 512;
/// Longest delay that can be asked for.
const DELAY_MS_MAX: u64 = 600_000;

/// How a connection ends after a number of bytes of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    Reset,
    Cut,
    Stall,
}

/// When the role is sent in a chat stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// In the same write as the first token, as vLLM does.
    #[default]
    WithFirstToken,
    /// At once.
    Early,
    Absent,
}

/// Where a stream has its usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// An event of its own after the last token, if the client asked for it.
    #[default]
    Own,
    Absent,
    /// In the last token's event.
    InLast,
    /// In every event.
    Every,
}

/// The field that carries the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field {
    #[default]
    Content,
    /// The first half of the words as `reasoning_content`.
    ReasoningContent,
    /// The first half as `reasoning`.
    Reasoning,
    /// The first half as `reasoning_content` beside an empty `content`.
    ReasoningEmptyContent,
    /// `content` stays empty.
    Empty,
    ToolCalls,
}

/// How the lines of an event end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    #[default]
    Lf,
    CrLf,
    Cr,
}

/// All faults. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub breaks: Option<(Break, u64)>,
    pub status: Option<u16>,
    pub retry_after_s: Option<u64>,
    /// The body of a refusal is plain text, or empty.
    pub plain_body: bool,
    pub empty_body: bool,
    /// Milliseconds between the bytes of the reply's head.
    pub slow_headers_ms: u64,
    /// The token event, from 1, that is broken JSON or an error.
    pub malformed: Option<u64>,
    pub error_event: Option<u64>,
    pub role: Role,
    pub usage: Usage,
    pub usage_late_ms: u64,
    /// Usage does not say how many prompt tokens were cached.
    pub no_cached_tokens: bool,
    pub field: Field,
    pub lines: Lines,
    pub comments: bool,
    pub event_lines: bool,
    /// Bytes handed to the kernel at a time.
    pub split: Option<usize>,
    pub utf8: bool,
    pub no_done: bool,
    /// The connection stays open this long after `[DONE]`.
    pub end_late_ms: u64,
    /// The body ends with the connection instead of being chunked.
    pub until_close: bool,
}

impl Faults {
    /// Reads a list; an empty one is no fault.
    pub fn parse(list: &str) -> Result<Faults, String> {
        if list.len() > LIST_BYTES_MAX {
            return Err(format!("a list of faults is at most {LIST_BYTES_MAX} bytes long"));
        }
        let mut faults = Faults::default();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            faults.take(word)?;
        }
        Ok(faults)
    }

    fn take(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let number = |most: u64| -> Result<u64, String> {
            value
                .and_then(|value| value.parse().ok())
                .filter(|number| *number <= most)
                .ok_or_else(|| format!("the fault {} needs a number up to {most}: `{name}=N`", quoted(name)))
        };
        match name {
            "reset" | "cut" | "stall" => {
                let after = if value.is_some() { number(u64::MAX)? } else { 0 };
                let kind = match name {
                    "reset" => Break::Reset,
                    "cut" => Break::Cut,
                    _ => Break::Stall,
                };
                self.breaks = Some((kind, after));
            }
            "status" => {
                let status = number(599)?;
                let status = u16::try_from(status).ok().filter(|status| *status >= 400);
                self.status = Some(status.ok_or("the fault 'status' needs a status from 400 to 599")?);
            }
            "retry-after" => self.retry_after_s = Some(number(86_400)?),
            "slow-headers" => self.slow_headers_ms = number(DELAY_MS_MAX)?,
            "malformed" => self.malformed = Some(number(u64::MAX)?),
            "error-event" => self.error_event = Some(number(u64::MAX)?),
            "usage-late" => self.usage_late_ms = number(DELAY_MS_MAX)?,
            "end-late" => self.end_late_ms = number(DELAY_MS_MAX)?,
            "split" => self.split = Some(number(1 << 20)?.max(1) as usize),
            _ if value.is_some() => return Err(format!("the fault {} takes no value, or is unknown", quoted(name))),
            _ => self.take_switch(name)?,
        }
        Ok(())
    }

    fn take_switch(&mut self, name: &str) -> Result<(), String> {
        match name {
            "plain-body" => self.plain_body = true,
            "empty-body" => self.empty_body = true,
            "role-early" => self.role = Role::Early,
            "no-role" => self.role = Role::Absent,
            "no-usage" => self.usage = Usage::Absent,
            "usage-in-last" => self.usage = Usage::InLast,
            "usage-every" => self.usage = Usage::Every,
            "no-cached-tokens" => self.no_cached_tokens = true,
            "reasoning-content" => self.field = Field::ReasoningContent,
            "reasoning" => self.field = Field::Reasoning,
            "reasoning-empty-content" => self.field = Field::ReasoningEmptyContent,
            "empty-content" => self.field = Field::Empty,
            "tool-calls" => self.field = Field::ToolCalls,
            "crlf" => self.lines = Lines::CrLf,
            "cr" => self.lines = Lines::Cr,
            "comments" => self.comments = true,
            "event-lines" => self.event_lines = true,
            "utf8" => self.utf8 = true,
            "no-done" => self.no_done = true,
            "until-close" => self.until_close = true,
            _ => return Err(format!("unknown fault {}; `--help` lists them", quoted(name))),
        }
        Ok(())
    }

    /// The list in `[[mock:LIST]]`, if the prompt has one near its beginning or its end.
    pub fn in_prompt(text: &str) -> Option<&str> {
        const MARK: &str = "[[mock:";
        let begin = text.rfind(MARK)? + MARK.len();
        let length = text[begin..].find("]]")?;
        (length <= LIST_BYTES_MAX).then(|| &text[begin..begin + length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_word_by_word() {
        let faults = Faults::parse("crlf, split=1,cut=300,usage-late=20").unwrap();
        assert_eq!(
            (faults.lines, faults.split, faults.breaks, faults.usage_late_ms),
            (Lines::CrLf, Some(1), Some((Break::Cut, 300)), 20)
        );
        assert_eq!(Faults::parse("").unwrap(), Faults::default());
        assert_eq!(Faults::parse("reset").unwrap().breaks, Some((Break::Reset, 0)));
        assert_eq!(
            Faults::parse("status=429,retry-after=3").unwrap().retry_after_s,
            Some(3)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (list, part) in [
            ("reste", "unknown fault 'reste'"),
            ("crlf=1", "'crlf' takes no value"),
            ("status", "'status' needs a number"),
            ("status=200", "from 400 to 599"),
            ("end-late=600001", "up to 600000"),
            ("split=x", "'split' needs a number"),
        ] {
            let refusal = Faults::parse(list).unwrap_err();
            assert!(refusal.contains(part), "{list}: {refusal}");
        }
        assert!(Faults::parse(&"x".repeat(513)).is_err());
    }

    #[test]
    fn a_prompt_may_carry_a_list() {
        assert_eq!(
            Faults::in_prompt("Tell me [[mock:reset=5,crlf]] now"),
            Some("reset=5,crlf")
        );
        assert_eq!(Faults::in_prompt("Tell me [[mock:reset"), None);
        assert_eq!(Faults::in_prompt("Tell me"), None);
    }
}
