//! Token counts as engines report them. Integral floats and numbers in quotes are accepted; anything else is kept as text for a
//! warning and is in no sum.

use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    /// Prompt tokens that the engine found in its cache, if it reports them.
    pub cached_tokens: Option<u64>,
}

/// Reads a usage in any form. `impossible` receives the first number that is not a count, with its name.
pub fn read(usage: &Value, impossible: &mut Option<String>) -> Usage {
    let mut count = |value: &Value, name: &str| match number(value) {
        Ok(count) => count,
        Err(text) => {
            impossible.get_or_insert_with(|| format!("{name} {text}"));
            None
        }
    };
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"], "cached_tokens");
    Usage {
        prompt_tokens: count(&usage["prompt_tokens"], "prompt_tokens"),
        completion_tokens: count(&usage["completion_tokens"], "completion_tokens"),
        cached_tokens: cached.or_else(|| count(&usage["prompt_cache_hit_tokens"], "prompt_cache_hit_tokens")),
    }
}

/// A count, in quotes or not. The error is the value as text.
fn number(value: &Value) -> Result<Option<u64>, String> {
    /// 2^64, the first double that is too large for a count.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let integral = (0.0..BEYOND).contains(&float) && float.fract() == 0.0;
            let count = number.as_u64().or(integral.then_some(float as u64));
            count.map(Some).ok_or_else(|| number.to_string())
        }
        Value::String(text) => match text.parse::<serde_json::Number>() {
            Ok(inner) => number(&Value::Number(inner)),
            Err(_) => Err(format!("{text:?}").chars().take(40).collect()),
        },
        // Absent, or not a number.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read_in_any_form_and_anything_else_is_reported() {
        for (value, want) in [
            (json!(7), Ok(Some(7))),
            (json!(7.0), Ok(Some(7))),
            (json!("7"), Ok(Some(7))),
            (json!("7.0"), Ok(Some(7))),
            (json!(1e3), Ok(Some(1000))),
            (json!(u64::MAX), Ok(Some(u64::MAX))),
            (json!(null), Ok(None)),
            (json!({}), Ok(None)),
            (json!(-5), Err("-5")),
            (json!(7.5), Err("7.5")),
            (json!(1e300), Err("1e+300")),
            (json!("many"), Err("\"many\"")),
            (json!(" 7"), Err("\" 7\"")),
            (json!("+7"), Err("\"+7\"")),
        ] {
            assert_eq!(number(&value), want.map_err(str::to_owned), "{value}");
        }
        let mut impossible = None;
        let usage = json!({"prompt_tokens": 3.0, "completion_tokens": -1, "prompt_cache_hit_tokens": 2});
        let read = read(&usage, &mut impossible);
        assert_eq!(
            (read.prompt_tokens, read.completion_tokens, read.cached_tokens),
            (Some(3), None, Some(2))
        );
        assert_eq!(impossible.as_deref(), Some("completion_tokens -1"));
    }
}
