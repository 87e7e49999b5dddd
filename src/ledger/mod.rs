//! Where every prompt token came from: counters of the engine and of the LMCache server, read before and after a phase, become
//! a ledger whose rows add up to the prompt tokens. Nothing here sends a request, reads a clock or prints.

pub mod balance;
pub mod counters;
