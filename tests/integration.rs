//! Drives the built binary as its users do. One test binary; the cases are grouped by what they show.

// A failed unwrap is a failed test, with a line number.
#![allow(clippy::unwrap_used)]

mod cases {
    mod cli;
    mod faults;
    mod measure;
    mod report;
    mod signals;
    mod tidy;
}
mod support;
