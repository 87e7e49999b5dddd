//! Percentiles by both of the reference's rules, summaries of a few samples, latency histograms, confidence intervals, bounded
//! samples of streams, random numbers of our own.

pub mod hdr_v2;
pub mod histogram;
pub mod interval;
#[cfg(test)]
#[path = "../../tests/support/ks.rs"]
pub mod ks;
pub mod percentile;
pub mod random;
pub mod summary;
pub mod thinned;
