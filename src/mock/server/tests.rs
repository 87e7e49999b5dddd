//! The mock against the client of this program.
