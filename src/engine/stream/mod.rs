//! An answer's bytes on their way to meaning: events, what each carries, which was the first token. Knows no socket, no
//! thread and no clock; stamps come with the bytes.

pub mod answer;
pub mod chunk;
pub mod counts;
pub mod ending;
pub mod repeat;
pub mod sse;
