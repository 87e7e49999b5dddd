//! A streamed answer, from bytes to events to what they say: the first token, the counts, the end. Uses no socket, thread or
//! clock; time stamps come with the bytes.

pub mod answer;
pub mod chunk;
pub mod counts;
pub mod ending;
pub mod repeat;
pub mod sse;
