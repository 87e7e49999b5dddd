//! Drives the built binary as its users do. One test binary; the cases are grouped by what they show.

mod cases {
    mod cli;
    mod faults;
    mod measure;
    mod report;
    mod signals;
    mod tidy;
}
mod support;
