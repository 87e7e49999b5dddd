//! The figures as Markdown tables, for pull requests.

use super::Renderer;
use crate::result::RunResult;
use crate::result::model::{Body, Value};

pub struct Markdown;

impl Renderer for Markdown {
    fn render(&self, result: &RunResult) -> Vec<u8> {
        let mut out = format!("# {}\n", result.title);
        for section in &result.sections {
            if let Body::Entries { entries } = &section.body {
                out.push_str(&format!("\n## {}\n\n| | |\n|---|---|\n", section.label));
                for entry in entries {
                    out.push_str(&format!("| {} | {} |\n", entry.label, text(&entry.value)));
                }
            }
        }
        out.into_bytes()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Count { count } => count.to_string(),
        Value::Number { value, .. } => value.to_string(),
        Value::Text { text } => text.clone(),
        Value::Absent {} => String::new(),
    }
}
