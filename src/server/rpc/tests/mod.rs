//! Encoders and decoders against captured frames and against an independent MessagePack library.

mod chunks;
mod decoding;
mod golden;
