//! One request over one connection: the target, the bytes sent, and the answer with the kernel's receive time stamps. A
//! request is sent once; there are no retries.

pub mod buffers;
pub mod exchange;
pub mod line;
pub mod outgoing;
pub mod target;
pub mod transport;
pub mod unpack;
