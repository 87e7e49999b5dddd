//! Ledgers of the recorded phases, and of pages made from them.

mod namings;
mod recorded;
mod troubled;
