//! The report: plain values, two renderings of them, and where they are written. Nothing here measures.

pub mod banner;
pub mod json;
pub mod model;
pub mod output;
pub mod progress;
pub mod prompt;
pub mod screen;
pub mod terminal;
pub mod warning;

#[cfg(test)]
mod golden;
