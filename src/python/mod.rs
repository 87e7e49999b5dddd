//! What must read or write as CPython does, because LMCache and the engines are Python.

pub mod bounded;
pub mod json;
