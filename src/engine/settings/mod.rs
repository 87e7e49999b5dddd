//! Settings of a run, from the command line, config files, interactive questions and the servers; with all checks. No benchmark
//! request is sent here.

mod cache;
mod check;
mod completed;
pub(crate) mod file;
mod interactive;
mod items;
pub mod keyboard;
mod load;
pub mod setup;
mod staircase;

#[cfg(test)]
mod tests;
