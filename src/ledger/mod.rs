//! Where every prompt token came from: counters of the engine and of the LMCache server, read before and after a phase, become
//! a ledger whose rows add up to the prompt tokens; a simulator of the tiers says what they should have been. Nothing here sends a
//! request, reads a clock or prints.

pub mod balance;
pub mod causes;
pub mod counters;
pub mod expect;
pub mod require;
pub mod simulate;
pub mod staircase;
#[cfg(test)]
pub mod testing;
pub mod tiers;
