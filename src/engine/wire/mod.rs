//! One request over one connection: where it goes, how its bytes leave, how the answer is read with the kernel's stamps.
//! Must never know how many others there are, or send anything twice.

pub mod buffers;
pub mod exchange;
pub mod line;
pub mod outgoing;
pub mod target;
pub mod transport;
pub mod unpack;
