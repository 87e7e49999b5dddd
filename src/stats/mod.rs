//! Numbers about numbers: percentiles by both rules, summaries of rounds, latency histograms. Knows no domain.

pub mod hdr_v2;
pub mod histogram;
pub mod percentile;
pub mod summary;
