//! Python's `json` module: [`loads`] reads what `json.loads` reads, [`dumps_indented`] writes what `json.dumps` writes, and
//! [`decode_error`] gives the message of Python's `JSONDecodeError`.

mod bounded;
mod decode_error;
mod read;
mod write;

pub use bounded::Bounded;
pub use decode_error::decode_error;
pub use read::{BYTE_ORDER_MARK, costs_too_much, loads, loads_texts, strict, without_mark};
pub use write::{ascii, dumps_indented};
