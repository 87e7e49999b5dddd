//! Percentiles by both of the reference's rules, summaries of a few samples, latency histograms.

pub mod hdr_v2;
pub mod histogram;
pub mod percentile;
pub mod summary;
