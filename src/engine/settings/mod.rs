//! From the command line to settings that can be run: config files, questions, answers of servers, checks. No benchmark
//! request is sent.

mod check;
pub(crate) mod file;
mod interactive;
mod items;
pub mod keyboard;
pub mod setup;

#[cfg(test)]
mod tests;
