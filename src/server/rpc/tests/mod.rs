//! Encoders and decoders against captured frames and against an independent MessagePack library.

mod decoding;
mod golden;
