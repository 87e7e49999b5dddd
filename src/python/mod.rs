//! What must read or write as CPython does, because LMCache and the engines are Python.

pub mod big_int;
pub mod bounded;
pub mod float_text;
pub mod json;
pub mod json_error;
pub mod number;
pub mod random;
pub mod value;
