//! The pure parts against captured frames and against independent decoders.

mod decoding;
mod golden;
