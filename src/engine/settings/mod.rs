//! From what was typed to settings that can be run: config files, questions, and what servers can tell. Must never send a
//! benchmark request.

mod check;
pub(crate) mod file;
mod interactive;
mod items;
pub mod keyboard;
pub mod setup;

#[cfg(test)]
mod tests;
